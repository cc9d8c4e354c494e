"""The decision: what a policy says of one clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livewarden_client.verdict import Evidence, LabelVerdict, Reason, ShadowVerdict
    from livewarden_client.wire import Action


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one clip.

    `label` is the label that decided, None where coverage, a refused state or nothing did.
    `reasons` come strongest first. `evidence` is what lists and banks matched. `visibility` says
    how a `restrict` is carried out. `review` says why a person should look, and is empty where
    nobody needs to. `flags` are remarks that ask for nothing. `cooldown_until_ms` is Unix time.
    """

    action: Action
    label: str | None
    reasons: tuple[Reason, ...]
    labels: tuple[LabelVerdict, ...]
    evidence: tuple[Evidence, ...] = ()
    overrides: tuple[str, ...] = ()
    visibility: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    cooldown_until_ms: int | None = None
    shadow: tuple[ShadowVerdict, ...] = ()

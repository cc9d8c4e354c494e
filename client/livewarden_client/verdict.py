"""The verdict: what the server says about one clip, as frozen types both sides share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from livewarden_client.wire import VERDICT_SCHEMA, Action


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The scores (0..1) from which a label asks for each action."""

    review: float
    restrict: float
    block: float


LabelState = Literal["inactive", "active", "cooldown", "shadow", "off"]


@dataclass(frozen=True, slots=True)
class LabelVerdict:
    """One label: its joint score, each modality's own score, and the action that they ask for.

    `supported` is false where no loaded model has a signal for the label: its score says nothing.
    `thresholds` start an action, `exit` end it. `state` is what the label is in: `active` while it
    asks for something, `cooldown` while only an earlier clip does; `off` and `shadow` are modes.
    `stream_score` is the score with the stream's decayed peak, `hits` how many of the last clips
    count for its rules, `violations` how often it has offended. `asked` is the action before the
    label's mode and `max_automatic_action` lowered it. `category` is the DSA's.
    """

    id: str
    score: float
    action: Action
    thresholds: Thresholds
    per_modality: Mapping[str, float]
    supported: bool = True
    exit: Thresholds | None = None
    state: LabelState = "inactive"
    stream_score: float | None = None
    hits: int = 0
    violations: int = 0
    asked: Action = "allow"
    severity: int = 0
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the action is what it is: a stable machine code and one sentence for people."""

    code: str
    action: Action
    message: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The frame or text that speaks loudest for a label, or that matched a list or a hash bank.

    `ref` points into the request: `frames[3]` or `texts[1]`. `kind` is `model`, `list` or `hash`;
    `source` then names the list or bank and `entry` the index of what matched in it. `span` is a
    range of characters, of the normalised text where `normalised` is true. `distance` counts the
    bits of 256 in which two hashes differ.
    """

    label: str
    modality: str
    ref: str
    score: float
    kind: str = "model"
    ts_ms: int | None = None
    span: tuple[int, int] | None = None
    normalised: bool = False
    source: str | None = None
    entry: int | None = None
    distance: int | None = None


@dataclass(frozen=True, slots=True)
class ModalityCoverage:
    """How much of one modality was seen: what was sent, decoded and scored.

    `states` lists the indices in the request that are in each state other than `ok`.
    """

    sent: int = 0
    decoded: int = 0
    scored: int = 0
    states: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the verdict rests on. `degraded` means: something that was sent was not fully scored.

    `missing` names modalities that were not sent, `failed` those that a stage could not score.
    `unsupported_labels` are those that nothing which was scored can speak to.
    """

    frames: ModalityCoverage
    texts: ModalityCoverage
    missing: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    unsupported_labels: tuple[str, ...] = ()
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """Which policy decided, with the overrides that applied to this clip."""

    id: str
    version: str
    digest: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShadowVerdict:
    """What a policy that is only tried out would have said; `policy` is its `id@version`."""

    policy: str
    digest: str
    action: Action
    label: str | None = None
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """What produced the verdict, exactly enough to produce it again."""

    bundle: str
    models: Mapping[str, str]
    calibration: str
    policy: PolicyRef
    taxonomy: str
    wire: int
    server: str
    shadow: tuple[ShadowVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one clip, schema `livewarden.verdict/v1`.

    `label` is the label that decided, None where coverage decided or nothing did. `timings_ms`
    holds milliseconds per stage. `nonce`, `request_id` and `pass_through` come back as sent.
    `visibility` says how a `restrict` is carried out. `review` says why a person should look; it
    is empty where nobody needs to. `flags` are remarks that ask for nothing. `cooldown_until_ms`
    is the Unix time until which the action is held.
    """

    request_id: str
    action: Action
    reasons: tuple[Reason, ...]
    labels: tuple[LabelVerdict, ...]
    evidence: tuple[Evidence, ...]
    coverage: Coverage
    provenance: Provenance
    timings_ms: Mapping[str, float]
    stream_id: str = ""
    clip_seq: int = 0
    nonce: str = ""
    label: str | None = None
    state: str | None = None
    visibility: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    cooldown_until_ms: int | None = None
    # Left out of the repr, which ends up in logs: it is the caller's own content.
    pass_through: Any = field(default=None, repr=False)
    schema: str = VERDICT_SCHEMA

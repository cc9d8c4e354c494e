"""Rules as the engine walks them: every value known, every duration in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from livewarden_client.wire import ACTIONS, Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_client.verdict import Thresholds

RANK: Final[Mapping[str, int]] = {action: rank for rank, action in enumerate(ACTIONS)}

Mode = Literal["enforce", "review_only", "shadow", "off"]
Modality = Literal["frames", "title", "chat", "asr", "ocr"]
# From "never sent" to "sent, but cut short": the ways in which content goes unseen.
Gap = Literal["missing", "corrupt", "timeout", "model_error", "skipped"]
Relief = Literal["ignore", "allow", "review", "restrict", "block"]
Floor = Literal["review", "restrict", "block"]
ListMode = Literal["evidence", "hard", "shadow", "off"]
Visibility = Literal[
    "age_restrict", "demote", "interaction_restrict", "label", "mute", "blur", "demonetise"
]


@dataclass(frozen=True, slots=True)
class Count:
    """N of M: `hits` of the last `of` clips, not older than `within_ms`, scored `floor` or more."""

    hits: int
    of: int
    within_ms: int
    floor: float
    action: Action


@dataclass(frozen=True, slots=True)
class Ladder:
    """What the n-th violation asks for; asking for `counts` or more is one.

    One violation that goes on counts again after `cooldown_ms`; after `forget_ms` without any, the
    count starts anew. `rungs` are (violations, action), rising.
    """

    counts: Action
    cooldown_ms: int
    forget_ms: int
    rungs: tuple[tuple[int, Action], ...]


@dataclass(frozen=True, slots=True)
class LabelRule:
    """One label's rule. `enter` and `exit` are the thresholds that raise an action and end it.

    `remembers` says whether what came before can change what the label asks for now. A score under
    `quiet_below` starts, holds and counts for nothing.
    """

    id: str
    mode: Mode
    mode_until_ms: int | None
    enter: Thresholds
    exit: Thresholds
    confirm: Count | None
    repeat: Count | None
    half_life_ms: int
    cooldown_ms: int
    ladder: Ladder | None
    single_shot_block: float | None
    max_automatic_action: Action
    always_review: bool
    visibility: tuple[Visibility, ...]
    severity: int
    category: str | None
    needs_all: frozenset[Modality]
    needs_any: frozenset[Modality]
    gaps: Mapping[Gap, Relief]
    remembers: bool = field(init=False)
    quiet_below: float = field(init=False)

    def __post_init__(self) -> None:
        counts = [count for count in (self.confirm, self.repeat) if count is not None]
        remembers = (
            self.exit != self.enter
            or bool(counts)
            or self.half_life_ms > 0
            or self.cooldown_ms > 0
            or self.ladder is not None
        )
        shot = 1.0 if self.single_shot_block is None else self.single_shot_block
        floors = (self.enter.review, self.exit.review, shot, *(count.floor for count in counts))
        object.__setattr__(self, "remembers", remembers)
        object.__setattr__(self, "quiet_below", min(floors))


@dataclass(frozen=True, slots=True)
class FailSafe:
    """What content that was not fully seen asks for."""

    gaps: Mapping[tuple[Modality, Gap], Relief]
    required: frozenset[Modality]
    min_scored_frames: int
    nothing_scored: Floor
    visibility: tuple[Visibility, ...]


@dataclass(frozen=True, slots=True)
class Stratum:
    """A band of one label's scores of which a share goes to people."""

    name: str
    label: str
    low: float
    high: float
    share: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which clips go to people although no rule asks for it; all shares are 0..1."""

    salt: str
    random: float
    band: float
    band_share: float
    strata: tuple[Stratum, ...]


@dataclass(frozen=True, slots=True)
class ListRule:
    """What a hit of one blocklist asks for."""

    name: str
    label: str
    mode: ListMode
    action: Action


@dataclass(frozen=True, slots=True)
class BankRule:
    """What a match of one hash bank asks for, and when it counts as a match."""

    name: str
    label: str
    mode: ListMode
    action: Action
    max_distance: int
    min_quality: int
    enabled_ratio: float

"""Documents: what a policy file may hold, as types. JSON Schema and checks both come from here.

Every value is optional, because any layer may leave it to the layers under it; null resets it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from livewarden_ensemble.policy.rule import Floor, ListMode, Modality, Mode, Relief, Visibility
from livewarden_ensemble.stream_state import WINDOW

# `$` alone also matches before a last newline.
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,63}$(?!\n)"


def _about(text: str, **limits: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **limits)


Name = Annotated[str, msgspec.Meta(pattern=_NAME)]
# Without dots, which part the steps of a setting's path.
ItemName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$(?!\n)")]
Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Duration = Annotated[
    str, _about("A time: 1500ms, 30s, 5m, 2h or 1d.", pattern=r"^[0-9]{1,9}(ms|s|m|h|d)$(?!\n)")
]
Instant = Annotated[
    str,
    _about(
        "A day (its first second, UTC) or a time in UTC: 2026-03-01 or 2026-03-01T12:00:00Z.",
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$(?!\n)",
    ),
]
Hits = Annotated[int, msgspec.Meta(ge=1, le=WINDOW)]
FileName = Annotated[str, _about("A file beside the policy.", min_length=1, max_length=255)]
Phrase = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}$(?!\n)")]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mapping of the file; keys that are not its fields are faults."""


class Header(Part, frozen=True):
    """What the policy is called, and which labels it speaks of."""

    id: Annotated[str, _about("Never changes.", pattern=r"^[A-Za-z0-9_.+-]{1,64}$(?!\n)")]
    version: Annotated[
        str, _about("Changes with the file.", pattern=r"^[A-Za-z0-9_.+-]{1,64}$(?!\n)")
    ]
    taxonomy: str
    description: str | None = None


class Threshold(Part, frozen=True):
    """The score that starts an action, and the lower one under which it ends."""

    enter: Score | None = None
    exit: Score | None = None


class ThresholdSet(Part, frozen=True):
    """One threshold per action: a score, or {enter, exit}."""

    review: Score | Threshold | None = None
    restrict: Score | Threshold | None = None
    block: Score | Threshold | None = None


class Confirm(Part, frozen=True):
    """`needed_for` and stronger actions wait until `hits` of the last `of` clips agree."""

    hits: Hits | None = None
    of: Hits | None = None
    within: Duration | None = None
    min_confidence: Score | None = None
    needed_for: Literal["restrict", "block"] | None = None


class Repeat(Part, frozen=True):
    """`hits` of the last `of` clips at `min_confidence` ask for `action`."""

    hits: Hits | None = None
    of: Hits | None = None
    within: Duration | None = None
    min_confidence: Score | None = None
    action: Floor | None = None


class Rung(Part, frozen=True):
    """From this many violations on, the label asks for `action` at least."""

    violations: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    action: Floor


class Escalation(Part, frozen=True):
    """What the n-th violation asks for."""

    counts: Annotated[Floor, msgspec.Meta(description="What counts as a violation.")] | None = None
    forget: Duration | None = None
    ladder: Annotated[tuple[Rung, ...], msgspec.Meta(max_length=8)] | None = None


class Needs(Part, frozen=True):
    """Modalities without which the label's score says too little."""

    all: tuple[Modality, ...] | None = None
    any: tuple[Modality, ...] | None = None


class Gaps(Part, frozen=True):
    """What unseen content asks for. Only what was never sent may be allowed."""

    on_missing: Relief | None = None
    on_corrupt: Floor | None = None
    on_timeout: Floor | None = None
    on_model_error: Floor | None = None
    on_skipped: Floor | None = None


class LabelPart(Part, frozen=True):
    """One label's rule, or what a layer changes of it."""

    description: str | None = None
    aliases: Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)] | None = None
    parent: Name | None = None
    severity: Annotated[int, msgspec.Meta(ge=0, le=7)] | None = None
    dsa: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z_]{2,79}$(?!\n)")] | None = None
    mode: Mode | None = None
    mode_until: Instant | None = None
    thresholds: ThresholdSet | None = None
    hysteresis: Annotated[float, msgspec.Meta(ge=0, le=0.5)] | None = None
    confirm: Confirm | None = None
    repeat: Repeat | None = None
    half_life: Duration | None = None
    cooldown: Duration | None = None
    escalation: Escalation | None = None
    single_shot_block: Score | Literal["never"] | None = None
    max_automatic_action: Floor | None = None
    always_review: bool | None = None
    visibility: tuple[Visibility, ...] | None = None
    requires: Needs | None = None
    fail_safe: Gaps | None = None


class FailSafePart(Part, frozen=True):
    """What content that was not fully seen asks for, by modality."""

    default: Floor | None = None
    frames: Gaps | None = None
    title: Gaps | None = None
    chat: Gaps | None = None
    asr: Gaps | None = None
    ocr: Gaps | None = None
    required: tuple[Modality, ...] | None = None
    min_scored_frames: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    nothing_scored: Floor | None = None
    visibility: tuple[Visibility, ...] | None = None


class NearThreshold(Part, frozen=True):
    """Clips whose score is within `band` of a threshold."""

    band: Annotated[float, msgspec.Meta(ge=0, le=0.5)] | None = None
    share: Share | None = None


class StratumPart(Part, frozen=True):
    """Clips on which `label` scores from `low` to under `high`."""

    label: Name
    low: Score
    high: Score
    share: Share


class ReviewPart(Part, frozen=True):
    """Which clips go to people although no rule asks for it."""

    salt: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    random: Share | None = None
    near_threshold: NearThreshold | None = None
    strata: Annotated[dict[ItemName, StratumPart | None], msgspec.Meta(max_length=32)] | None = None


class StatePart(Part, frozen=True):
    """How long a stream is remembered, and what a state that cannot be trusted asks for."""

    ttl: Duration | None = None
    on_refused: Floor | None = None


class ListPatch(Part, frozen=True):
    """What a layer may change of a blocklist."""

    mode: ListMode | None = None
    action: Floor | None = None


class ListPart(ListPatch, frozen=True, kw_only=True):
    """A blocklist. A hit is evidence that asks for review, or hard and asks for `action`."""

    label: Name
    description: str | None = None
    languages: Annotated[tuple[Language, ...], msgspec.Meta(max_length=64)] | None = None
    phrases: tuple[Phrase, ...] | None = None
    patterns: Annotated[tuple[Phrase, ...], msgspec.Meta(max_length=500)] | None = None
    file: FileName | None = None
    variants: Annotated[bool, msgspec.Meta(description="leetspeak, spacing, look-alikes")] = True


class AllowPart(Part, frozen=True):
    """Phrases in which a hit counts for nothing, as in counter-speech."""

    phrases: tuple[Phrase, ...]
    description: str | None = None
    lists: (
        Annotated[
            tuple[ItemName, ...], msgspec.Meta(description="All evidence lists where left out.")
        ]
        | None
    ) = None


class BankPatch(Part, frozen=True):
    """What a layer may change of a hash bank."""

    mode: ListMode | None = None
    action: Floor | None = None
    max_distance: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    min_quality: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    enabled_ratio: Share | None = None


class BankPart(BankPatch, frozen=True, kw_only=True):
    """A bank of PDQ hashes, 64 hexadecimal digits each."""

    label: Name
    description: str | None = None
    hashes: tuple[Annotated[str, msgspec.Meta(max_length=64)], ...] | None = None
    file: FileName | None = None


class LayerPart(Part, frozen=True):
    """What one region, surface, audience or room changes."""

    description: str | None = None
    defaults: LabelPart | None = None
    labels: dict[Name, LabelPart | None] | None = None
    fail_safe: FailSafePart | None = None
    review: ReviewPart | None = None
    state: StatePart | None = None
    blocklists: dict[ItemName, ListPatch | None] | None = None
    hash_banks: dict[ItemName, BankPatch | None] | None = None


class ShadowPart(Part, frozen=True):
    """Another policy file that is evaluated beside this one and never acts."""

    file: FileName
    until: Instant | None = None


class Document(Part, frozen=True, kw_only=True):
    """A Livewarden policy."""

    policy: Header
    defaults: LabelPart
    labels: dict[Name, LabelPart | None]
    fail_safe: FailSafePart | None = None
    review: ReviewPart | None = None
    state: StatePart | None = None
    blocklists: Annotated[dict[ItemName, ListPart], msgspec.Meta(max_length=64)] | None = None
    allow_phrases: Annotated[dict[ItemName, AllowPart], msgspec.Meta(max_length=64)] | None = None
    hash_banks: Annotated[dict[ItemName, BankPart], msgspec.Meta(max_length=32)] | None = None
    regions: dict[str, LayerPart | None] | None = None
    surfaces: dict[Name, LayerPart | None] | None = None
    audiences: dict[Name, LayerPart | None] | None = None
    rooms: Annotated[dict[Name, LayerPart | None], msgspec.Meta(max_length=10_000)] | None = None
    shadow: Annotated[tuple[ShadowPart, ...], msgspec.Meta(max_length=2)] | None = None

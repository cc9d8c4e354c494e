"""The verdict: what the server says about one clip, as frozen types both sides share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from livewarden_client.wire import VERDICT_SCHEMA, Action


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The scores (0..1) from which a label asks for each action."""

    review: float
    restrict: float
    block: float


@dataclass(frozen=True, slots=True)
class LabelVerdict:
    """One label: its joint score, each modality's own score, and the action that they ask for.

    `supported` is false where no loaded model has a signal for the label: its score says nothing.
    """

    id: str
    score: float
    action: Action
    thresholds: Thresholds
    per_modality: Mapping[str, float]
    supported: bool = True


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the action is what it is: a stable machine code and one sentence for people."""

    code: str
    action: Action
    message: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The frame or text that speaks loudest for a label.

    `ref` points into the request: `frames[3]` or `texts[1]`. `span` is a range of characters.
    """

    label: str
    modality: str
    ref: str
    score: float
    kind: str = "model"
    ts_ms: int | None = None
    span: tuple[int, int] | None = None


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
class Provenance:
    """What produced the verdict, exactly enough to produce it again."""

    bundle: str
    models: Mapping[str, str]
    calibration: str
    policy: PolicyRef
    taxonomy: str
    wire: int
    server: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one clip, schema `livewarden.verdict/v1`.

    `label` is the label that decided, None where coverage decided or nothing did. `timings_ms`
    holds milliseconds per stage. `nonce`, `request_id` and `pass_through` come back as sent.
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
    pass_through: Any = None
    schema: str = VERDICT_SCHEMA

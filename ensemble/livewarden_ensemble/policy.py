"""The policy engine: scores and coverage in, action and reasons out. No I/O, no clock, no chance.

The clip's action is the strongest of what each label asks for (its joint score against three
thresholds) and what each fail-safe rule asks for (content that was not fully seen). Nothing that
a label or rule does can lower it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from livewarden_client.verdict import Coverage, LabelVerdict, Reason, Thresholds
from livewarden_client.wire import ACTIONS, LABELS, MODALITIES, Action
from livewarden_ensemble.coverage import WHOLE_FRAME, WHOLE_TEXT, FrameState, TextState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from livewarden_client.verdict import ModalityCoverage
    from livewarden_ensemble.context import Context
    from livewarden_ensemble.fuse import ClipScores

SEVERITY: Final[Mapping[Action, int]] = {action: rank for rank, action in enumerate(ACTIONS)}

# From "never sent" to "sent, but no model answered": the ways in which content goes unseen.
Gap = Literal["missing", "damaged", "late", "unscored"]

# Which gap a state is; the states left out are fully seen. A state that neither a table nor
# coverage.py knows counts as damaged.
FRAME_GAPS: Final[Mapping[str, Gap]] = {
    FrameState.EMPTY: "damaged",
    FrameState.CORRUPT: "damaged",
    FrameState.UNSUPPORTED: "damaged",
    FrameState.TOO_LARGE: "damaged",
    FrameState.ANIMATED: "damaged",
    FrameState.LATE: "late",
    FrameState.UNSCORED: "unscored",
}
TEXT_GAPS: Final[Mapping[str, Gap]] = {
    TextState.INVALID_UTF8: "damaged",
    TextState.TRUNCATED: "damaged",
    TextState.TOO_LARGE: "damaged",
    TextState.LATE: "late",
    TextState.UNSCORED: "unscored",
}


@dataclass(frozen=True, slots=True)
class FailSafe:
    """What each kind of gap asks for, per modality; `nothing_scored` when no content was seen."""

    frames: Mapping[Gap, Action]
    texts: Mapping[Gap, Action]
    nothing_scored: Action


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, checked and ready: thresholds for every label of the taxonomy."""

    id: str
    version: str
    digest: str
    thresholds: Mapping[str, Thresholds]
    fail_safe: FailSafe


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one clip; `label` is the label that decided, if one did."""

    action: Action
    label: str | None
    reasons: tuple[Reason, ...]
    labels: tuple[LabelVerdict, ...]
    overrides: tuple[str, ...] = ()
    state: str | None = None


def decide(
    scores: ClipScores | None,
    coverage: Coverage,
    context: Context,
    policy: Policy,
) -> Decision:
    """Decide on one clip; `scores` is None where nothing could be scored.

    Without scores no label has a verdict: a 0 there would read as harmless. Reasons come strongest
    first, and of equal ones labels before coverage, and the highest score before the others.
    """
    labels = () if scores is None else _judge_labels(scores, coverage, policy)
    loudest = sorted(labels, key=lambda judged: -judged.score)
    reasons = [_explain_label(judged) for judged in loudest if judged.action != "allow"]
    reasons += _judge_coverage(
        scored=scores is not None, coverage=coverage, fail_safe=policy.fail_safe
    )
    reasons.sort(key=lambda reason: -SEVERITY[reason.action])
    top = reasons[0] if reasons else None
    return Decision(
        action=top.action if top else "allow",
        label=top.label if top else None,
        reasons=tuple(reasons),
        labels=labels,
        state=context.state,
    )


def rank_score(score: float, thresholds: Thresholds) -> Action:
    """Find the strongest action whose threshold `score` reaches; NaN is reviewed."""
    if score >= thresholds.block:
        return "block"
    if score >= thresholds.restrict:
        return "restrict"
    if score >= thresholds.review or math.isnan(score):
        return "review"
    return "allow"


def _judge_labels(
    scores: ClipScores, coverage: Coverage, policy: Policy
) -> tuple[LabelVerdict, ...]:
    seen = [index for index, present in enumerate(scores.present) if present]
    return tuple(
        LabelVerdict(
            id=label,
            score=score,
            action=rank_score(score, policy.thresholds[label]),
            thresholds=policy.thresholds[label],
            per_modality={MODALITIES[index]: column[index] for index in seen},
            supported=label not in coverage.unsupported_labels,
        )
        for label, score, column in zip(
            LABELS, scores.joint.tolist(), scores.modality.T.tolist(), strict=True
        )
    )


def _explain_label(judged: LabelVerdict) -> Reason:
    if math.isnan(judged.score):
        message = f"{judged.id} has no score that is a number."
        return Reason(f"{judged.id}.score.invalid", judged.action, message, judged.id)
    threshold = getattr(judged.thresholds, judged.action)
    return Reason(
        f"{judged.id}.score>={judged.action}",
        judged.action,
        f"{judged.id} scored {judged.score:.2f}, at or over the threshold "
        f"{threshold:.2f} for {judged.action}.",
        judged.id,
    )


def _judge_coverage(*, scored: bool, coverage: Coverage, fail_safe: FailSafe) -> list[Reason]:
    """Say what asks for more than `allow`: gaps, failed stages, and the clip as a whole."""
    reasons = [
        *_judge_gaps("frames", coverage.frames, fail_safe.frames, FRAME_GAPS, WHOLE_FRAME),
        *_judge_gaps("texts", coverage.texts, fail_safe.texts, TEXT_GAPS, WHOLE_TEXT),
    ]
    for stage, cause in coverage.failed.items():
        message = f"The stage {stage} failed ({cause}); what it would have seen is unseen."
        reasons.append(Reason(f"coverage.{stage}.{cause}", "review", message))
    if not scored or coverage.frames.scored + coverage.texts.scored == 0:
        message = "Nothing of the clip was scored."
        reasons.append(Reason("coverage.nothing_scored", fail_safe.nothing_scored, message))
    if coverage.degraded and not reasons:
        message = "Something that was sent was not fully scored."
        reasons.append(Reason("coverage.degraded", "review", message))
    return reasons


def _judge_gaps(
    modality: str,
    seen: ModalityCoverage,
    rule: Mapping[Gap, Action],
    gaps: Mapping[str, Gap],
    whole: Collection[str],
) -> Iterator[Reason]:
    found: dict[Gap, list[str]] = {}
    if seen.sent == 0:
        found["missing"] = []
    for state, indices in seen.states.items():
        if indices and state not in whole:
            found.setdefault(gaps.get(state, "damaged"), []).append(f"{len(indices)} {state}")
    for gap, counts in found.items():
        if rule[gap] != "allow":
            message = (
                f"Of {seen.sent} {modality}, {', '.join(counts)}: what was not seen is not allowed."
                if counts
                else f"No {modality} were sent."
            )
            yield Reason(f"coverage.{modality}.{gap}", rule[gap], message)

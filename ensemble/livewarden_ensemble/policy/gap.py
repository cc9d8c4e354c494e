"""Gaps: what of a clip went unseen, by modality, and what the policy asks for because of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from livewarden_client.verdict import Reason
from livewarden_ensemble.coverage import WHOLE_FRAME, WHOLE_TEXT, FrameState, TextState
from livewarden_ensemble.policy.built_in import GAPS, MODALITIES
from livewarden_ensemble.policy.rule import RANK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from livewarden_client.verdict import Coverage
    from livewarden_client.wire import Action
    from livewarden_ensemble.context import TextInfo
    from livewarden_ensemble.policy.rule import FailSafe, Gap, LabelRule, Modality

# Which gap a state is; the states left out are fully seen. A state that neither a table nor
# coverage.py knows counts as corrupt.
FRAME_GAPS: Final[Mapping[str, Gap]] = {
    FrameState.EMPTY: "corrupt",
    FrameState.CORRUPT: "corrupt",
    FrameState.UNSUPPORTED: "corrupt",
    FrameState.TOO_LARGE: "corrupt",
    FrameState.ANIMATED: "skipped",
    FrameState.LATE: "timeout",
    FrameState.UNSCORED: "model_error",
}
TEXT_GAPS: Final[Mapping[str, Gap]] = {
    TextState.INVALID_UTF8: "corrupt",
    TextState.TRUNCATED: "skipped",
    TextState.TOO_LARGE: "skipped",
    TextState.LATE: "timeout",
    TextState.UNSCORED: "model_error",
}

# How a gap reads in a sentence.
GAP_WORDS: Final[Mapping[Gap, str]] = {
    "missing": "not sent",
    "corrupt": "damaged",
    "timeout": "too late",
    "model_error": "not answered by a model",
    "skipped": "only seen in part",
}

# The gap of the clip and of each modality in it: how many items, and in which states.
Found = dict[tuple["Modality", "Gap"], Counter[str]]


def find_gaps(coverage: Coverage, texts: Sequence[TextInfo]) -> Found:
    """Find what went unseen. A modality of which nothing was sent is `missing`, with no counts."""
    found: Found = {}
    missing = set(coverage.missing)
    for name in MODALITIES:
        if ("visual" if name == "frames" else name) in missing:
            found[name, "missing"] = Counter()
    if coverage.frames.sent == 0:
        found["frames", "missing"] = Counter()
    for state, indices in coverage.frames.states.items():
        if indices and state not in WHOLE_FRAME:
            gap = FRAME_GAPS.get(state, "corrupt")
            found.setdefault(("frames", gap), Counter())[state] += len(indices)
    for state, indices in coverage.texts.states.items():
        if state in WHOLE_TEXT:
            continue
        gap = TEXT_GAPS.get(state, "corrupt")
        for index in indices:
            # A text that the context does not describe is chat: the kind that is unseen the most.
            kind: Modality = texts[index].kind if index < len(texts) else "chat"
            found.setdefault((kind, gap), Counter())[state] += 1
    return found


def judge_gaps(found: Found, coverage: Coverage, rule: FailSafe, *, scored: bool) -> list[Reason]:
    """Say what unseen content asks for. What was sent and not fully seen is never allowed."""
    reasons = [
        *_judge_modalities(found, rule),
        *(
            Reason(
                f"coverage.{stage}.{cause}",
                "review",
                f"The stage {stage} failed ({cause}); what it would have seen is unseen.",
            )
            for stage, cause in coverage.failed.items()
        ),
    ]
    frames = coverage.frames
    if frames.sent and frames.scored < rule.min_scored_frames:
        message = (
            f"{frames.scored} frames were scored; the policy asks for {rule.min_scored_frames}."
        )
        reasons.append(Reason("coverage.frames.too_few", "review", message))
    if not scored or frames.scored + coverage.texts.scored == 0:
        message = "Nothing of the clip was scored."
        reasons.append(Reason("coverage.nothing_scored", rule.nothing_scored, message))
    if coverage.degraded and all(reason.action == "allow" for reason in reasons):
        message = "Something that was sent was not fully scored."
        reasons.append(Reason("coverage.degraded", "review", message))
    return reasons


def _judge_modalities(found: Found, rule: FailSafe) -> Iterable[Reason]:
    for (modality, gap), counts in found.items():
        relief = rule.gaps[modality, gap]
        needed = gap != "missing" or modality in rule.required
        if relief == "ignore" and not needed:
            continue
        asked: Action = relief if relief != "ignore" else "review"
        if asked == "allow" and needed:
            asked = "review"
        if gap == "missing":
            message = (
                f"No {modality} were sent." if modality == "frames" else f"No {modality} was sent."
            )
        else:
            listed = ", ".join(f"{count} {state}" for state, count in counts.items())
            message = f"Of the {modality}, {listed}: what was not seen is not allowed."
        yield Reason(f"coverage.{modality}.{gap}", asked, message)


def judge_needs(
    found: Found, rules: Iterable[LabelRule], ceilings: Mapping[str, Action]
) -> list[Reason]:
    """Say which labels lack a modality that they need, and what that asks for."""
    reasons = []
    for rule in rules:
        if not (rule.needs_all or rule.needs_any):
            continue
        worst = _find_lack(found, rule)
        if worst is None:
            continue
        modality, gap = worst
        asked = rule.gaps[gap]
        if asked == "ignore":
            continue
        action = min(asked, ceilings[rule.id], key=RANK.__getitem__)
        if action != "allow":
            message = f"{rule.id} cannot be judged without {modality}, which is {GAP_WORDS[gap]}."
            reasons.append(Reason(f"{rule.id}.needs.{modality}.{gap}", action, message, rule.id))
    return reasons


def lacks_needs(found: Found, rule: LabelRule) -> bool:
    """Whether a modality that the label needs was not fully seen."""
    return bool(rule.needs_all or rule.needs_any) and _find_lack(found, rule) is not None


def _find_lack(found: Found, rule: LabelRule) -> tuple[Modality, Gap] | None:
    """Find the gap in what a label needs that asks for the most."""
    lacks = [key for key in found if key[0] in rule.needs_all]
    unseen = {modality for modality, _ in found}
    if rule.needs_any and rule.needs_any <= unseen:
        lacks += [key for key in found if key[0] in rule.needs_any]
    if not lacks:
        return None
    return max(lacks, key=lambda key: (RANK.get(rule.gaps[key[1]], 0), -GAPS.index(key[1])))

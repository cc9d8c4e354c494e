"""The engine: scores, coverage and what the stream did before, into a decision.

The action is the strongest of what labels, lists, banks, gaps in coverage and a refused state ask
for. Each of them can only raise it; only the policy's own ceilings (a label's mode and its
`max_automatic_action`) lower what a label asks for, and none of them what a gap asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from livewarden_client.verdict import LabelVerdict, Reason, ShadowVerdict
from livewarden_client.wire import LABELS, MODALITIES
from livewarden_ensemble.policy.decision import Decision
from livewarden_ensemble.policy.gap import find_gaps, judge_gaps, judge_needs, lacks_needs
from livewarden_ensemble.policy.hit import NO_HITS, Hits
from livewarden_ensemble.policy.layer import effective
from livewarden_ensemble.policy.match import judge_hits
from livewarden_ensemble.policy.reason import explain_label
from livewarden_ensemble.policy.rule import RANK
from livewarden_ensemble.policy.sample import name_clip, sample_clip
from livewarden_ensemble.policy.temporal import (
    ARRIVALS,
    NO_MEMORY,
    advance_state,
    judge_label,
    place_clip,
)
from livewarden_ensemble.stream_state import FRESH, LabelMemory, StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_client.verdict import Coverage, LabelState
    from livewarden_client.wire import Action
    from livewarden_ensemble.context import Context
    from livewarden_ensemble.fuse import ClipScores
    from livewarden_ensemble.policy.gap import Found
    from livewarden_ensemble.policy.layer import EffectivePolicy, Policy
    from livewarden_ensemble.policy.rule import LabelRule, Mode
    from livewarden_ensemble.policy.temporal import Judged, Moment

# The most that a label may ask for in each mode.
CEILINGS: Final[Mapping[Mode, Action]] = {
    "enforce": "block",
    "review_only": "review",
    "shadow": "allow",
    "off": "allow",
}


def decide(
    scores: ClipScores | None,
    coverage: Coverage,
    context: Context,
    state: StreamState,
    policy: Policy,
    now_ms: int,
    hits: Hits = NO_HITS,
) -> tuple[Decision, StreamState]:
    """Decide on one clip, captured at `now_ms` (Unix), of a stream that is in `state`.

    `scores` is None where nothing could be scored: no label has a verdict then, since a 0 would
    read as harmless. A context without a stream id has no memory, and its state stays fresh.
    Reasons come strongest first, and of equal ones labels before lists before coverage. Pure: the
    same arguments give the same decision, on any machine.
    """
    rules = effective(policy, context.region, context.surface, context.audience, context.room)
    start, remarks, alone = _open_state(state, context, rules, now_ms)
    moment = place_clip(start, context.clip_seq, now_ms, alone=alone)
    gaps = find_gaps(coverage, context.texts)
    ceilings = {rule.id: _find_ceiling(rule, now_ms) for rule in rules.labels}

    labels = _judge_labels(scores, coverage, rules, start, moment, gaps, ceilings, now_ms)
    matches = judge_hits(hits, policy, rules, context, ceilings)
    reasons = [
        *labels.reasons,
        *matches.reasons,
        *judge_needs(gaps, rules.labels, ceilings),
        *judge_gaps(gaps, coverage, rules.fail_safe, scored=scores is not None),
        *_judge_context(context, policy, rules, state),
    ]
    reasons.sort(key=lambda reason: -RANK[reason.action])
    top = reasons[0] if reasons else None
    action: Action = top.action if top else "allow"
    arrival = ARRIVALS[moment.arrival]
    if arrival.flag is not None and context.stream_id:
        remarks = [*remarks, arrival.flag]
    after = start
    if arrival.counts and context.stream_id:
        after = advance_state(start, moment, labels.memories)
    shadow, shadow_states = _try_shadows(
        scores, coverage, context, start, policy, now_ms, hits, counts=arrival.counts
    )
    if shadow_states:
        after = StreamState(after.seq, after.ms, after.clips, after.labels, shadow_states)
    decision = Decision(
        action=action,
        label=top.label if top and action != "allow" else None,
        reasons=tuple(reasons),
        labels=tuple(labels.verdicts),
        evidence=matches.evidence,
        overrides=rules.overrides,
        visibility=_list_visibility(reasons, rules) if action == "restrict" else (),
        review=_route_review(action, labels, rules, context),
        flags=(*remarks, *labels.flags, *matches.flags),
        cooldown_until_ms=labels.cooling_until_ms,
        shadow=shadow,
    )
    return decision, after


@dataclass(slots=True)
class _Labels:
    """What the labels say together."""

    reasons: list[Reason] = field(default_factory=list)
    verdicts: list[LabelVerdict] = field(default_factory=list)
    memories: dict[str, LabelMemory] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    review: list[str] = field(default_factory=list)
    cooling_until_ms: int | None = None


def _open_state(
    state: StreamState, context: Context, rules: EffectivePolicy, now_ms: int
) -> tuple[StreamState, list[str], bool]:
    """The state to go on from, remarks on it, and whether the stream's past is not known."""
    if not context.stream_id:
        return FRESH, [], True
    if state.fault is not None:
        return FRESH, [f"state.refused:{state.fault}"], True
    if state.seq < 0:
        late_start = context.clip_seq > 0
        return FRESH, ["state.missing"] if late_start else [], late_start
    # An older clip may come long after; a newer one, from long before, shows broken clocks.
    age_ms = now_ms - state.ms
    if age_ms > rules.state_ttl_ms or (
        -age_ms > rules.state_ttl_ms and context.clip_seq > state.seq
    ):
        return FRESH, ["state.expired"], False
    return state, [], False


def _find_ceiling(rule: LabelRule, now_ms: int) -> Action:
    expired = rule.mode_until_ms is not None and now_ms >= rule.mode_until_ms
    mode = CEILINGS["enforce" if expired else rule.mode]
    return min(mode, rule.max_automatic_action, key=RANK.__getitem__)


def _judge_labels(
    scores: ClipScores | None,
    coverage: Coverage,
    rules: EffectivePolicy,
    state: StreamState,
    moment: Moment,
    gaps: Found,
    ceilings: Mapping[str, Action],
    now_ms: int,
) -> _Labels:
    told = _Labels()
    blind = scores is None
    joint = [None] * len(LABELS) if scores is None else scores.joint.tolist()
    columns = [()] * len(LABELS) if scores is None else scores.modality.T.tolist()
    seen = [] if scores is None else [i for i, present in enumerate(scores.present) if present]
    ranked: list[tuple[float, Reason]] = []
    for rule, score, column in zip(rules.labels, joint, columns, strict=True):
        off = rule.mode == "off" and not (rule.mode_until_ms and now_ms >= rule.mode_until_ms)
        memory = state.labels.get(rule.id, NO_MEMORY) if rule.remembers else NO_MEMORY
        whole = not coverage.degraded and not lacks_needs(gaps, rule)
        judged = judge_label(rule, memory, None if off else score, moment, whole=whole)
        if rule.remembers and not off and judged.memory != NO_MEMORY:
            told.memories[rule.id] = judged.memory
        ceiling = ceilings[rule.id]
        asked: Action = "allow" if off else judged.asked
        action = asked if RANK[asked] <= RANK[ceiling] else ceiling
        if asked != "allow":
            _tell(told, ranked, rule, score, judged, asked, action)
        if not blind:
            told.verdicts.append(
                LabelVerdict(
                    id=rule.id,
                    score=score,
                    action=action,
                    thresholds=rule.enter,
                    per_modality={MODALITIES[index]: column[index] for index in seen},
                    supported=rule.id not in coverage.unsupported_labels,
                    exit=rule.exit,
                    state=_name_state(judged, asked, ceiling, off=off),
                    stream_score=judged.stream_score,
                    hits=judged.hits,
                    violations=judged.memory.violations,
                    asked=asked,
                    severity=rule.severity,
                    category=rule.category,
                )
            )
    ranked.sort(key=lambda pair: -pair[0])
    told.reasons = [reason for _, reason in ranked]
    return told


def _tell(
    told: _Labels,
    ranked: list[tuple[float, Reason]],
    rule: LabelRule,
    score: float | None,
    judged: Judged,
    asked: Action,
    action: Action,
) -> None:
    """Write down what a label that asks for something means for the clip."""
    if action == "allow":
        told.flags.append(f"{rule.id}.shadow>={asked}")
        return
    ranked.append((-1.0 if score is None else score, explain_label(rule, score, judged, action)))
    if rule.always_review:
        told.review.append(f"always_review.{rule.id}")
    if action != asked:
        told.review.append(f"capped.{rule.id}")
    if judged.cooling_until_ms is not None:
        told.cooling_until_ms = max(told.cooling_until_ms or 0, judged.cooling_until_ms)


def _name_state(judged: Judged, asked: Action, ceiling: Action, *, off: bool) -> LabelState:
    if off:
        return "off"
    if ceiling == "allow":
        return "shadow"
    if asked == "allow":
        return "inactive"
    return "cooldown" if judged.cause == "cool" else "active"


def _judge_context(
    context: Context, policy: Policy, rules: EffectivePolicy, state: StreamState
) -> list[Reason]:
    """Say what asks for review although the clip itself does not."""
    reasons = []
    if state.fault is not None and context.stream_id:
        message = (
            f"The stream's state was refused ({state.fault}), "
            "so what the stream did before is not known."
        )
        reasons.append(Reason("state.refused", rules.on_refused, message))
    # A tag of the context cannot hold an @.
    if context.policy not in {"", policy.id, f"{policy.id}:{policy.version}"}:
        message = f"The clip asks for another policy than the one that decides, {policy.ref}."
        reasons.append(Reason("policy.unknown", "review", message))
    return reasons


def _list_visibility(reasons: list[Reason], rules: EffectivePolicy) -> tuple[str, ...]:
    """How the restriction is carried out: what each label that asks for it says, in order."""
    by_label = rules.by_label
    ways: dict[str, None] = {}
    for reason in reasons:
        if reason.action == "restrict":
            listed = (
                by_label[reason.label].visibility if reason.label else rules.fail_safe.visibility
            )
            ways |= dict.fromkeys(listed)
    return tuple(ways)


def _route_review(
    action: Action, labels: _Labels, rules: EffectivePolicy, context: Context
) -> tuple[str, ...]:
    """Say why a person should look at the clip."""
    why = ["action.review"] if action == "review" else []
    scores = [label.score for label in labels.verdicts]
    drawn = sample_clip(rules.sampling, labels.verdicts, name_clip(context, scores))
    return (*why, *labels.review, *drawn)


def _try_shadows(
    scores: ClipScores | None,
    coverage: Coverage,
    context: Context,
    state: StreamState,
    policy: Policy,
    now_ms: int,
    hits: Hits,
    *,
    counts: bool,
) -> tuple[tuple[ShadowVerdict, ...], dict[str, StreamState]]:
    """Let the shadow policies decide beside this one, each with its own memory of the stream."""
    verdicts, states = [], {}
    if policy.shadows:
        # Which policy the caller wants says nothing about one that is tried out.
        context = msgspec.structs.replace(context, policy="")
    for shadow, until_ms in policy.shadows:
        if until_ms is not None and now_ms >= until_ms:
            continue
        before = state.shadows.get(shadow.ref, FRESH)
        decision, after = decide(
            scores,
            coverage,
            context,
            before,
            shadow,
            now_ms,
            hits.shadows.get(shadow.ref, NO_HITS),
        )
        codes = tuple(reason.code for reason in decision.reasons if reason.action != "allow")
        verdicts.append(
            ShadowVerdict(shadow.ref, shadow.digest, decision.action, decision.label, codes)
        )
        if context.stream_id:
            states[shadow.ref] = after if counts else before
    return tuple(verdicts), states

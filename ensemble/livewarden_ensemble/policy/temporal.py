"""Time: what a label asks for, given what it did in the stream's clips before.

One clip takes these steps, and none of them lowers what the one before raised, but for `confirm`:

1. rank      the score against the thresholds that start an action; `single_shot_block` is one more
2. confirm   an action that needs N hits of M clips and has fewer waits, at the action below it
3. repeat    N hits of M clips ask for an action that no single score of them asked for
4. hold      an action that the stream had stays while the score, or the stream's decayed peak, is
             at or over the threshold that ends it; always where the clip was not fully seen
5. escalate  the n-th violation asks for more
6. cool      an action stays for the cooldown, whatever the scores do
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from livewarden_client.wire import ACTIONS
from livewarden_ensemble.policy.rule import RANK
from livewarden_ensemble.stream_state import WINDOW, LabelMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_client.verdict import Thresholds
    from livewarden_client.wire import Action
    from livewarden_ensemble.policy.rule import Count, LabelRule, Ladder
    from livewarden_ensemble.stream_state import StreamState

Arrival = Literal["next", "reordered", "duplicate", "late"]
Cause = Literal["none", "score", "single_shot", "confirm", "repeat", "hold", "escalate", "cool"]

NO_MEMORY: Final = LabelMemory()


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done with a clip that arrives in some order.

    `falls`: an action may end with it. `counts`: it is written into the memory. `flag`: what the
    verdict says of it.
    """

    falls: bool
    counts: bool
    flag: str | None


# Whatever the order, a clip is judged by its own scores and by what the stream has done.
ARRIVALS: Final[Mapping[Arrival, Treatment]] = {
    "next": Treatment(falls=True, counts=True, flag=None),
    "reordered": Treatment(falls=False, counts=True, flag="clip.reordered"),
    "duplicate": Treatment(falls=False, counts=False, flag="clip.duplicate"),
    "late": Treatment(falls=False, counts=False, flag="clip.late"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a clip stands in its stream.

    `clips` are the remembered ones with this one among them, newest first, as pairs of number and
    Unix ms; `slot` is its place there, None where it is not counted. `at_ms` is the stream's time,
    `since_ms` how long ago the memory was written, `age_ms` how old the clip is. `alone`: what came
    before is not known, so nothing can wait to be confirmed.
    """

    arrival: Arrival
    seq: int
    at_ms: int
    since_ms: int
    age_ms: int
    clips: tuple[tuple[int, int], ...]
    slot: int | None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What a label asks for and why, with the memory to keep; `hits` count for its N-of-M rule."""

    asked: Action
    cause: Cause
    memory: LabelMemory
    stream_score: float | None
    hits: int
    cooling_until_ms: int | None


def place_clip(state: StreamState, seq: int, now_ms: int, *, alone: bool = False) -> Moment:
    """Find where clip `seq`, captured at `now_ms`, stands in the stream.

    `alone` says that the stream's past is not known, although it may have one.
    """
    clips = [(state.seq - back, state.ms - age) for back, age in state.clips]
    at_ms = max(state.ms, now_ms)
    since_ms, age_ms = at_ms - state.ms if state.seq >= 0 else 0, at_ms - now_ms
    numbers = [number for number, _ in clips]
    arrival: Arrival = "next"
    if seq <= state.seq:
        if seq in numbers:
            arrival = "duplicate"
        else:
            arrival = "late" if len(clips) == WINDOW and seq < numbers[-1] else "reordered"
    slot = None
    if ARRIVALS[arrival].counts:
        slot = sum(number > seq for number in numbers)
        # A newer clip cannot be older: a clock that went back is taken to stand still.
        clips.insert(slot, (seq, at_ms if arrival == "next" else min(now_ms, at_ms)))
        del clips[WINDOW:]
        age_ms = at_ms - clips[slot][1] if slot < WINDOW else age_ms
    return Moment(arrival, seq, at_ms, since_ms, age_ms, tuple(clips), slot, alone)


def advance_state(
    state: StreamState, moment: Moment, labels: Mapping[str, LabelMemory]
) -> StreamState:
    """The state after a clip that counts: `labels` are the memories worth keeping."""
    seq = max(state.seq, moment.seq)
    clips = tuple((seq - number, moment.at_ms - ms) for number, ms in moment.clips)
    return type(state)(seq=seq, ms=moment.at_ms, clips=clips, labels=labels)


def rank_score(score: float, thresholds: Thresholds) -> int:
    """Rank the strongest action whose threshold `score` reaches; NaN is reviewed."""
    if score >= thresholds.block:
        return 3
    if score >= thresholds.restrict:
        return 2
    return int(score >= thresholds.review or math.isnan(score))


def judge_label(  # noqa: C901 - six steps in their order, which is the point
    rule: LabelRule, memory: LabelMemory, score: float | None, moment: Moment, *, whole: bool
) -> Judged:
    """Judge one label of one clip; `score` is None where nothing was scored.

    `whole` says that all which the label needs was fully seen: without that nothing ends.
    """
    if memory is NO_MEMORY and score is not None and score < rule.quiet_below:
        # Most labels of most clips: none of the steps has anything to do.
        return Judged("allow", "none", NO_MEMORY, score, 0, None)
    peak = _keep_peak(_decay(memory.peak, moment.since_ms, rule.half_life_ms), rule)
    confirming = _shift(memory.confirming, moment.slot, hit=_is_hit(score, rule.confirm))
    repeating = _shift(memory.repeating, moment.slot, hit=_is_hit(score, rule.repeat))
    asked, cause = _rank(rule, score)

    hits = 0
    if rule.confirm is not None:
        hits = _count_hits(rule.confirm, confirming, moment)
        wait = RANK[rule.confirm.action] - 1
        waits = hits < rule.confirm.hits and not moment.alone
        if waits and asked > wait and cause != "single_shot":
            asked, cause = wait, "confirm"
    if rule.repeat is not None:
        repeated = _count_hits(rule.repeat, repeating, moment)
        hits = hits or repeated
        if repeated >= rule.repeat.hits and RANK[rule.repeat.action] > asked:
            asked, cause = RANK[rule.repeat.action], "repeat"

    loudest = peak if score is None else max(score, peak)
    held = memory.level
    if ARRIVALS[moment.arrival].falls and whole and score is not None and not math.isnan(score):
        held = min(held, rank_score(loudest, rule.exit))
    if held > asked:
        asked, cause = held, "hold"
    level = asked

    violations = _count_violations(rule.ladder, memory, level, moment)
    if rule.ladder is not None and level >= RANK[rule.ladder.counts]:
        rung = max((RANK[a] for n, a in rule.ladder.rungs if n <= violations[0]), default=0)
        if rung > asked:
            asked, cause = rung, "escalate"

    held_ms = tuple(
        max(last, moment.at_ms - moment.age_ms) if asked >= rank else last
        for rank, last in enumerate(memory.held_ms, start=1)
    )
    until_ms = None
    for rank in (3, 2, 1):
        ends_ms = memory.held_ms[rank - 1] + rule.cooldown_ms
        if memory.held_ms[rank - 1] and ends_ms > moment.at_ms and rank > asked:
            asked, cause, until_ms = rank, "cool", ends_ms
            break
    fresh = 0.0 if score is None else _decay(score, moment.age_ms, rule.half_life_ms)
    kept = LabelMemory(
        level=level if ARRIVALS[moment.arrival].falls else max(level, memory.level),
        peak=_keep_peak(max(peak, fresh), rule),
        confirming=confirming,
        repeating=repeating,
        held_ms=held_ms if rule.cooldown_ms else (0, 0, 0),  # type: ignore[arg-type]  # of three
        violations=violations[0],
        violated_ms=violations[1],
        offended_ms=violations[2],
    )
    return Judged(
        asked=ACTIONS[asked],
        cause=cause if asked else "none",
        memory=kept,
        stream_score=None if score is None else loudest,
        hits=hits,
        cooling_until_ms=until_ms,
    )


def _rank(rule: LabelRule, score: float | None) -> tuple[int, Cause]:
    if score is None:
        return 0, "none"
    if rule.single_shot_block is not None and score >= rule.single_shot_block:
        return 3, "single_shot"
    return rank_score(score, rule.enter), "score"


def _decay(loud: float, after_ms: int, half_life_ms: int) -> float:
    """Halve `loud` every half-life; without one it is forgotten at once."""
    if after_ms <= 0:
        return loud
    return loud * 0.5 ** (after_ms / half_life_ms) if half_life_ms else 0.0


def _keep_peak(peak: float, rule: LabelRule) -> float:
    """A peak only fades; under what ends the weakest action it will never say anything again."""
    return peak if rule.half_life_ms and peak >= rule.exit.review else 0.0


def _is_hit(score: float | None, count: Count | None) -> bool:
    return count is not None and score is not None and score >= count.floor


def _shift(bits: int, slot: int | None, *, hit: bool) -> int:
    """Make room for a clip at `slot` and set its bit."""
    if slot is None:
        return bits
    newer = bits & ((1 << slot) - 1)
    older = bits >> slot << (slot + 1)
    return (older | hit << slot | newer) & ((1 << WINDOW) - 1)


def _count_hits(count: Count, bits: int, moment: Moment) -> int:
    oldest = moment.at_ms - count.within_ms
    return sum(
        bits >> index & 1 and ms >= oldest for index, (_, ms) in enumerate(moment.clips[: count.of])
    )


def _count_violations(
    ladder: Ladder | None, memory: LabelMemory, level: int, moment: Moment
) -> tuple[int, int, int]:
    """Count this clip in: how many violations, when the last was counted, when one last went on."""
    if ladder is None:
        return 0, 0, 0
    count, counted_ms, seen_ms = memory.violations, memory.violated_ms, memory.offended_ms
    when = moment.at_ms - moment.age_ms
    if level < RANK[ladder.counts] or moment.slot is None or when < seen_ms:
        return count, counted_ms, seen_ms
    if count and when - seen_ms > ladder.forget_ms:
        count = 0
    if count == 0 or when - counted_ms >= max(1, ladder.cooldown_ms):
        count, counted_ms = count + 1, when
    return count, counted_ms, when

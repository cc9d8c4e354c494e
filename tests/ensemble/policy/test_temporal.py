from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livewarden_ensemble.policy import Policy, decide, effective
from livewarden_ensemble.policy.rule import RANK
from livewarden_ensemble.policy.temporal import ARRIVALS, NO_MEMORY, judge_label, place_clip
from livewarden_ensemble.stream_state import FRESH, WINDOW, LabelMemory, StreamState

NOON_MS = 1_700_000_000_000
STEP_MS = 2_000
Make = Callable[..., Any]

EVERYTHING: dict[str, Any] = {
    "hysteresis": 0.1,
    "half_life": "4s",
    "cooldown": "5s",
    "confirm": {"hits": 2, "of": 3, "within": "10s", "min_confidence": 0.6},
    "repeat": {"hits": 3, "of": 6, "min_confidence": 0.4},
    "single_shot_block": 0.97,
    "escalation": {
        "counts": "review",
        "forget": "40s",
        "ladder": [{"violations": 2, "action": "restrict"}, {"violations": 4, "action": "block"}],
    },
}


@pytest.fixture(scope="session")
def run(make_scores: Make, make_coverage: Make, make_context: Make) -> Callable[..., Any]:
    """Play clips of one stream: pairs of number and score of `hate`, None where nothing was seen.

    Clip n was captured n steps after noon. Gives each clip's decision, and the last state.
    """

    def run(
        policy: Policy,
        clips: Sequence[tuple[int, float | None]],
        state: StreamState = FRESH,
        step_ms: int = STEP_MS,
    ) -> tuple[list[Any], StreamState]:
        decisions = []
        for seq, score in clips:
            blind = score is None
            decision, state = decide(
                None if blind else make_scores({"hate": score}),
                make_coverage(frames=("unscored",)) if blind else make_coverage(),
                make_context(seq),
                state,
                policy,
                NOON_MS + seq * step_ms,
            )
            decisions.append(decision)
        return decisions, state

    return run


@pytest.fixture(scope="session")
def everything(make_policy: Make) -> Policy:
    """A policy in which `hate` has every rule over time."""
    return make_policy({"labels": {"hate": EVERYTHING}})


def actions(decisions: Sequence[Any]) -> str:
    """The actions as one letter each: a, v (review), r, b."""
    return "".join({"review": "v"}.get(one.action, one.action[0]) for one in decisions)


def numbered(*scores: float | None) -> list[tuple[int, float | None]]:
    return list(enumerate(scores))


# --- One rule at a time ---------------------------------------------------------------------------


def test_without_rules_over_time_each_clip_stands_alone(make_policy: Make, run: Make) -> None:
    """The plainest policy has no memory: neither the action nor the token knows the past."""
    decisions, state = run(make_policy(), numbered(0.95, 0.1, 0.6, 0.4))
    assert actions(decisions) == "bava"
    assert state.labels == {}


def test_hysteresis_ends_later_than_it_starts(make_policy: Make, run: Make) -> None:
    """An action stays down to its exit, and starts again only at its enter."""
    policy = make_policy({"labels": {"hate": {"hysteresis": 0.1}}})
    decisions, _ = run(policy, numbered(0.75, 0.65, 0.55, 0.65, 0.45, 0.39, 0.45))
    assert actions(decisions) == "rrvvvaa"
    assert decisions[1].reasons[0].code == "hate.held"


def test_an_exit_of_its_own(make_policy: Make, run: Make) -> None:
    """`exit` is the threshold itself, and goes before `hysteresis`."""
    thresholds = {"restrict": {"enter": 0.7, "exit": 0.3}}
    policy = make_policy({"labels": {"hate": {"thresholds": thresholds, "hysteresis": 0.1}}})
    decisions, _ = run(policy, numbered(0.75, 0.31, 0.29, 0.31))
    assert actions(decisions) == "rraa"


def test_confirmation_needs_n_of_m(make_policy: Make, run: Make) -> None:
    """Restrict waits for the second hit of the last three clips; review does not wait."""
    confirm = {"hits": 2, "of": 3, "min_confidence": 0.6}
    policy = make_policy({"labels": {"hate": {"confirm": confirm}}})
    decisions, _ = run(policy, numbered(0.95, 0.1, 0.1, 0.95, 0.1, 0.95, 0.65, 0.75))
    assert actions(decisions) == "vaavabvr"
    assert decisions[0].reasons[0].code == "hate.unconfirmed"
    assert "1 of the last 3 clips" in decisions[0].reasons[0].message


def test_confirmation_within_a_time(make_policy: Make, run: Make) -> None:
    """A hit that is older than the window confirms nothing."""
    confirm = {"hits": 2, "of": 3, "within": "3s"}
    policy = make_policy({"labels": {"hate": {"confirm": confirm}}})
    assert actions(run(policy, numbered(0.95, 0.95))[0]) == "vb"
    assert actions(run(policy, numbered(0.95, 0.95), step_ms=4_000)[0]) == "vv"


def test_confirmation_of_block_alone(make_policy: Make, run: Make) -> None:
    """An unconfirmed block is a restrict where only block needs confirmation."""
    confirm = {"hits": 2, "of": 2, "needed_for": "block"}
    policy = make_policy({"labels": {"hate": {"confirm": confirm}}})
    assert actions(run(policy, numbered(0.95, 0.95))[0]) == "rb"


def test_a_single_shot_waits_for_nobody(make_policy: Make, run: Make) -> None:
    """At `single_shot_block` the first clip blocks."""
    policy = make_policy(
        {"labels": {"hate": {"confirm": {"hits": 2, "of": 3}, "single_shot_block": 0.97}}}
    )
    decisions, _ = run(policy, numbered(0.98))
    assert actions(decisions) == "b"
    assert decisions[0].reasons[0].code == "hate.single_shot"


def test_weak_scores_that_come_back(make_policy: Make, run: Make) -> None:
    """`repeat` asks for its action from the n-th hit, and until the hits have left the window."""
    repeat = {"hits": 3, "of": 4, "min_confidence": 0.4, "action": "restrict"}
    policy = make_policy({"labels": {"hate": {"repeat": repeat}}})
    decisions, _ = run(policy, numbered(0.45, 0.1, 0.45, 0.45, 0.1, 0.1))
    assert actions(decisions) == "aaaraa"
    assert decisions[3].reasons[0].code == "hate.repeated"


def test_a_decayed_peak_holds(make_policy: Make, run: Make) -> None:
    """What ends an action is the louder of the score and the peak, halved every half-life."""
    policy = make_policy({"labels": {"hate": {"half_life": "2s"}}})
    decisions, _ = run(policy, numbered(1.0, 0.0, 0.0))
    assert actions(decisions) == "bva"
    assert [one.labels[7].stream_score for one in decisions] == [1.0, 0.5, 0.0]


def test_a_cooldown_holds_and_ends(make_policy: Make, run: Make) -> None:
    """The action stays for the cooldown after the last clip that asked for it; then it is gone."""
    policy = make_policy({"labels": {"hate": {"cooldown": "5s"}}})
    decisions, _ = run(policy, numbered(0.75, 0.1, 0.55, 0.1, 0.1, 0.1))
    assert actions(decisions) == "rrrvva"
    assert decisions[1].labels[7].state == "cooldown"
    assert decisions[1].cooldown_until_ms == NOON_MS + 5_000
    assert decisions[0].cooldown_until_ms is None


def test_a_ladder_counts_violations(make_policy: Make, run: Make) -> None:
    """The n-th violation asks for more; one that goes on counts again after the cooldown."""
    escalation = {
        "counts": "review",
        "forget": "1m",
        "ladder": [{"violations": 2, "action": "restrict"}, {"violations": 3, "action": "block"}],
    }
    policy = make_policy({"labels": {"hate": {"escalation": escalation, "cooldown": "3s"}}})
    decisions, _ = run(policy, numbered(0.6, 0.6, 0.6, 0.1, 0.1, 0.1, 0.6))
    assert [one.labels[7].violations for one in decisions] == [1, 1, 2, 2, 2, 2, 3]
    assert actions(decisions) == "vvrraab"
    assert decisions[2].reasons[0].code == "hate.escalated"


def test_violations_are_forgotten(make_policy: Make, run: Make) -> None:
    """After `forget` without one, the count starts anew."""
    escalation = {
        "counts": "review",
        "forget": "5s",
        "ladder": [{"violations": 2, "action": "block"}],
    }
    policy = make_policy({"labels": {"hate": {"escalation": escalation}}})
    assert actions(run(policy, numbered(0.6, 0.1, 0.6))[0]) == "vab"
    assert actions(run(policy, numbered(0.6, 0.1, 0.1, 0.6))[0]) == "vaav"


def test_what_was_not_seen_ends_nothing(everything: Policy, run: Make) -> None:
    """A clip without scores holds the action, and the next whole one may end it."""
    decisions, _ = run(everything, [(0, 0.98), (10, None), (20, None), (30, 0.0)])
    assert actions(decisions) == "bbba"
    assert decisions[1].reasons[0].code in ("hate.held", "hate.cooldown")


@pytest.mark.parametrize(("frames", "action"), [(("ok",), "allow"), (("ok", "corrupt"), "block")])
def test_a_clip_that_was_seen_in_part_ends_nothing(
    frames: tuple[str, ...], action: str, *, make_policy: Make, run: Make,
    make_scores: Make, make_coverage: Make, make_context: Make,
) -> None:  # fmt: skip
    """A low score only ends an action where all that was sent was seen."""
    policy = make_policy({"labels": {"hate": {"hysteresis": 0.1}}})
    _, state = run(policy, numbered(0.95))
    decision, _ = decide(
        make_scores(), make_coverage(frames), make_context(1), state, policy, NOON_MS + STEP_MS
    )
    assert decision.action == action


def test_a_label_without_what_it_needs_ends_nothing(
    make_policy: Make, run: Make, make_scores: Make, make_coverage: Make, make_context: Make
) -> None:
    """Texts alone cannot end what a label that needs frames has begun."""
    needs = {"requires": {"all": ["frames"]}, "fail_safe": {"on_missing": "ignore"}}
    policy = make_policy({"labels": {"hate": {"hysteresis": 0.1, **needs}}})
    _, state = run(policy, numbered(0.95))
    for frames, action in (((), "block"), (("ok",), "allow")):
        decision, _ = decide(
            make_scores(), make_coverage(frames), make_context(1), state, policy, NOON_MS + STEP_MS
        )
        assert decision.action == action


def test_a_clip_that_comes_too_late_ends_nothing(make_policy: Make, run: Make) -> None:
    """An older clip neither is judged below what the stream is at, nor lowers that."""
    policy = make_policy({"labels": {"hate": {"hysteresis": 0.1}}})
    decisions, _ = run(policy, [(0, 0.1), (2, 0.75), (1, 0.1), (3, 0.65), (4, 0.1)])
    assert actions(decisions) == "arrra"


def test_a_stream_without_a_name_has_no_memory(
    everything: Policy, make_scores: Make, make_coverage: Make, make_context: Make
) -> None:
    """Without a stream id the score alone decides, and the state stays fresh."""
    context = make_context(stream_id="")
    for score, action in ((0.95, "block"), (0.1, "allow")):
        decision, state = decide(
            make_scores({"hate": score}), make_coverage(), context, FRESH, everything, NOON_MS
        )
        assert (decision.action, state) == (action, FRESH)


def test_a_flapping_score_does_not_flap(make_policy: Make, run: Make) -> None:
    """Around a threshold, hysteresis and a cooldown leave one change where there were nine."""
    scores = numbered(*[0.72, 0.68] * 5)
    plain = actions(run(make_policy(), scores)[0])
    calm = actions(
        run(make_policy({"labels": {"hate": {"hysteresis": 0.1, "cooldown": "5s"}}}), scores)[0]
    )
    assert sum(a != b for a, b in itertools.pairwise(plain)) == 9
    assert sum(a != b for a, b in itertools.pairwise(calm)) == 0


# --- The order of clips ---------------------------------------------------------------------------


@pytest.mark.parametrize("arrival", ARRIVALS)
def test_every_arrival(arrival: str, everything: Policy, run: Make) -> None:
    """Each row of the table: which clips are counted, and what the verdict says of them."""
    clips = [(seq, 0.1) for seq in range(1, 40) if seq != 37]
    _, state = run(everything, clips)
    seq = {"next": 40, "reordered": 37, "duplicate": 39, "late": 2}[arrival]
    assert place_clip(state, seq, NOON_MS + seq * STEP_MS).arrival == arrival
    (decision,), after = run(everything, [(seq, 0.45)], state)
    row = ARRIVALS[arrival]
    assert (after != state) == row.counts
    assert [flag for flag in decision.flags if flag.startswith("clip.")] == (
        [row.flag] if row.flag else []
    )
    bit = after.labels["hate"].repeating if row.counts else 0
    assert bit.bit_count() == (1 if row.counts else 0)


SCORES = st.floats(0, 1, width=32)


@given(scores=st.lists(SCORES, min_size=1, max_size=12), again=st.integers(0, 11))
@settings(max_examples=60)
def test_a_duplicate_gets_the_same_answer(
    scores: list[float], again: int, everything: Policy, run: Make
) -> None:
    """The newest clip sent again has the same action, labels and state; nothing counts twice."""
    first, state = run(everything, numbered(*scores))
    (second,), after = run(everything, [(len(scores) - 1, scores[-1])], state)
    assert after == state
    assert (second.action, second.label) == (first[-1].action, first[-1].label)
    assert [label.violations for label in second.labels] == [
        label.violations for label in first[-1].labels
    ]
    # An older one counts no more than once either.
    older = again % len(scores)
    _, untouched = run(everything, [(older, scores[older])], state)
    assert untouched == state


@given(scores=st.lists(SCORES, min_size=2, max_size=16), seed=st.integers(0, 2**16))
@settings(max_examples=60)
def test_hits_and_peaks_do_not_depend_on_the_order(
    scores: list[float], seed: int, everything: Policy, run: Make
) -> None:
    """Whatever order clips come in, the same clips are hits, and the peak is as loud."""
    clips = numbered(*scores)
    _, straight = run(everything, clips)
    shuffled = clips[:]
    random.Random(seed).shuffle(shuffled)
    _, mixed = run(everything, shuffled)
    assert (mixed.seq, mixed.ms, mixed.clips) == (straight.seq, straight.ms, straight.clips)
    one, other = (state.labels.get("hate", NO_MEMORY) for state in (straight, mixed))
    assert (one.confirming, one.repeating) == (other.confirming, other.repeating)


@given(
    scores=st.lists(SCORES, min_size=1, max_size=10),
    index=st.integers(0, 9),
    more=SCORES,
)
@settings(max_examples=150)
def test_raising_any_clip_of_a_stream_never_lowers_a_later_one(
    scores: list[float], index: int, more: float, everything: Policy, run: Make
) -> None:
    """Monotone over time: a louder clip makes no action weaker, its own or a later one."""
    index %= len(scores)
    louder = list(scores)
    louder[index] = max(scores[index], more)
    before, _ = run(everything, numbered(*scores))
    after, _ = run(everything, numbered(*louder))
    for quiet, loud in zip(before, after, strict=True):
        assert RANK[loud.action] >= RANK[quiet.action]


@given(
    scores=st.lists(SCORES, min_size=2, max_size=10),
    lost=st.sets(st.integers(0, 9), min_size=1),
)
@settings(max_examples=100)
def test_losing_clips_scores_never_allows_what_was_reviewed(
    scores: list[float], lost: set[int], everything: Policy, run: Make
) -> None:
    """A clip that could not be scored is reviewed at least, whatever the stream did before."""
    clips = [(seq, None if seq in lost else score) for seq, score in numbered(*scores)]
    decisions, _ = run(everything, clips)
    for (_, score), decision in zip(clips, decisions, strict=True):
        if score is None:
            assert decision.action != "allow"


@given(
    seqs=st.lists(st.integers(0, 60), min_size=1, max_size=60),
    times=st.lists(st.integers(-(10**6), 10**6), min_size=60, max_size=60),
)
@settings(max_examples=60)
def test_any_order_and_any_clock_is_taken(
    seqs: list[int], times: list[int], *, everything: Policy,
    make_scores: Make, make_coverage: Make, make_context: Make,
) -> None:  # fmt: skip
    """Numbers and clocks may jump: the state stays bounded, and its clips stay in order."""
    state = FRESH
    for seq, offset_ms in zip(seqs, times, strict=False):
        _, state = decide(
            make_scores({"hate": 0.6}), make_coverage(), make_context(seq), state, everything,
            NOON_MS + offset_ms,
        )  # fmt: skip
        numbers = [back for back, _ in state.clips]
        assert numbers == sorted(set(numbers))
        assert len(numbers) <= WINDOW
        assert all(age >= 0 for _, age in state.clips)
        assert all(memory.repeating < 1 << WINDOW for memory in state.labels.values())


def test_a_missing_clip_breaks_nothing(everything: Policy, run: Make) -> None:
    """Numbers that never came are simply not among the last M clips."""
    assert actions(run(everything, [(0, 0.8), (5, 0.8)], step_ms=1_000)[0]) == "vr"


def test_an_old_state_is_forgotten(everything: Policy, run: Make) -> None:
    """After `state.ttl` the stream starts anew, and the verdict says so."""
    _, state = run(everything, numbered(0.98))
    hour = 3_600_000 // STEP_MS
    (late,), after = run(everything, [(hour + 1, 0.1)], state)
    assert late.flags == ("state.expired",)
    assert (late.action, after.seq, len(after.clips)) == ("allow", hour + 1, 1)
    (just,), _ = run(everything, [(hour, 0.1)], state)
    assert just.flags == ()


def test_a_state_from_the_future_is_not_kept(everything: Policy, run: Make) -> None:
    """A newer clip from long before the state's time shows a broken clock: a fresh start."""
    _, state = run(everything, numbered(0.98))
    (decision,), after = run(everything, [(1, 0.1)], state, -3_700_000)
    assert decision.flags == ("state.expired",)
    assert after.ms < state.ms


def test_a_lost_state_is_said(everything: Policy, run: Make) -> None:
    """A stream that is under way and sends no state is flagged, and waits for no confirmation."""
    (first,), _ = run(everything, [(0, 0.95)])
    (later,), _ = run(everything, [(7, 0.95)])
    assert (first.action, first.flags) == ("review", ())
    assert (later.action, later.flags) == ("block", ("state.missing",))


# --- The fast path against a slow one -------------------------------------------------------------


@given(score=SCORES, seq=st.integers(0, 3))
def test_a_quiet_label_is_judged_as_any_other(
    score: float, seq: int, everything: Policy, run: Make
) -> None:
    """The short cut for scores that can do nothing gives what the six steps give."""
    rule = effective(everything).by_label["hate"]
    _, state = run(everything, numbered(*[0.0] * seq))
    moment = place_clip(state, seq, NOON_MS + seq * STEP_MS)
    fast = judge_label(rule, NO_MEMORY, score, moment, whole=True)
    slow = judge_label(rule, LabelMemory(), score, moment, whole=True)
    assert fast == slow


@pytest.fixture(scope="session")
def repeating(make_policy: Make) -> Policy:
    """A policy in which `hate` has an N-of-M rule and nothing else over time."""
    repeat = {"hits": 3, "of": 6, "within": "12s", "min_confidence": 0.5}
    return make_policy({"labels": {"hate": {"repeat": repeat}}})


def slow_hits(history: Sequence[tuple[int, int, float]], floor: float, of: int, since: int) -> int:
    """N of M, as a sentence says it: of the last M clips by number, those that are hits."""
    newest = sorted(history, reverse=True)[:of]
    return sum(score >= floor and ms >= since for _, ms, score in newest)


@given(
    clips=st.lists(
        st.tuples(st.integers(0, 40), SCORES), min_size=1, max_size=40, unique_by=lambda c: c[0]
    )
)
@settings(max_examples=80)
def test_n_of_m_as_a_sentence_says_it(
    clips: list[tuple[int, float]], repeating: Policy, run: Make
) -> None:
    """The bits of the token count what a plain list of all clips counts."""
    state, history = FRESH, []
    for seq, score in clips:
        ms = NOON_MS + seq * STEP_MS
        counted = place_clip(state, seq, ms).slot is not None
        (decision,), state = run(repeating, [(seq, score)], state)
        if counted:
            history.append((seq, ms, score))
        newest_ms = max(ms for _, ms, _ in history)
        expected = slow_hits(history, 0.5, 6, newest_ms - 12_000)
        assert decision.labels[7].hits == expected

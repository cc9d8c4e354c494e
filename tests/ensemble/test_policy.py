from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.verdict import Coverage, ModalityCoverage, Thresholds
from livewarden_client.wire import ACTIONS, LABELS, MODALITIES, Action
from livewarden_ensemble.context import Context
from livewarden_ensemble.coverage import (
    SEEN_FRAME,
    SEEN_TEXT,
    WHOLE_FRAME,
    WHOLE_TEXT,
    FrameState,
    TextState,
)
from livewarden_ensemble.fuse import ClipScores
from livewarden_ensemble.policy import (
    FRAME_GAPS,
    SEVERITY,
    TEXT_GAPS,
    Decision,
    FailSafe,
    Gap,
    Policy,
    decide,
    rank_score,
)

GAPS: tuple[Gap, ...] = ("missing", "damaged", "late", "unscored")
HARSH: tuple[Action, ...] = ("review", "restrict", "block")
STEPS = Thresholds(review=0.5, restrict=0.75, block=0.875)
WHOLE = ModalityCoverage(sent=2, decoded=2, scored=2)
FULL = Coverage(frames=WHOLE, texts=WHOLE)
CLEAN = np.zeros(len(LABELS), np.float32)


def score(joint: np.ndarray = CLEAN, present: tuple[bool, ...] = (True,) * 5) -> ClipScores:
    joint = np.asarray(joint, np.float32)
    return ClipScores(
        joint=joint,
        modality=np.tile(joint / 2, (len(MODALITIES), 1)),
        frames=joint[None],
        texts=joint[None],
        present=present,
    )


def one_hot(label: str, value: float) -> np.ndarray:
    joint = CLEAN.copy()
    joint[LABELS.index(label)] = value
    return joint


def make_policy(
    frames: Mapping[Gap, Action] | None = None,
    texts: Mapping[Gap, Action] | None = None,
    nothing_scored: Action = "review",
) -> Policy:
    mild: dict[Gap, Action] = {
        "missing": "allow",
        "damaged": "review",
        "late": "review",
        "unscored": "review",
    }
    return Policy(
        id="test",
        version="1",
        digest="sha256:0",
        thresholds=dict.fromkeys(LABELS, STEPS),
        fail_safe=FailSafe({**mild, **(frames or {})}, {**mild, **(texts or {})}, nothing_scored),
    )


def judge(
    scores: ClipScores | None = None,
    coverage: Coverage = FULL,
    policy: Policy | None = None,
    context: Context | None = None,
) -> Decision:
    return decide(scores, coverage, context or Context(), policy or make_policy())


def lose(state: str, *, scored: int = 1) -> ModalityCoverage:
    """Two items of which the second is in `state`."""
    return ModalityCoverage(sent=2, decoded=2, scored=scored, states={state: (1,)})


# --- The tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "gaps", "whole"),
    [(FrameState, FRAME_GAPS, WHOLE_FRAME), (TextState, TEXT_GAPS, WHOLE_TEXT)],
    ids=["frames", "texts"],
)
def test_every_state_is_either_whole_or_a_gap(
    states: type[FrameState | TextState], gaps: Mapping[str, Gap], whole: frozenset[str]
) -> None:
    """No state of coverage.py is forgotten, and none is both."""
    assert set(states) == set(gaps) | set(whole)
    assert not set(gaps) & set(whole)
    assert set(gaps.values()) == set(GAPS) - {"missing"}


def test_only_what_was_seen_to_its_end_is_whole() -> None:
    """OK is the one state that is both seen and whole; a blank text is whole and has no windows."""
    assert WHOLE_FRAME.intersection(SEEN_FRAME) == {FrameState.OK}
    assert WHOLE_TEXT.intersection(SEEN_TEXT) == {TextState.OK}
    assert WHOLE_TEXT.difference(SEEN_TEXT) == {TextState.EMPTY}


def test_severity_follows_the_contract() -> None:
    """The order of actions is wire.ACTIONS."""
    assert sorted(SEVERITY, key=SEVERITY.__getitem__) == list(ACTIONS)
    assert ACTIONS == ("allow", "review", "restrict", "block")


# --- Scores ---------------------------------------------------------------------------------------

EDGES = [
    (0.0, "allow"),
    (math.nextafter(STEPS.review, 0), "allow"),
    (STEPS.review, "review"),
    (math.nextafter(STEPS.restrict, 0), "review"),
    (STEPS.restrict, "restrict"),
    (math.nextafter(STEPS.block, 0), "restrict"),
    (STEPS.block, "block"),
    (1.0, "block"),
    (math.nan, "review"),
    (math.inf, "block"),
    (-math.inf, "allow"),
]


@pytest.mark.parametrize(("value", "action"), EDGES)
def test_a_score_asks_for_the_strongest_action_it_reaches(value: float, action: Action) -> None:
    """A threshold is reached at its own value, and what is no number is reviewed."""
    assert rank_score(value, STEPS) == action


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    ("value", "action"), [(0.25, "allow"), (0.5, "review"), (0.75, "restrict"), (0.875, "block")]
)
def test_one_label_decides_for_the_clip(label: str, value: float, action: Action) -> None:
    """Each label at each threshold gives the clip's action, its reason and its name."""
    decision = judge(score(one_hot(label, value)))
    assert decision.action == action
    assert {judged.id: judged.action for judged in decision.labels} == {
        name: action if name == label else "allow" for name in LABELS
    }
    if action == "allow":
        assert decision.label is None
        assert decision.reasons == ()
    else:
        [reason] = decision.reasons
        assert (decision.label, reason.label, reason.action) == (label, label, action)
        assert reason.code == f"{label}.score>={action}"
        assert f"{value:.2f}" in reason.message


def test_every_label_has_its_own_thresholds() -> None:
    """A score is held against the thresholds of its own label alone."""
    policy = dataclasses.replace(
        make_policy(),
        thresholds={
            label: Thresholds(0.1, 0.2, 0.3) if label == "hate" else Thresholds(0.9, 0.95, 1)
            for label in LABELS
        },
    )
    decision = judge(score(np.full(len(LABELS), 0.8)), policy=policy)
    assert decision.label == "hate"
    assert {judged.id for judged in decision.labels if judged.action != "allow"} == {"hate"}
    assert {judged.thresholds.review for judged in decision.labels} == {0.1, 0.9}


def test_the_strongest_action_comes_first_and_then_the_highest_score() -> None:
    """Reasons are in the order in which a person should read them, and the first one decides."""
    joint = CLEAN.copy()
    joint[[0, 3, 5, 7]] = 0.6, 0.9, 0.95, 0.8
    coverage = dataclasses.replace(FULL, frames=lose("corrupt"))
    policy = make_policy(frames={"damaged": "restrict"})
    decision = judge(score(joint), coverage, policy)
    assert [(reason.label, reason.action) for reason in decision.reasons] == [
        (LABELS[5], "block"),
        (LABELS[3], "block"),
        (LABELS[7], "restrict"),
        (None, "restrict"),
        (LABELS[0], "review"),
    ]
    assert decision.label == LABELS[5]


def test_only_modalities_that_were_there_have_scores() -> None:
    """A modality that was not sent is left out: a 0 would read as harmless."""
    decision = judge(score(one_hot("hate", 0.5), present=(True, False, True, False, False)))
    assert all(set(judged.per_modality) == {"visual", "chat"} for judged in decision.labels)
    assert decision.labels[LABELS.index("hate")].per_modality["chat"] == 0.25


def test_labels_without_a_signal_are_marked() -> None:
    """A label that no model can speak to says so next to its score."""
    coverage = dataclasses.replace(FULL, unsupported_labels=("gambling",))
    decision = judge(score(), coverage)
    assert [judged.id for judged in decision.labels if not judged.supported] == ["gambling"]


def test_the_state_comes_back_unread() -> None:
    """The stream's token goes through as it came."""
    assert judge(score(), context=Context(state="v1.x")).state == "v1.x"
    assert judge(score()).state is None


# --- Coverage -------------------------------------------------------------------------------------


def test_a_clean_clip_that_was_fully_seen_is_allowed() -> None:
    """The one way to `allow`."""
    decision = judge(score())
    assert (decision.action, decision.label, decision.reasons) == ("allow", None, ())


@pytest.mark.parametrize("action", HARSH)
@pytest.mark.parametrize(
    ("modality", "state", "gap"),
    [("frames", state, gap) for state, gap in FRAME_GAPS.items()]
    + [("texts", state, gap) for state, gap in TEXT_GAPS.items()],
)
def test_each_gap_asks_for_what_its_rule_says(
    modality: str, state: str, gap: Gap, action: Action
) -> None:
    """Every state of every modality, under every action, alone decides on a clean clip."""
    coverage = dataclasses.replace(FULL, degraded=True, **{modality: lose(state)})
    decision = judge(score(), coverage, make_policy(**{modality: {gap: action}}))
    [reason] = decision.reasons
    assert (decision.action, decision.label) == (action, None)
    assert (reason.code, reason.action) == (f"coverage.{modality}.{gap}", action)
    assert f"1 {state}" in reason.message


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("modality", ["frames", "texts"])
def test_what_was_never_sent_is_what_its_rule_says(modality: str, action: Action) -> None:
    """Only a modality that was not sent may be allowed to be missing."""
    coverage = dataclasses.replace(FULL, **{modality: ModalityCoverage()})
    decision = judge(score(), coverage, make_policy(**{modality: {"missing": action}}))
    assert decision.action == action
    assert [reason.code for reason in decision.reasons] == (
        [] if action == "allow" else [f"coverage.{modality}.missing"]
    )


def test_a_rule_speaks_for_its_own_modality() -> None:
    """What frames ask for is not asked of texts, nor the other way round."""
    policy = make_policy(frames={"damaged": "block"}, texts={"damaged": "restrict"})
    broken = lose("too_large")
    assert judge(score(), dataclasses.replace(FULL, frames=broken), policy).action == "block"
    assert judge(score(), dataclasses.replace(FULL, texts=broken), policy).action == "restrict"


def test_states_of_one_gap_share_a_reason() -> None:
    """A reason counts the items of each state that it stands for."""
    frames = ModalityCoverage(4, 1, 1, {"corrupt": (0, 2), "empty": (3,), "late": ()})
    decision = judge(score(), dataclasses.replace(FULL, frames=frames, degraded=True))
    [reason] = decision.reasons
    assert "2 corrupt, 1 empty" in reason.message


def test_a_blank_text_is_no_gap() -> None:
    """An empty title is an ordinary thing to send."""
    coverage = dataclasses.replace(FULL, texts=lose("empty"))
    assert judge(score(), coverage).action == "allow"


@pytest.mark.parametrize("modality", ["frames", "texts"])
def test_a_state_that_nobody_knows_counts_as_damaged(modality: str) -> None:
    """A state of a newer server cannot slip through the tables."""
    coverage = dataclasses.replace(FULL, **{modality: lose("of_the_future")})
    policy = make_policy(**{modality: {"damaged": "restrict"}})
    assert judge(score(), coverage, policy).action == "restrict"


@pytest.mark.parametrize("action", HARSH)
@pytest.mark.parametrize(
    ("scores", "frames", "texts"),
    [
        (None, ModalityCoverage(), ModalityCoverage()),
        (None, WHOLE, WHOLE),
        (score(), ModalityCoverage(), ModalityCoverage()),
        (score(), ModalityCoverage(), ModalityCoverage(1, 0, 0, {"empty": (0,)})),
    ],
    ids=["nothing sent", "no scores", "scores of nothing", "a blank text alone"],
)
def test_a_clip_of_which_nothing_was_scored_has_its_own_rule(
    scores: ClipScores | None, frames: ModalityCoverage, texts: ModalityCoverage, action: Action
) -> None:
    """`nothing_scored` acts even where every other rule would let the clip pass."""
    decision = judge(scores, Coverage(frames, texts), make_policy(nothing_scored=action))
    assert decision.action == action
    assert decision.reasons[0].code == "coverage.nothing_scored"
    assert decision.label is None


def test_without_scores_no_label_has_one() -> None:
    """A verdict never shows a 0 for a label that was not scored."""
    assert judge(None).labels == ()


@pytest.mark.parametrize("action", HARSH)
def test_a_failed_stage_is_at_least_reviewed(action: Action) -> None:
    """A stage that gave no answer has its reason, beside what its unscored items ask for."""
    coverage = Coverage(
        lose("unscored"), WHOLE, failed={"nsfw_encoder": "model_error"}, degraded=True
    )
    decision = judge(score(), coverage, make_policy(frames={"unscored": action}))
    assert decision.action == action
    assert {reason.code for reason in decision.reasons} == {
        "coverage.nsfw_encoder.model_error",
        "coverage.frames.unscored",
    }
    alone = judge(score(), dataclasses.replace(FULL, failed={"nsfw_encoder": "model_error"}))
    assert alone.action == "review"


def test_degraded_coverage_without_a_rule_is_reviewed() -> None:
    """Even a policy made by hand that allows a gap cannot allow degraded coverage."""
    policy = make_policy(frames=dict.fromkeys(GAPS, "allow"), texts=dict.fromkeys(GAPS, "allow"))
    coverage = dataclasses.replace(FULL, frames=lose("corrupt"), degraded=True)
    decision = judge(score(), coverage, policy)
    assert decision.action == "review"
    assert [reason.code for reason in decision.reasons] == ["coverage.degraded"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("value", [0.0, 0.5, 0.75, 0.875])
def test_the_clip_gets_the_strongest_of_label_and_coverage(value: float, action: Action) -> None:
    """Neither labels nor coverage can soften the other: every pair gives the stronger one."""
    coverage = dataclasses.replace(FULL, texts=ModalityCoverage())
    policy = make_policy(texts={"missing": action})
    decision = judge(score(one_hot("hate", value)), coverage, policy)
    assert decision.action == max(rank_score(value, STEPS), action, key=SEVERITY.__getitem__)


# --- Properties -----------------------------------------------------------------------------------

unit = st.floats(0, 1, width=32)
joints = st.lists(unit, min_size=len(LABELS), max_size=len(LABELS)).map(np.array)


def modality(states: type[FrameState | TextState]) -> st.SearchStrategy[ModalityCoverage]:
    """Any coverage of one modality that its states can give."""
    seen = SEEN_FRAME if states is FrameState else SEEN_TEXT
    return st.lists(st.sampled_from(list(states)), max_size=6).map(
        lambda items: ModalityCoverage(
            sent=len(items),
            decoded=sum(state in seen for state in items),
            scored=sum(state in seen for state in items),
            states={
                state.value: tuple(i for i, other in enumerate(items) if other is state)
                for state in {*items} - {states("ok")}
            },
        )
    )


@st.composite
def coverages(draw: st.DrawFn) -> Coverage:
    frames, texts = draw(modality(FrameState)), draw(modality(TextState))
    failed = draw(
        st.dictionaries(
            st.sampled_from(["vision_encoder", "text_encoder", "fusion_classifier"]),
            st.sampled_from(["model_error", "crossed_reply", "not_finite"]),
        )
    )
    degraded = bool(failed) or bool(set(frames.states)) or bool(set(texts.states) - {"empty"})
    return Coverage(frames, texts, failed=failed, degraded=degraded)


rules = st.fixed_dictionaries({gap: st.sampled_from(ACTIONS) for gap in GAPS})
policies = st.builds(make_policy, rules, rules, st.sampled_from(HARSH))


@given(st.none() | joints.map(score), coverages(), policies)
def test_degraded_coverage_is_never_allowed(
    scores: ClipScores | None, coverage: Coverage, policy: Policy
) -> None:
    """Whatever the scores and whatever the policy, unseen content does not pass."""
    decision = judge(scores, coverage, policy)
    seen = coverage.frames.scored + coverage.texts.scored
    if coverage.degraded or scores is None or seen == 0:
        assert decision.action != "allow"


@given(joints, coverages(), policies, st.integers(0, len(LABELS) - 1), unit)
def test_a_higher_score_never_gives_a_milder_action(
    joint: np.ndarray, coverage: Coverage, policy: Policy, index: int, value: float
) -> None:
    """Raising any one score leaves the action or makes it stronger."""
    raised = joint.copy()
    raised[index] = max(joint[index], value)
    before = judge(score(joint), coverage, policy)
    after = judge(score(raised), coverage, policy)
    assert SEVERITY[after.action] >= SEVERITY[before.action]


@given(joints, coverages(), policies)
def test_losing_coverage_never_gives_a_milder_action(
    joint: np.ndarray, coverage: Coverage, policy: Policy
) -> None:
    """With the same scores, a gap can only add reasons."""
    full = judge(score(joint), FULL, policy)
    less = judge(score(joint), coverage, policy)
    assert SEVERITY[less.action] >= SEVERITY[full.action]


@given(joints, st.sets(st.integers(0, len(LABELS) - 1), min_size=1))
def test_nan_never_passes(joint: np.ndarray, places: set[int]) -> None:
    """A score that is no number is reviewed, whatever stands beside it; a block still blocks."""
    for place in places:
        joint[place] = math.nan
    decision = judge(score(joint))
    assert SEVERITY[decision.action] >= SEVERITY["review"]
    rest = [value for value in joint if not math.isnan(value)]
    if rest and max(rest) >= STEPS.block:
        assert decision.action == "block"
    assert not any("scored nan" in reason.message for reason in decision.reasons)


@given(st.none() | joints.map(score), coverages(), policies)
def test_the_action_is_that_of_the_strongest_reason(
    scores: ClipScores | None, coverage: Coverage, policy: Policy
) -> None:
    """Every action but `allow` is explained, and reasons come strongest first."""
    decision = judge(scores, coverage, policy)
    ranks = [SEVERITY[reason.action] for reason in decision.reasons]
    assert ranks == sorted(ranks, reverse=True)
    assert SEVERITY[decision.action] == max(ranks, default=0)
    assert all(ranks)
    assert len({reason.code for reason in decision.reasons}) == len(ranks)


@given(joints, coverages(), policies)
def test_the_same_input_gives_the_same_decision(
    joint: np.ndarray, coverage: Coverage, policy: Policy
) -> None:
    """A pure function: nothing is kept from one call to the next."""
    first, second = (judge(score(joint), coverage, policy) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("review", "restrict", "block"), list(itertools.combinations([0.0, 0.25, 0.5, 0.75, 1.0], 3))
)
def test_every_triple_of_thresholds_splits_the_range_in_order(
    review: float, restrict: float, block: float
) -> None:
    """Along rising scores the action never falls, and changes at the thresholds alone."""
    thresholds = Thresholds(review, restrict, block)
    values = [n / 64 for n in range(65)]
    ranks = [SEVERITY[rank_score(value, thresholds)] for value in values]
    assert ranks == sorted(ranks)
    assert ranks == [sum(value >= step for step in (review, restrict, block)) for value in values]

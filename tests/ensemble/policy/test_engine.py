from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.verdict import Coverage, ModalityCoverage
from livewarden_client.wire import ACTIONS, LABELS
from livewarden_ensemble.context import Context, TextInfo
from livewarden_ensemble.coverage import WHOLE_FRAME, WHOLE_TEXT, FrameState, TextState
from livewarden_ensemble.policy import HashHit, Hits, ListHit, Policy, decide, effective
from livewarden_ensemble.policy.built_in import GAPS
from livewarden_ensemble.policy.engine import CEILINGS
from livewarden_ensemble.policy.gap import FRAME_GAPS, GAP_WORDS, TEXT_GAPS
from livewarden_ensemble.policy.resolve import MODE_ACTIONS
from livewarden_ensemble.policy.rule import RANK, ListMode, Mode
from livewarden_ensemble.stream_state import FRESH, StreamState

NOON_MS = 1_700_000_000_000
SCORES = st.floats(0, 1, width=32)
Make = Callable[..., Any]


@pytest.fixture(scope="session")
def judge(make_scores: Make, make_coverage: Make, make_context: Make) -> Callable[..., Any]:
    """Decide on one clip; whatever is not given is whole, harmless and without a past."""

    def judge(
        policy: Policy,
        scores: Mapping[str, float] | None = None,
        *,
        coverage: Coverage | None = None,
        context: Any = None,
        state: StreamState = FRESH,
        now_ms: int = NOON_MS,
        hits: Hits | None = None,
        blind: bool = False,
    ) -> Any:
        given = None if blind else make_scores(scores)
        clip = make_context() if context is None else context
        seen = coverage or make_coverage()
        return decide(given, seen, clip, state, policy, now_ms, hits or Hits())[0]

    return judge


# --- Scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "action"),
    [
        (0.0, "allow"),
        (0.4375, "allow"),
        (0.5, "review"),
        (0.6875, "review"),
        (0.75, "restrict"),
        (0.8125, "restrict"),
        (0.875, "block"),
        (1.0, "block"),
    ],
)
def test_a_label_asks_for_the_strongest_action_it_reaches(
    score: float, action: str, make_policy: Make, judge: Make
) -> None:
    """Thresholds are inclusive, and the clip's action is its strongest label's."""
    policy = make_policy({"defaults": {"thresholds": {"restrict": 0.75, "block": 0.875}}})
    decision = judge(policy, {"hate": score, "weapons": 0.125})
    assert decision.action == action
    assert [label.action for label in decision.labels if label.id == "hate"] == [action]
    assert decision.label == (None if action == "allow" else "hate")
    assert [reason.code for reason in decision.reasons] == (
        [] if action == "allow" else [f"hate.score>={action}"]
    )


def test_reasons_come_strongest_first_and_the_loudest_of_equals(
    make_policy: Make, judge: Make
) -> None:
    """The first reason decides; of equal ones the label with the highest score leads."""
    scores = {"hate": 0.6, "weapons": 0.65, "violence": 0.8}
    decision = judge(make_policy(), scores)
    assert [reason.label for reason in decision.reasons] == ["violence", "weapons", "hate"]
    assert (decision.action, decision.label) == ("restrict", "violence")


def test_a_score_that_is_no_number_is_reviewed(make_policy: Make, judge: Make) -> None:
    """NaN never reads as harmless."""
    decision = judge(make_policy(), {"hate": float("nan")})
    assert decision.action == "review"
    assert decision.reasons[0].code == "hate.score.invalid"


@pytest.mark.parametrize("label", LABELS)
def test_no_label_is_allowed_without_its_score(label: str, judge: Make, policy: Policy) -> None:
    """Under the policy that ships, NaN for any one label, or an unscored clip, is no `allow`."""
    assert judge(policy, {label: float("nan")}).action != "allow"
    assert judge(policy, {label: 0.0}).action == "allow"


@pytest.mark.parametrize("part", ["frames", "texts"])
def test_what_was_not_scored_is_reviewed(
    part: str, judge: Make, make_coverage: Make, policy: Policy
) -> None:
    """A modality that an encoder did not answer for, and a clip without any score, are reviewed."""
    unscored = make_coverage(**{part: ("unscored",)})
    assert unscored.degraded
    assert judge(policy, coverage=unscored).action != "allow"
    assert judge(policy, coverage=unscored, blind=True).action != "allow"
    assert judge(policy, blind=True).action != "allow"


def test_a_score_that_is_no_number_ends_nothing(
    make_policy: Make, make_scores: Make, make_coverage: Make, make_context: Make
) -> None:
    """A NaN lets no action of the stream fall, and leaves no trace in its memory."""
    policy = make_policy({"defaults": {"hysteresis": 0.1}})
    state, actions = FRESH, []
    for seq, score in enumerate([0.8, float("nan"), 0.8, float("nan"), 0.0]):
        decision, state = decide(
            make_scores({"hate": score}),
            make_coverage(),
            make_context(seq),
            state,
            policy,
            NOON_MS + 1000 * seq,
        )
        actions.append(decision.action)
        assert all(memory.peak == memory.peak for memory in state.labels.values())
    assert actions == ["restrict"] * 4 + ["allow"]


@given(
    scores=st.lists(SCORES, min_size=14, max_size=14),
    index=st.integers(0, 13),
    more=SCORES,
    kids=st.booleans(),
)
def test_raising_a_score_never_lowers_the_action(
    scores: list[float], index: int, more: float, *, kids: bool, policy: Policy, make_context: Make,
    make_coverage: Make, make_scores: Make,
) -> None:  # fmt: skip
    """Monotone in every score, under the policy that ships."""
    context = make_context(surface="kids" if kids else "")
    louder = list(scores)
    louder[index] = max(scores[index], more)

    def rank(given: list[float]) -> int:
        joint = make_scores(dict(zip(LABELS, given, strict=True)))
        decision, _ = decide(joint, make_coverage(), context, FRESH, policy, NOON_MS)
        return RANK[decision.action]

    assert rank(louder) >= rank(scores)


# --- Ceilings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "cap", "score"),
    list(itertools.product(CEILINGS, ("review", "restrict", "block"), (0.1, 0.6, 0.8, 0.95))),
)
def test_every_mode_and_cap(
    mode: Mode, cap: str, score: float, *, make_policy: Make, judge: Make
) -> None:
    """A label asks for no more than its mode and cap allow; what it asked for stays visible."""
    policy = make_policy({"labels": {"hate": {"mode": mode, "max_automatic_action": cap}}})
    decision = judge(policy, {"hate": score})
    asked = {0.1: "allow", 0.6: "review", 0.8: "restrict", 0.95: "block"}[score]
    expected = min(asked, CEILINGS[mode], cap, key=RANK.__getitem__)
    (verdict,) = (label for label in decision.labels if label.id == "hate")
    assert decision.action == verdict.action == expected
    assert verdict.asked == ("allow" if mode == "off" else asked)
    if mode == "shadow" and asked != "allow":
        assert f"hate.shadow>={asked}" in decision.flags
    assert ("capped.hate" in decision.review) == (expected not in (asked, "allow"))


def test_a_mode_ends_at_its_day(make_policy: Make, judge: Make) -> None:
    """`mode_until` is exclusive, by the clip's own time; then the label is enforced."""
    policy = make_policy({"labels": {"hate": {"mode": "off", "mode_until": "2023-11-14"}}})
    day_ms = 1_699_920_000_000
    for now_ms, action in ((day_ms - 1, "allow"), (day_ms, "block")):
        assert judge(policy, {"hate": 1.0}, now_ms=now_ms).action == action


def test_tables_know_every_word() -> None:
    """Modes, list modes and gaps have their rows, and each is an action that exists."""
    assert set(CEILINGS) == set(get_args(Mode))
    assert set(MODE_ACTIONS) == set(get_args(ListMode))
    assert set(GAP_WORDS) == set(GAPS)
    assert {*CEILINGS.values(), *MODE_ACTIONS.values()} <= set(ACTIONS)


def test_always_review_sends_what_the_label_asks_for_to_people(
    make_policy: Make, judge: Make
) -> None:
    """The action stays, and a person looks at it; harmless clips are left alone."""
    policy = make_policy({"labels": {"hate": {"always_review": True}}})
    assert judge(policy, {"hate": 1.0}).review == ("always_review.hate",)
    assert judge(policy, {"hate": 0.1}).review == ()
    assert judge(policy, {"weapons": 0.6}).review == ("action.review",)


def test_restrict_says_how(make_policy: Make, judge: Make) -> None:
    """Only `restrict` has visibility actions: those of the labels that ask for it."""
    policy = make_policy(
        {
            "labels": {
                "hate": {"visibility": ["mute", "demote"]},
                "weapons": {"visibility": ["demote", "blur"]},
            }
        }
    )
    both = judge(policy, {"hate": 0.8, "weapons": 0.75, "violence": 0.6})
    assert both.visibility == ("mute", "demote", "blur")
    assert judge(policy, {"hate": 1.0, "weapons": 0.75}).visibility == ()


# --- Coverage -------------------------------------------------------------------------------------


def test_every_state_has_its_gap() -> None:
    """A state is fully seen, or stands in the table; there is no third way."""
    assert {*FRAME_GAPS, *WHOLE_FRAME} == set(FrameState)
    assert {*TEXT_GAPS, *WHOLE_TEXT} == set(TextState)


@pytest.mark.parametrize(
    ("kind", "state", "asked"),
    [
        (kind, state, asked)
        for kind, state in (
            *(("frames", state) for state in FRAME_GAPS),
            *(("chat", state) for state in TEXT_GAPS),
        )
        for asked in (None, "review", "restrict", "block")
    ],
)
def test_every_gap_asks_for_what_the_policy_says(
    kind: str, state: str, asked: str | None, *, make_policy: Make, make_coverage: Make, judge: Make
) -> None:
    """Each state of a frame or a text leads to its own key, and to review where none is given."""
    gap = (FRAME_GAPS if kind == "frames" else TEXT_GAPS)[state]
    change = {} if asked is None else {"fail_safe": {kind: {f"on_{gap}": asked}}}
    states = {"frames": ["ok", state]} if kind == "frames" else {"texts": ["ok", state]}
    context_texts = len(states.get("texts", "x"))
    decision = judge(
        make_policy(change),
        coverage=make_coverage(**states),
        context=_context(texts=context_texts),
    )
    assert decision.action == (asked or "review")
    assert f"coverage.{kind}.{gap}" in [reason.code for reason in decision.reasons]


def _context(texts: int) -> Any:
    return Context(stream_id="s", texts=(TextInfo("chat"),) * texts)


@pytest.mark.parametrize("relief", ["ignore", "allow", "review", "restrict", "block"])
@pytest.mark.parametrize("required", [False, True])
def test_what_was_never_sent(
    relief: str, make_policy: Make, make_coverage: Make, judge: Make, *, required: bool
) -> None:
    """Only what was never sent may be allowed, and not if it is required; `allow` is a remark."""
    if required:
        # In the base the file's own check would refuse some of these; a layer can still say them.
        policy = make_policy(
            {
                "fail_safe": {"required": ["frames"], "frames": {"on_missing": "review"}},
                "surfaces": {"x": {"fail_safe": {"frames": {"on_missing": relief}}}},
            }
        )
    else:
        needed = ["frames"] if required else []
        policy = make_policy({"fail_safe": {"required": needed, "frames": {"on_missing": relief}}})
    context = Context(stream_id="s", surface="x", texts=(TextInfo("chat"),))
    decision = judge(policy, coverage=make_coverage(frames=()), context=context)
    weakest = "review" if required else "allow"
    expected = weakest if relief in ("ignore", "allow") else relief
    assert decision.action == expected
    remarked = [r.code for r in decision.reasons] == ["coverage.frames.missing"]
    assert remarked == (relief != "ignore" or required)


@pytest.mark.parametrize("gap_kind", ["frames", "chat"])
@given(
    scores=st.lists(SCORES, min_size=14, max_size=14),
    states=st.lists(st.sampled_from([*FrameState]), min_size=1, max_size=4),
    loss=st.floats(0, 1),
)
def test_losing_a_modality_never_allows(
    gap_kind: str, scores: list[float], states: list[str], loss: float, *, policy: Policy,
    make_scores: Make, make_coverage: Make, make_context: Make,
) -> None:  # fmt: skip
    """A clip that is not fully seen is reviewed at least, however low its scores fall."""
    table = FRAME_GAPS if gap_kind == "frames" else TEXT_GAPS
    lost = [state for state in states if state in table] or [next(iter(table))]
    coverage = (
        make_coverage(frames=("ok", *lost))
        if gap_kind == "frames"
        else make_coverage(texts=("ok", *lost))
    )
    context = make_context(texts=1 + len(lost))
    quiet = {label: score * loss for label, score in zip(LABELS, scores, strict=True)}
    decision, _ = decide(make_scores(quiet), coverage, context, FRESH, policy, NOON_MS)
    assert RANK[decision.action] >= RANK["review"]
    blind, _ = decide(None, coverage, context, FRESH, policy, NOON_MS)
    assert RANK[blind.action] >= RANK["review"]
    assert blind.labels == ()


def test_degraded_coverage_never_allows_whatever_is_in_it(make_policy: Make, judge: Make) -> None:
    """Coverage that says it is degraded, and no more, is reviewed: no table has the last word."""
    seen = ModalityCoverage(1, 1, 1)
    decision = judge(
        make_policy(), coverage=Coverage(seen, seen, missing=("title", "asr", "ocr"), degraded=True)
    )
    assert decision.action == "review"
    assert decision.reasons[-1].code == "coverage.degraded"


def test_a_failed_stage_is_reviewed(make_policy: Make, make_coverage: Make, judge: Make) -> None:
    """What a stage lost is named with its cause."""
    coverage = make_coverage(failed={"text_encoder": "timeout"}, degraded=True)
    decision = judge(make_policy(), coverage=coverage)
    assert decision.reasons[0].code == "coverage.text_encoder.timeout"


@pytest.mark.parametrize("asked", ["review", "restrict", "block"])
def test_nothing_scored(asked: str, make_policy: Make, make_coverage: Make, judge: Make) -> None:
    """A clip of which nothing was scored has its own rule, and no labels."""
    policy = make_policy({"fail_safe": {"nothing_scored": asked}})
    decision = judge(policy, coverage=make_coverage((), ()), blind=True)
    assert decision.action == asked
    assert decision.labels == ()
    assert decision.visibility == (("demote",) if asked == "restrict" else ())


def test_too_few_scored_frames(make_policy: Make, make_coverage: Make, judge: Make) -> None:
    """Frames were sent, and fewer were scored than the policy asks for."""
    policy = make_policy({"fail_safe": {"min_scored_frames": 3}})
    assert judge(policy, coverage=make_coverage(frames=["ok"] * 2)).action == "review"
    assert judge(policy, coverage=make_coverage(frames=["ok"] * 3)).action == "allow"


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("group", ["all", "any"])
def test_what_a_label_needs(gap: str, group: str, make_policy: Make, judge: Make) -> None:
    """A label without what it needs asks for what its own fail-safe says, by the gap."""
    policy = make_policy(
        {
            "labels": {
                "hate": {
                    "requires": {group: ["frames", "asr"] if group == "all" else ["frames"]},
                    "fail_safe": {f"on_{gap}": "restrict"},
                }
            }
        }
    )
    state = {"corrupt": "corrupt", "timeout": "late", "model_error": "unscored"}.get(
        gap, "animated"
    )
    frames = ModalityCoverage() if gap == "missing" else ModalityCoverage(1, 0, 0, {state: (0,)})
    missing = ("visual", "title", "ocr") if gap == "missing" else ("title", "ocr")
    infos = (TextInfo("asr"),)
    coverage = Coverage(frames, ModalityCoverage(1, 1, 1), missing, degraded=gap != "missing")
    decision = judge(policy, coverage=coverage, context=Context(stream_id="s", texts=infos))
    assert decision.action == "restrict"
    assert decision.reasons[0].code == f"hate.needs.frames.{gap}"
    assert decision.label == "hate"


def test_any_of_several_modalities_is_enough(
    make_policy: Make, make_coverage: Make, judge: Make
) -> None:
    """`any` is satisfied by one of them that was fully seen."""
    policy = make_policy({"labels": {"hate": {"requires": {"any": ["chat", "asr"]}}}})
    assert judge(policy).action == "allow"
    silent = judge(policy, coverage=make_coverage(texts=()), context=_context(0))
    assert silent.reasons[0].code.startswith("hate.needs.")


# --- State and context ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["malformed", "too_large", "version", "unknown_key", "foreign", "forged"]
)
@pytest.mark.parametrize("asked", ["review", "restrict", "block"])
def test_a_refused_state_is_said_and_never_lowers(
    fault: Any, asked: str, make_policy: Make, judge: Make
) -> None:
    """A state that cannot be trusted asks for what the policy says; scores ask for theirs."""
    policy = make_policy({"state": {"on_refused": asked}})
    state = StreamState(fault=fault)
    quiet = judge(policy, state=state)
    assert quiet.action == asked
    assert quiet.reasons[0].code == "state.refused"
    assert f"state.refused:{fault}" in quiet.flags
    assert judge(policy, {"hate": 1.0}, state=state).action == "block"


def test_a_refused_state_cannot_undo_a_confirmation(make_policy: Make, judge: Make) -> None:
    """Where the past is not known, nothing waits to be confirmed: the score alone decides."""
    policy = make_policy({"labels": {"hate": {"confirm": {"hits": 3, "of": 5}}}})
    assert judge(policy, {"hate": 1.0}).action == "review"
    assert judge(policy, {"hate": 1.0}, state=StreamState(fault="forged")).action == "block"


def test_another_policy_than_the_live_one_is_reviewed(make_policy: Make, judge: Make) -> None:
    """A clip that names a policy is not silently judged by another."""
    policy = make_policy()
    for name, action in (("", "allow"), ("test", "allow"), ("test:1", "allow"), ("live", "review")):
        context = Context(policy=name, texts=(TextInfo("chat"),))
        assert judge(policy, context=context).action == action


# --- Lists, banks, shadows ------------------------------------------------------------------------

LISTS: dict[str, Any] = {"blocklists": {"words": {"label": "hate", "phrases": ["bad"]}}}
WORD = Hits(lists=(ListHit("words", 0, 0, (2, 5)),))


@pytest.mark.parametrize("mode", MODE_ACTIONS)
@pytest.mark.parametrize("given_action", [None, "review", "restrict", "block"])
def test_every_list_mode(
    mode: ListMode, given_action: str | None, make_policy: Make, judge: Make
) -> None:
    """A hit asks for its list's action, else for its mode's; off and shadow never act."""
    body = LISTS["blocklists"]["words"] | {"mode": mode, "action": given_action}
    decision = judge(make_policy({"blocklists": {"words": body}}), hits=WORD)
    acts = mode in ("evidence", "hard")
    expected = (given_action or MODE_ACTIONS[mode]) if acts else "allow"
    assert decision.action == expected
    assert [item.source for item in decision.evidence] == (["words"] if acts else [])
    assert bool(decision.flags) == (mode == "shadow")
    if acts:
        assert (decision.label, decision.reasons[0].code) == ("hate", "list.words.hit")
        assert decision.evidence[0].span == (2, 5)


def test_an_allowed_hit_counts_only_where_a_hard_list_is_not_named(
    make_policy: Make, judge: Make
) -> None:
    """Allow-phrases spare evidence; a hard list only if they name it."""
    hits = Hits(lists=(ListHit("words", 0, 0, (2, 5), allowed_by="fine"),))
    for mode, named, action in (
        ("evidence", None, "allow"),
        ("hard", None, "block"),
        ("hard", ["words"], "allow"),
    ):
        allow = {"phrases": ["not bad"]} | ({"lists": named} if named else {})
        body = LISTS["blocklists"]["words"] | {"mode": mode}
        policy = make_policy({"blocklists": {"words": body}, "allow_phrases": {"fine": allow}})
        assert judge(policy, hits=hits).action == action


@pytest.mark.parametrize(
    ("distance", "quality", "pick", "action"),
    [
        (31, 50, 0.24, "block"),
        (32, 50, 0.24, "allow"),
        (31, 49, 0.24, "allow"),
        (31, 50, 0.25, "allow"),
        (0, 100, 0.0, "block"),
    ],
)
def test_the_gates_of_a_bank(
    distance: int, quality: int, pick: float, action: str, *, make_policy: Make, judge: Make
) -> None:
    """A match counts within the distance, from the quality, and below the enabled ratio."""
    policy = make_policy(
        {
            "hash_banks": {
                "known": {
                    "label": "terrorism_extremism",
                    "hashes": ["0" * 63 + "f"],
                    "mode": "hard",
                    "enabled_ratio": 0.25,
                }
            }
        }
    )
    hits = Hits(hashes=(HashHit("known", 0, 0, distance, quality, pick),))
    decision = judge(policy, hits=hits)
    assert decision.action == action
    assert [item.distance for item in decision.evidence] == (
        [distance] if action == "block" else []
    )


def test_a_label_caps_its_lists_too(make_policy: Make, judge: Make) -> None:
    """A hard list cannot do what its label may not."""
    body = {"words": LISTS["blocklists"]["words"] | {"mode": "hard"}}
    policy = make_policy(
        {"blocklists": body, "labels": {"hate": {"max_automatic_action": "restrict"}}}
    )
    assert judge(policy, hits=WORD).action == "restrict"


def test_hits_of_a_list_that_is_gone_say_nothing(make_policy: Make, judge: Make) -> None:
    """A record may be replayed under a policy without its lists."""
    assert judge(make_policy(), hits=WORD).action == "allow"


def test_a_shadow_policy_speaks_and_never_acts(make_policy: Make, judge: Make) -> None:
    """A shadow's verdict stands beside the live one until its day, with a memory of its own."""
    shadow = (
        'policy: {id: next, version: "2", taxonomy: t1.0}\n'
        "defaults: {thresholds: {review: 0.1, restrict: 0.2, block: 0.3}}\n"
        "labels: {}\n"
        "fail_safe: {title: {on_missing: ignore}, asr: {on_missing: ignore},"
        " ocr: {on_missing: ignore}}\n"
    )
    policy = make_policy(
        {"shadow": [{"file": "next.yaml", "until": "2024-01-01"}]}, next__yaml=shadow
    )
    decision = judge(policy, {"hate": 0.4})
    assert decision.action == "allow"
    (said,) = decision.shadow
    assert (said.policy, said.action, said.label) == ("next@2", "block", "hate")
    assert judge(policy, {"hate": 0.4}, now_ms=1_704_067_200_000).shadow == ()


def test_overrides_are_named(make_policy: Make, judge: Make) -> None:
    """The layers that applied are listed in their order; those that do not exist are not."""
    policy = make_policy({"regions": {"DE": {}}, "rooms": {"r1": None}, "surfaces": {"kids": {}}})
    context = Context(region="DE", surface="web", room="r1", texts=(TextInfo("chat"),))
    assert judge(policy, context=context).overrides == ("region:DE", "room:r1")
    assert effective(policy, "DE", "web", "", "r1").overrides == ("region:DE", "room:r1")

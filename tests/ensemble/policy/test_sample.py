from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from livewarden_ensemble.context import Context, TextInfo
from livewarden_ensemble.policy import decide
from livewarden_ensemble.policy.sample import draw
from livewarden_ensemble.stream_state import FRESH

Make = Callable[..., Any]
NOON_MS = 1_700_000_000_000


@pytest.fixture(scope="session")
def count(make_scores: Make, make_coverage: Make) -> Callable[..., int]:
    """How many of 2,000 clips of one stream are drawn for `purpose`."""

    def count(policy: Any, scores: dict[str, float], purpose: str) -> int:
        given, coverage = make_scores(scores), make_coverage()
        drawn = 0
        for seq in range(2_000):
            context = Context(stream_id="s", clip_seq=seq, texts=(TextInfo("chat"),))
            decision, _ = decide(given, coverage, context, FRESH, policy, NOON_MS)
            assert decision.action == "allow"
            drawn += f"sample.{purpose}" in decision.review
        return drawn

    return count


def test_a_share_is_drawn_at_random_and_changes_no_action(make_policy: Make, count: Make) -> None:
    """About the share of all clips is drawn, and they stay allowed."""
    drawn = count(make_policy({"review": {"salt": "x", "random": 0.1}}), {}, "random")
    assert 140 <= drawn <= 260


def test_clips_near_a_threshold(make_policy: Make, count: Make) -> None:
    """Only clips within the band of a threshold are drawn, at the band's share."""
    near = {"band": 0.05, "share": 0.5}
    policy = make_policy({"review": {"salt": "x", "near_threshold": near}})
    assert 900 <= count(policy, {"hate": 0.46}, "near_threshold") <= 1_100
    assert count(policy, {"hate": 0.44}, "near_threshold") == 0


def test_a_stratum_is_a_band_of_scores(make_policy: Make, count: Make) -> None:
    """From `low` to under `high` of one label, at its own share."""
    stratum = {"label": "hate", "low": 0.25, "high": 0.5, "share": 1}
    policy = make_policy({"review": {"strata": {"unsure": stratum}}})
    assert count(policy, {"hate": 0.25}, "stratum.unsure") == 2_000
    assert count(policy, {"hate": 0.2}, "stratum.unsure") == 0
    assert count(policy, {"weapons": 0.3}, "stratum.unsure") == 0


def test_a_draw_is_the_same_wherever_it_is_made() -> None:
    """A draw depends on salt, purpose and clip, each of them, and on nothing else."""
    drawn = draw("salt", "random", b"clip")
    assert drawn == draw("salt", "random", b"clip")
    assert len({drawn, draw("s", "random", b"clip"), draw("salt", "r", b"clip")}) == 3
    # Written out, so that another release cannot draw otherwise unnoticed.
    assert draw("salt", "random", b"clip") == pytest.approx(DRAWN, abs=1e-15)


DRAWN = 0.4221808992906052


def test_clips_without_any_name_are_drawn_by_their_scores(
    make_policy: Make, make_scores: Make, make_coverage: Make
) -> None:
    """A caller that names neither stream nor request is sampled all the same."""
    policy = make_policy({"review": {"salt": "x", "random": 0.5}})
    context = Context(texts=(TextInfo("chat"),))
    drawn = {
        decide(make_scores({"hate": n / 100}), make_coverage(), context, FRESH, policy, NOON_MS)[
            0
        ].review
        for n in range(40)
    }
    assert drawn == {(), ("sample.random",)}

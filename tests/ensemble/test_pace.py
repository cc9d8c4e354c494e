from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_ensemble.pace import Pace, measure_size

MARGIN = 1.2  # by which an estimate is above what batches take
SIZES = st.integers(1, 100)
LEFT = st.one_of(st.just(math.inf), st.integers(-100, 5000).map(float))


def make_pace(ms_per_size: float) -> Pace:
    """A pace that estimates `ms_per_size` milliseconds."""
    pace = Pace()
    pace.note(1, ms_per_size / MARGIN)
    return pace


def test_only_expired_clips_are_hopeless_while_nothing_is_known():
    """A new pipeline begins every clip that has any time left."""
    assert Pace().find_hopeless([8, 8, 8], [0.0, 0.5, math.inf]) == {0}


def test_a_clip_with_less_time_than_its_batch_takes_is_hopeless():
    """What would be answered too late is not begun; who has time enough stays."""
    assert make_pace(10).find_hopeless([8, 8], [100.0, 200.0]) == {0}


def test_who_is_left_out_makes_the_batch_faster_for_the_others():
    """The second clip fits only because the first is not in its way."""
    assert make_pace(10).find_hopeless([8, 8, 2], [20.0, 101.0, 500.0]) == {0}
    assert make_pace(10).find_hopeless([8, 8, 2], [90.0, 101.0, 500.0]) == {0}


def test_a_long_clip_with_time_is_not_given_up_for_short_ones():
    """Who has the time is served; else long clips would always lose to the batch around them."""
    assert make_pace(10).find_hopeless([128, 11, 11], [60e3, 500.0, 500.0]) == {1, 2}


@given(st.lists(st.tuples(SIZES, LEFT), max_size=6), st.integers(1, 100))
def test_of_those_with_the_most_time_all_that_fit_are_kept(clips, ms_per_size):
    """Against every subset: no larger set that gives up the least time first ends in time."""
    sizes, left = [n for n, _ in clips], [t for _, t in clips]
    hopeless = make_pace(ms_per_size).find_hopeless(sizes, left)
    kept = set(range(len(clips))) - hopeless
    fit = [
        set(part)
        for count in range(len(clips) + 1)
        for part in itertools.combinations(range(len(clips)), count)
        if all(left[c] > make_pace(ms_per_size).estimate(sum(sizes[p] for p in part)) for c in part)
        and all(left[p] >= left[c] for p in part for c in set(range(len(clips))) - set(part))
    ]
    assert kept in fit
    assert len(kept) == max(map(len, fit))


def test_the_estimate_follows_what_batches_take():
    """A hundred batches at another pace move it there; a small one hardly moves it."""
    pace = make_pace(10)
    for _ in range(100):
        pace.note(10, 1000)
    slow = pace.estimate(10)
    assert slow == pytest.approx(1000 * MARGIN)
    pace.note(1, 10)
    assert pace.estimate(10) == pytest.approx(slow, rel=0.03)
    for _ in range(100):
        pace.note(10, 50)
    assert pace.estimate(10) == pytest.approx(50 * MARGIN)


def test_a_batch_that_expired_half_way_never_makes_work_look_cheap():
    """What was not finished tells that work takes at least so long, and no less."""
    pace = make_pace(10)
    pace.note(10, 5, whole=False)
    assert pace.estimate(10) == pytest.approx(100)
    pace.note(10, 1000, whole=False)
    assert pace.estimate(10) > 100


def test_a_frame_counts_for_more_than_a_text():
    """Sixty chat lines are no sixty frames: they are begun where those could not be."""
    pace = Pace()
    pace.note(measure_size(8, 3), 176)
    assert not pace.find_hopeless([measure_size(1, 64)], [1000.0])
    assert pace.find_hopeless([measure_size(64, 1)], [1000.0]) == {0}


def test_a_server_that_turns_everybody_away_tries_again():
    """Of four batches that would begin nobody, one begins the clip with the most time left."""
    pace = make_pace(1000)
    turned = [pace.find_hopeless([8, 8], [1000.0, 2000.0]) for _ in range(8)]
    assert turned == [*[{0, 1}] * 3, {0}] * 2


def test_the_canary_says_nothing_of_whether_callers_get_through():
    """Batches that begin only who has no deadline are idle for the others."""
    pace = make_pace(1000)
    assert any(pace.find_hopeless([2, 8], [math.inf, 2000.0]) == set() for _ in range(4))


def test_a_kind_of_clip_that_is_always_turned_away_is_tried():
    """Even while others get through, one of 64 that were turned away is begun."""
    pace = make_pace(10)
    turned = [pace.find_hopeless([8, 60], [5000.0, 500.0]) for _ in range(64)]
    assert turned.count({1}) == 63
    assert turned[-1] == set()


def test_what_has_expired_is_never_tried():
    """A clip whose deadline has passed is not begun to learn from it."""
    pace = make_pace(1000)
    assert all(pace.find_hopeless([8], [0.0]) == {0} for _ in range(100))


def test_batches_without_work_teach_nothing():
    """A batch of empty or dropped clips says nothing of what work takes."""
    pace = make_pace(10)
    pace.note(0, 5000)
    assert pace.estimate(10) == pytest.approx(100)

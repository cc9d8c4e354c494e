from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_ensemble.pace import Pace

MARGIN = 1.2  # by which an estimate is above what batches take
ITEMS = st.integers(0, 100)
LEFT = st.one_of(st.just(math.inf), st.floats(-1e4, 1e6))


def make_pace(ms_per_item: float) -> Pace:
    pace = Pace()
    pace.note(1, ms_per_item / MARGIN)
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


@given(st.lists(st.tuples(ITEMS, LEFT), max_size=8), st.floats(0.1, 100))
def test_the_most_clips_that_can_be_in_time_are_kept(clips, ms_per_item):
    """Every set of clips that all end in time is no larger than the one that is kept.

    Sets are those with the most time left: leaving out the one with the least never hurts.
    """
    items, left = [n for n, _ in clips], [t for _, t in clips]
    hopeless = make_pace(ms_per_item).find_hopeless(items, left)
    kept = set(range(len(clips))) - hopeless
    order = sorted(range(len(clips)), key=lambda clip: left[clip], reverse=True)
    sets = [set(part) for part in itertools.accumulate([[clip] for clip in order])]
    fit = [
        part
        for part in sets
        if all(
            left[clip] > make_pace(ms_per_item).estimate(sum(items[c] for c in part))
            for clip in part
        )
    ]
    assert len(kept) == max(map(len, fit), default=0)
    assert kept in [set(), *sets]


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


def test_a_server_that_turns_everybody_away_tries_again():
    """Of four batches that would begin nobody, one begins the clip with the most time left."""
    pace = make_pace(1000)
    turned = [pace.find_hopeless([8, 8], [1000.0, 2000.0]) for _ in range(8)]
    assert turned == [*[{0, 1}] * 3, {0}] * 2


def test_what_has_expired_is_never_tried():
    """A clip whose deadline has passed is not begun to learn from it."""
    pace = make_pace(1000)
    assert all(pace.find_hopeless([8], [0.0]) == {0} for _ in range(20))


def test_batches_without_items_teach_nothing():
    """A batch of empty or dropped clips says nothing of what work takes."""
    pace = make_pace(10)
    pace.note(0, 5000)
    assert pace.estimate(10) == pytest.approx(100)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_perf.errors import ScheduleInvalid
from livewarden_perf.schedule import (
    SCHEDULES,
    draw_burst,
    draw_poisson,
    draw_schedule,
    draw_steady,
    join_phases,
    read_recording,
)


def test_a_steady_schedule_is_even():
    """4 a second for 1.5 s: six clips, a quarter of a second apart, the first at once."""
    assert draw_steady(4, 1.5).tolist() == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_a_burst_keeps_the_average_and_leaves_silence():
    """All clips of a period come in its first quarter; none is lost."""
    due = draw_burst(8, 4, period_s=2, share=0.25)
    assert len(due) == 32
    assert due.tolist() == sorted(due.tolist())
    assert (due % 2).max() < 0.5
    assert (due >= 2).sum() == 16


def test_poisson_arrivals_are_independent():
    """Gaps have mean 1/rate and a deviation as large, as an exponential has; a seed repeats."""
    due = draw_poisson(50, 200, seed=1)
    gaps = np.diff(due)
    assert len(due) == 10_000
    assert gaps.mean() == pytest.approx(0.02, rel=0.04)
    assert gaps.std() == pytest.approx(0.02, rel=0.06)
    assert (np.diff(due) >= 0).all()
    assert due.tolist() == draw_poisson(50, 200, seed=1).tolist()
    assert due.tolist() != draw_poisson(50, 200, seed=2).tolist()


@given(
    kind=st.sampled_from(sorted(SCHEDULES)),
    rate=st.floats(0.1, 200),
    seconds=st.floats(0.1, 20),
)
def test_every_schedule_stays_within_its_time(kind, rate, seconds):
    """Sorted, from 0 on, and over before `seconds`."""
    due = draw_schedule(kind, rate, seconds)
    assert (np.diff(due) >= 0).all()
    assert ((due >= 0) & (due < seconds)).all()


def test_a_recording_is_read_and_played_faster(tmp_path):
    """Times are sorted and start at 0; notes and empty lines are skipped."""
    file = tmp_path / "arrivals.txt"
    file.write_text("# from production\n102.5\n100\n\n101 \n")
    assert read_recording(file).tolist() == [0, 1, 2.5]
    assert read_recording(file, speed=2).tolist() == [0, 0.5, 1.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [("1\nnan\n", "line 2: 'nan'"), ("x", "line 1: 'x'"), ("# none\n", "holds no time")],
)
def test_a_broken_recording_names_its_line(tmp_path, text, message):
    """What is no time is never skipped in silence."""
    file = tmp_path / "arrivals.txt"
    file.write_text(text)
    with pytest.raises(ScheduleInvalid, match=message):
        read_recording(file)


def test_phases_follow_each_other():
    """A phase begins when the one before it is over, not after its last clip."""
    due = join_phases([(draw_steady(1, 2), 2.0), (draw_steady(2, 1), 1.0), (draw_steady(1, 1), 1)])
    assert due.tolist() == [0, 1, 2, 2.5, 3]

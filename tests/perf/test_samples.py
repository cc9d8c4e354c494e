import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_perf.samples import Samples, pick
from livewarden_perf.target import REJECTED

NAN = math.nan


def make(due, sent, ended, ok=None, *, free=None, reasons=None, seconds=10.0, cpu_s=0.0):
    count = len(due)
    ok = [True] * count if ok is None else ok
    arrays = [np.array(one, float) for one in (due, due if free is None else free, sent, ended)]
    reasons = reasons or tuple("" if fine else "failed" for fine in ok)
    return Samples(*arrays, np.array(ok, bool), tuple(reasons), seconds, cpu_s)


def test_latency_counts_from_the_due_time():
    """A clip that was sent 3 s late waited those 3 s as well: percentiles must show it."""
    samples = make(due=[0, 1, 2, 3], sent=[0, 4, 4, 4], ended=[1, 5, 5, 5])
    assert samples.latency_ms.tolist() == [1000, 4000, 3000, 2000]
    assert samples.summarise().latency_ms["p50"] == 2000
    assert samples.summarise().latency_ms["p99"] == 4000


def test_a_stream_s_wait_is_no_lag_of_the_generator():
    """Lag counts from when a clip could be sent, latency still from when it was due."""
    samples = make(due=[0, 1], free=[0, 5], sent=[0.5, 5.25], ended=[5, 6])
    assert samples.lag_ms.tolist() == [500, 250]
    assert samples.latency_ms.tolist() == [5000, 5000]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0.1, 100))
def test_a_percentile_is_the_nearest_rank(values, percentile):
    """The smallest value that at least so many % of all do not exceed: nothing in between."""
    rank = next(
        value
        for value in sorted(values)
        if sum(other <= value for other in values) >= percentile / 100 * len(values) * (1 - 1e-12)
    )
    assert pick(np.array(values), percentile) == rank


def test_a_percentile_of_nothing_is_no_number():
    """It is not zero."""
    assert math.isnan(pick(np.array([]), 99))


def test_failed_clips_count_as_infinitely_late():
    """Two of a hundred fail: the p99 of what came is good, the judged one is not."""
    ok = [True] * 98 + [False] * 2
    samples = make(due=[0] * 100, sent=[0] * 100, ended=[0.1] * 98 + [0.001] * 2, ok=ok)
    run = samples.summarise()
    assert run.latency_ms["p99"] == pytest.approx(100)
    assert run.judged_p99_ms == math.inf
    assert run.error_share == pytest.approx(0.02)
    assert run.failed == {"failed": 2}


def test_throughput_is_over_the_time_it_took():
    """What piled up and came after the schedule is no throughput of the schedule's length."""
    quick = make(due=[0, 5], sent=[0, 5], ended=[1, 6], seconds=10)
    slow = make(due=[0, 5], sent=[0, 5], ended=[1, 40], seconds=10)
    assert quick.summarise().clips_per_second == pytest.approx(0.2)
    assert slow.summarise().clips_per_second == pytest.approx(0.05)
    assert slow.summarise().offered_per_second == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("late_s", "median_s", "behind"), [(0.009, 0.05, False), (0.02, 0.05, True), (0.02, 0.5, False)]
)
def test_a_late_generator_is_reported(late_s, median_s, behind):
    """Later than 10 ms and than a tenth of the median spoils a schedule."""
    samples = make(due=[0, 1], sent=[late_s, 1 + late_s], ended=[median_s, 1 + median_s])
    assert samples.summarise().behind is behind


def test_seconds_show_offered_answered_and_refused():
    """Each clip counts in the second in which it was due; an empty second has no latency."""
    samples = make(
        due=[0.1, 0.2, 2.5],
        sent=[0.1, 0.2, 2.5],
        ended=[0.2, 0.25, NAN],
        ok=[True, False, False],
        reasons=("", REJECTED, "unanswered"),
        seconds=3,
    )
    first, second, third = samples.list_seconds()
    assert first == {
        "second": 0,
        "offered": 2,
        "ok": 1,
        "rejected": 1,
        "failed": 0,
        "p50_ms": 100.0,
        "max_ms": 100.0,
    }
    assert second["offered"] == 0
    assert second["p50_ms"] is None
    assert (third["offered"], third["rejected"], third["failed"]) == (1, 0, 1)


def test_a_run_without_answers_has_no_latency():
    """No figure is made up where nothing came back."""
    run = make(due=[0], sent=[0], ended=[NAN], ok=[False]).summarise()
    assert run.clips_per_second == 0
    assert math.isnan(run.latency_ms["p50"])
    assert run.judged_p99_ms == math.inf

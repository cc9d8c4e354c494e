import dataclasses
import math

import numpy as np
import pytest

from livewarden_perf.compare import compare_pairs, make_compare_section, run_pairs
from livewarden_perf.samples import Summary

RUN = Summary(
    clips=100,
    ok=100,
    failed={},
    offered_per_second=10,
    clips_per_second=10,
    latency_ms={"p50": 50.0, "p95": 90.0, "p99": 140.0, "p99.9": 150.0},
    judged_p99_ms=140.0,
    max_ms=150.0,
    lag_ms={"p50": 0.1, "p99": 1.0},
    generator_cpu_ms=1.0,
    generator_cores=0.01,
)
NOISE = np.random.default_rng(3).normal(1, 0.01, (2, 12))


def test_a_slow_machine_meets_both_sides():
    """The machine gets three times slower half way; pair by pair, B is 10 % slower throughout."""
    a = [100, 102, 98, 300, 306, 294]
    b = [1.1 * value for value in a]
    result = compare_pairs("p99 ms", a, b, more_is_better=False)
    assert result.ratio == pytest.approx(1.1)
    assert result.worse_by == pytest.approx(0.1)
    assert (result.low, result.high) == (pytest.approx(1.1), pytest.approx(1.1))


def test_the_interval_is_that_of_the_median():
    """It holds the median, is about as wide as noise / sqrt(pairs), and a seed repeats it."""
    a, b = 100 * NOISE[0], 105 * NOISE[1]
    result = compare_pairs("p50 ms", a, b, more_is_better=False)
    assert result.low < result.ratio < result.high
    assert result.low < 1.05 < result.high
    assert 0.003 < result.high - result.low < 0.03
    assert compare_pairs("p50 ms", a, b, more_is_better=False) == result


@pytest.mark.parametrize(
    ("factor", "more_is_better", "worse_by", "regression"),
    [
        (1.20, False, 0.20, True),
        (1.02, False, 0.02, False),
        (0.80, False, -0.20, False),
        (0.80, True, 0.25, True),
        (1.20, True, -1 / 6, False),
    ],
)
def test_worse_depends_on_the_metric(factor, more_is_better, worse_by, regression):
    """More latency is worse, and so is less throughput; better is never a regression."""
    a = [100.0] * 6
    result = compare_pairs("m", a, [factor * v for v in a], more_is_better=more_is_better)
    assert result.worse_by == pytest.approx(worse_by)
    assert result.is_regression(0.05) is regression


def test_noise_is_no_regression():
    """The median is 10 % worse, but pairs differ so much that it may be chance."""
    a = [100.0] * 6
    b = [60, 220, 110, 90, 110, 170]
    result = compare_pairs("p50 ms", a, b, more_is_better=False)
    assert result.worse_by > 0.05
    assert not result.certain
    assert not result.is_regression(0.05)


def test_a_side_without_answers_is_a_regression():
    """NaN is not "no worse than the bound"."""
    result = compare_pairs("p50 ms", [1.0] * 6, [math.nan] * 6, more_is_better=False)
    assert result.is_regression(0.05)


def test_a_few_pairs_prove_nothing():
    """Five pairs are refused, rather than given an interval that means little."""
    with pytest.raises(ValueError, match="six pairs"):
        compare_pairs("p50 ms", [1.0] * 5, [2.0] * 5, more_is_better=False)


def test_pairs_are_interleaved():
    """A B, B A, A B: neither side is always first."""
    order = []

    def load(side):
        return lambda: order.append(side) or RUN

    a, b = run_pairs(load("a"), load("b"), 3)
    assert "".join(order) == "abbaab"
    assert len(a) == len(b) == 3


def test_the_section_names_the_regression():
    """The headline says which metric, and by how much; the data holds every run."""
    slow = dataclasses.replace(RUN, latency_ms={**RUN.latency_ms, "p99": 280.0})
    section, regressed = make_compare_section(
        ("old", "new"), ([RUN] * 6, [slow] * 6), ["p50 ms", "p99 ms"], bound=0.05
    )
    assert regressed
    assert "Regression: p99 ms worse by 100.0%" in section.headline
    assert len(section.data["runs"]["b"]) == 6
    _, regressed = make_compare_section(
        ("old", "new"), ([RUN] * 6, [slow] * 6), ["p50 ms"], bound=0.05
    )
    assert not regressed

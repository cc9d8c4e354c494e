import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_perf.samples import Summary
from livewarden_perf.slo import Objective, find_highest_rate, make_slo_section

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


@given(capacity=st.floats(0.2, 300), start=st.floats(0.5, 20))
def test_the_search_ends_below_the_capacity_and_near_it(capacity, start):
    """On a target that holds up to `capacity`, the result holds and is within 5 % of it."""
    search = find_highest_rate(lambda rate: rate <= capacity, lambda rate: rate <= capacity, start)
    if search.rate:
        assert search.rate <= capacity <= search.rate * 1.05 * (1 + 1e-9)
    else:
        assert capacity < start / 16
    assert len(search.trials) < 30


def test_a_lucky_run_is_no_capacity():
    """Trials hold up to 10, the longer confirmation up to 9.2: the result is what is confirmed."""
    search = find_highest_rate(lambda rate: rate <= 10, lambda rate: rate <= 9.2, 8.0)
    assert 0.95 * 9.2 * 0.95 <= search.rate <= 9.2
    assert search.trials[-1] == (search.rate, True)


def test_what_is_never_confirmed_is_nothing():
    """Four lower rates are tried, then the search gives up."""
    search = find_highest_rate(lambda rate: rate <= 10, lambda _rate: False, 8.0)
    assert search.rate == 0
    assert [holds for _, holds in search.trials[-4:]] == [False] * 4


def test_nothing_holds_on_a_dead_target():
    """The search goes down a few times and ends."""
    search = find_highest_rate(lambda _rate: False, lambda _rate: True, 4.0)
    assert search.rate == 0
    assert len(search.trials) == 5


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"judged_p99_ms": 150.0}, True),
        ({"judged_p99_ms": 150.1}, False),
        ({"judged_p99_ms": math.inf}, False),
        ({"judged_p99_ms": math.nan}, False),
        ({"ok": 99}, False),
    ],
)
def test_the_objective_counts_failures(changes, holds):
    """p99 at most 150 ms with failures counted as late, and no failure at all."""
    assert Objective(150).holds(dataclasses.replace(RUN, **changes)) is holds
    if "ok" in changes:
        assert Objective(150, error_share=0.01).holds(dataclasses.replace(RUN, **changes))


def test_the_section_shows_every_trial():
    """Each trial with its rate, in order; the figure is the confirmed rate."""
    search = find_highest_rate(lambda rate: rate <= 10, lambda rate: rate <= 10, 8.0)
    runs = [(rate, RUN) for rate, _ in search.trials]
    section = make_slo_section(Objective(150), search, runs, seconds=2)
    assert len(section.tables[0].rows) == len(search.trials)
    assert section.data["rate"] == search.rate
    assert "clips/s hold" in section.headline
    assert section.warnings == ()


def test_trials_too_short_to_see_a_queue_grow_are_reported():
    """A trial of 1 s says nothing of a p99 of 150 ms."""
    search = find_highest_rate(lambda rate: rate <= 10, lambda rate: rate <= 10, 8.0)
    runs = [(rate, RUN) for rate, _ in search.trials]
    assert "short" in make_slo_section(Objective(150), search, runs, seconds=1).warnings[-1]

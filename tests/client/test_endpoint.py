from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.endpoint import (
    FAILED_IN_A_ROW,
    MAX_ABANDONED,
    MAX_SLOW_PROBE_S,
    MIN_ANSWERS,
    MIN_CALLS,
    PROBE_EVERY_S,
    WINDOW_S,
    Endpoint,
    Endpoints,
)


def make(*names: str) -> Endpoints:
    return Endpoints(names, lambda: 0.0)


def exchange(
    fleet: Endpoints, one: Endpoint, now: float, *, seconds: float = 0.01, failed: bool = False
) -> None:
    fleet.began(one, now)
    fleet.ended(one, now + seconds, now, failed=failed)


def break_down(fleet: Endpoints, one: Endpoint, now: float = 0.0) -> None:
    for _ in range(MIN_CALLS):
        if not one.is_open:
            exchange(fleet, one, now, seconds=0.0, failed=True)
    assert one.is_open


def test_least_busy_endpoint_is_picked() -> None:
    """An attempt goes where the fewest are under way; abandoned ones count as well."""
    fleet = make("a", "b", "c")
    a, b, c = fleet.all
    a.outstanding, b.outstanding, c.outstanding = 3, 1, 2
    assert fleet.pick(0.0) is b
    assert fleet.pick(0.0, [b]) is c
    assert fleet.pick(0.0, [a, b, c]) is b


def test_ties_are_broken_by_chance() -> None:
    """Of equally busy endpoints no one is preferred: the jitter decides."""
    draws = iter([0.9, 0.1, 0.5])
    fleet = Endpoints(["a", "b", "c"], lambda: next(draws))
    assert fleet.pick(0.0) is fleet.all[1]


def test_quiet_and_full_endpoints_are_spared() -> None:
    """One that asked for quiet comes last, one with 64 abandoned calls gets nothing."""
    fleet = make("a", "b")
    a, b = fleet.all
    a.quiet_until, b.outstanding = 5.0, 9
    assert fleet.pick(4.9) is b
    assert fleet.pick(5.0) is a
    b.abandoned = MAX_ABANDONED
    assert fleet.pick(0.0) is a
    a.abandoned = MAX_ABANDONED
    assert fleet.pick(0.0) is None
    assert fleet.next_probe() is None


EVENTS = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=80)


@given(EVENTS)
def test_breaker_opens_as_the_whole_list_says(events: list[tuple[float, bool]]) -> None:
    """A lone endpoint opens exactly when half of at least 20 ends in ten whole seconds failed."""
    fleet = make("a")
    (one,) = fleet.all
    seen: list[tuple[int, bool]] = []
    now = 0.0
    for pause, failed in events:
        now += pause
        exchange(fleet, one, now, seconds=0.0, failed=failed)
        seen.append((math.floor(now), failed))
        recent = [bad for second, bad in seen if second > math.floor(now) - WINDOW_S]
        expected = len(recent) >= MIN_CALLS and sum(recent) >= len(recent) / 2
        assert one.is_open is expected
        if expected:
            return


def test_open_breaker_lets_one_probe_a_second_through() -> None:
    """A broken endpoint gets nothing but a probe each second, until one of them is answered."""
    fleet = make("a")
    (one,) = fleet.all
    break_down(fleet, one)
    assert fleet.pick(0.5) is None
    assert fleet.next_probe() == PROBE_EVERY_S
    assert fleet.pick(1.0) is one
    fleet.began(one, 1.0)
    assert fleet.pick(1.9) is None
    fleet.ended(one, 1.95, 1.0, failed=True)
    assert fleet.pick(2.0) is one
    exchange(fleet, one, 2.0)
    assert not one.is_open
    assert fleet.pick(2.1) is one


def test_answer_from_before_the_break_closes_nothing() -> None:
    """Only what was sent after an endpoint was set aside says how it is now."""
    fleet = make("a")
    (one,) = fleet.all
    fleet.began(one, 0.0)
    break_down(fleet, one, now=1.0)
    fleet.ended(one, 1.5, 0.0, failed=False)
    assert one.is_open


def test_five_failures_in_a_row_eject_if_there_is_another() -> None:
    """With another endpoint up, few failures are enough; the last one stays."""
    fleet = make("a", "b")
    a, b = fleet.all
    for _ in range(FAILED_IN_A_ROW - 1):
        exchange(fleet, a, 0.0, failed=True)
    exchange(fleet, a, 0.0)
    for _ in range(FAILED_IN_A_ROW - 1):
        exchange(fleet, a, 0.0, failed=True)
    assert not a.is_open
    exchange(fleet, a, 0.0, failed=True)
    assert a.is_open
    for _ in range(FAILED_IN_A_ROW):
        exchange(fleet, b, 0.0, failed=True)
    assert not b.is_open
    assert fleet.pick(0.5) is b


def test_slow_endpoint_is_ejected_and_probed_ever_more_rarely() -> None:
    """Three times slower than the others is too slow; a slow probe doubles the pause, to 60 s."""
    fleet = make("a", "b", "c")
    a, b, c = fleet.all
    for _ in range(MIN_ANSWERS):
        for one, seconds in ((b, 0.05), (c, 0.06), (a, 0.5)):
            exchange(fleet, one, 0.0, seconds=seconds)
    assert [one.is_open for one in fleet.all] == [True, False, False]
    now, gaps = a.next_probe, []
    for _ in range(7):
        assert fleet.pick(now) is a
        exchange(fleet, a, now, seconds=0.5)
        gaps.append(a.probe_gap)
        now = a.next_probe
    assert gaps == [2.0, 4.0, 8.0, 16.0, 32.0, MAX_SLOW_PROBE_S, MAX_SLOW_PROBE_S]
    exchange(fleet, a, now, seconds=0.05)
    assert not a.is_open


def test_slow_endpoint_comes_back_when_the_others_are_slower() -> None:
    """Slow is a comparison: whoever was slow first is not left out when the other gets slower."""
    fleet = make("a", "b")
    a, b = fleet.all
    for _ in range(MIN_ANSWERS):
        exchange(fleet, b, 0.0, seconds=0.008)
        exchange(fleet, a, 0.0, seconds=0.03)
    assert a.is_open
    for _ in range(MIN_ANSWERS):
        exchange(fleet, b, 0.5, seconds=0.3)
    assert not a.is_open
    for _ in range(MIN_ANSWERS):
        exchange(fleet, a, 0.5, seconds=0.03)
        exchange(fleet, b, 0.5, seconds=0.3)
    assert b.is_open


def test_slow_endpoint_is_used_where_all_others_fail() -> None:
    """Slow is better than nothing, and no fast but broken one is taken in its place."""
    fleet = make("a", "b")
    a, b = fleet.all
    for _ in range(MIN_ANSWERS):
        exchange(fleet, b, 0.0, seconds=0.01)
        exchange(fleet, a, 0.0, seconds=0.5)
    assert a.is_open
    for _ in range(FAILED_IN_A_ROW):
        exchange(fleet, b, 0.0, failed=True)
    assert b.is_open
    assert fleet.pick(0.5) is a


@pytest.mark.parametrize("times", [(0.003, 0.001), (0.14, 0.05)])
def test_small_differences_eject_nobody(times: tuple[float, float]) -> None:
    """Less than three times, or less than 20 ms, is no reason."""
    fleet = make("a", "b")
    for _ in range(4 * MIN_ANSWERS):
        for one, seconds in zip(fleet.all, times, strict=True):
            exchange(fleet, one, 0.0, seconds=seconds)
    assert not any(one.is_open for one in fleet.all)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1), st.floats(0, 1), st.booleans())))
def test_somebody_is_always_asked_in_time(
    events: list[tuple[int, float, float, bool]],
) -> None:
    """Whatever happens: books balance, and within a minute some endpoint is to be had."""
    fleet, now = make("a", "b", "c"), 0.0
    for index, pause, seconds, failed in events:
        now += pause
        exchange(fleet, fleet.all[index], now, seconds=seconds, failed=failed)
    assert all(one.outstanding == 0 for one in fleet.all)
    later = fleet.next_probe()
    assert fleet.pick(now + 2 if later is None else later) is not None


def test_replaced_addresses_keep_what_is_known() -> None:
    """After a look-up the endpoints that stay are the same objects; others come and go."""
    fleet = make("a", "b")
    a = fleet.all[0]
    fleet.replace(["c", "a"])
    assert [one.address for one in fleet.all] == ["c", "a"]
    assert fleet.all[1] is a

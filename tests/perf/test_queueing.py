import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livewarden_perf.queueing import NodeQueue, ServiceTime, find_utilisation

EXPONENTIAL = ServiceTime(tuple(-math.log(1 - (i + 0.5) / 1000) for i in range(1000)))
CONSTANT = ServiceTime((1.0,) * 1000)


def erlang_c(servers: int, offered: float) -> float:
    """The share of clips that wait in M/M/c, as the sum that textbooks give."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("servers", [1, 4, 32])
@pytest.mark.parametrize("utilisation", [0.3, 0.8, 0.95])
def test_exponential_times_and_one_choice_are_erlangs(servers, utilisation):
    """M/M/c, exactly: the share that waits, and for how long on average."""
    loaded = NodeQueue(servers, EXPONENTIAL, 1.0).load(utilisation)
    share = erlang_c(servers, servers * utilisation)
    assert loaded.wait_share == pytest.approx(share, abs=1e-5)
    assert loaded.mean_wait == pytest.approx(
        share / (servers * (1 - utilisation)), rel=0.01, abs=1e-6
    )


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.9])
def test_percentiles_of_one_exponential_server(utilisation):
    """Of M/M/1 the whole latency is exponential, with rate 1 - utilisation."""
    loaded = NodeQueue(1, EXPONENTIAL, 1.0).load(utilisation)
    for percentile in (50, 90, 99):
        exact = -math.log(1 - percentile / 100) / (1 - utilisation)
        assert loaded.pick(percentile) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("utilisation", [0.5, 0.7, 0.9])
@pytest.mark.parametrize(
    "times", [CONSTANT, ServiceTime.from_percentiles({50: 1.0, 99: 2.0})], ids=["constant", "even"]
)
def test_even_times_wait_less(times, utilisation):
    """To within a fifth, by Pollaczek and Khinchin: rate x E[S²] / 2 (1 - utilisation)."""
    loaded = NodeQueue(1, times, 1.0).load(utilisation)
    second = float(np.mean(np.square(times.values)))
    exact = loaded.rate * second / 2 / (1 - utilisation)
    assert loaded.mean_wait == pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize("choices", [2, 3])
def test_queues_of_two_choices_are_mitzenmachers(choices):
    """One exponential server a node: a share u^((d^k - 1)/(d - 1)) has at least k clips."""
    utilisation = 0.9
    loaded = NodeQueue(1, EXPONENTIAL, 1.0).load(utilisation, choices)
    tails = [utilisation ** ((choices**k - 1) / (choices - 1)) for k in range(1, 30)]
    # A clip that finds k clips waits for k of them.
    assert loaded.mean_wait == pytest.approx(sum(tail**choices for tail in tails), rel=0.01)


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.floats(0.01, 0.85),
    st.integers(1, 3),
    st.floats(1.0, 3.0),
)
def test_more_load_is_never_faster(servers, utilisation, choices, spread):
    """Percentiles are ordered, and none falls as the load grows."""
    times = ServiceTime.from_percentiles({50: 0.1, 99: 0.1 * spread})
    queue = NodeQueue(servers, times, 0.9)
    less, more = queue.load(utilisation * 0.9, choices), queue.load(utilisation, choices)
    assert less.pick(50) <= less.pick(99)
    assert less.pick(99) <= more.pick(99) * 1.001


@given(st.floats(0.1, 500), st.floats(0.005, 3), st.floats(1.0, 4.0))
def test_a_measured_node_keeps_its_measurement(rate, median, spread):
    """The limit is the measured one; alone, a clip takes what it took, or what the limit allows."""
    alone = ServiceTime.from_percentiles({50: median, 99: median * spread})
    queue = NodeQueue.from_measurement(rate, alone)
    assert queue.limit == pytest.approx(rate)
    assert 0 < queue.busy <= 1
    assert queue.alone.mean == pytest.approx(max(alone.mean, 1 / rate))


def test_percentiles_go_in_and_come_out():
    """The distribution has the percentiles that it was made from, and nothing below zero."""
    given_ = {50.0: 0.1, 90.0: 0.14, 95.0: 0.15, 99.0: 0.3}
    values = np.array(ServiceTime.from_percentiles(given_).values)
    assert (values > 0).all()
    assert (np.diff(values) >= 0).all()
    for percentile, seconds in given_.items():
        assert np.percentile(values, percentile) == pytest.approx(seconds, rel=0.02)


def test_a_mixture_has_the_mean_of_its_parts():
    """A quarter of the clips at a tenth of the work: the mean falls by 22.5 %."""
    times = ServiceTime.from_percentiles({50: 0.1, 99: 0.2})
    assert times.mix(0.25, 0.1).mean == pytest.approx(times.mean * 0.775, rel=0.005)
    assert times.mix(0.0, 0.1) == times
    assert times.mix(1.0, 0.1).mean == pytest.approx(times.mean * 0.1)


def test_the_utilisation_found_holds_and_a_higher_one_does_not():
    """Also: an objective below the latency alone cannot be had, one far above is not the limit."""
    queue = NodeQueue(1, ServiceTime.from_percentiles({50: 0.1, 99: 0.13}), 1.0)
    found = find_utilisation(queue, 0.4, 0.95)
    assert queue.load(found).pick(99) <= 0.4 < queue.load(found + 0.005).pick(99)
    assert find_utilisation(queue, 0.1, 0.95) == 0
    assert find_utilisation(queue, 100.0, 0.85) == 0.85

import dataclasses
import math

import numpy as np
import pytest

from livewarden_perf.cluster_simulation import Scenario, draw_arrivals, simulate_cluster
from livewarden_perf.queueing import NodeQueue, ServiceTime

EXPONENTIAL = ServiceTime(tuple(-math.log(1 - (i + 0.5) / 1000) for i in range(1000)))
EVEN = ServiceTime.from_percentiles({50: 0.12, 99: 0.15})


def simulate_by_hand(due, times):
    """One server, clip after clip: it begins when it is due and the one before has ended."""
    latencies, free = [], 0.0
    for when, work in zip(due, times, strict=True):
        free = max(free, when) + work
        latencies.append(free - when)
    return np.array(latencies)


def test_one_node_is_lindleys_recursion():
    """The whole machinery on one node gives, clip by clip, what one line of arithmetic gives."""
    queue = NodeQueue(1, EVEN, 1.0)
    scenario = Scenario(queue, nodes=1, rate=6.0, clips=3000, lose_node=False, seed=4)
    times = np.random.default_rng((4, 2)).choice(EVEN.values, len(draw_arrivals(scenario)))
    due = draw_arrivals(scenario)
    latencies = simulate_by_hand(due, times)
    half = scenario.seconds / 2
    seen = latencies[(due >= 0.2 * half) & (due < half)]
    phase = simulate_cluster(scenario).phases[0]
    assert phase.p50_s == pytest.approx(np.percentile(seen, 50, method="inverted_cdf"))
    assert phase.p99_s == pytest.approx(np.percentile(seen, 99, method="inverted_cdf"))


@pytest.mark.parametrize(
    ("queue", "utilisation"),
    [
        (NodeQueue(1, EXPONENTIAL, 1.0), 0.6),
        (NodeQueue(1, EVEN, 0.9), 0.8),
        (NodeQueue(8, EVEN, 0.9), 0.8),
        (NodeQueue(1, EVEN.mix(0.4, 0.4), 0.9), 0.8),
    ],
    ids=["exponential", "even", "eight servers", "still scenes"],
)
def test_the_model_and_the_simulation_agree(queue, utilisation):
    """With all nodes and with one lost, to within 10 %, as docs/capacity.md says."""
    nodes = 20
    rate = utilisation * queue.limit * (nodes - 1)
    scenario = Scenario(queue, nodes=nodes, rate=rate, clips=20_000)
    for phase in simulate_cluster(scenario).phases:
        loaded = queue.load(rate / phase.nodes / queue.limit, scenario.choices)
        assert phase.utilisation == pytest.approx(loaded.utilisation, rel=0.05)
        assert loaded.pick(50) == pytest.approx(phase.p50_s, rel=0.1)
        assert loaded.pick(99) == pytest.approx(phase.p99_s, rel=0.1)


def test_a_lost_node_loses_no_clip():
    """Every clip is answered; those of the lost node are sent again, and count on."""
    queue = NodeQueue(8, EVEN, 1.0)
    scenario = Scenario(queue, nodes=3, rate=0.6 * 2 * queue.limit, clips=3000)
    outcome = simulate_cluster(scenario)
    assert outcome.answered == outcome.due
    assert outcome.resent > 0
    assert [phase.nodes for phase in outcome.phases] == [3, 2]


def test_looking_at_more_nodes_is_never_slower():
    """Drawn blindly, the better of two, the best of all: the p99 falls in this order."""
    queue = NodeQueue(1, EVEN, 1.0)
    one = Scenario(queue, nodes=10, rate=80 / 0.12 / 10, clips=10_000, choices=1, lose_node=False)
    p99 = [
        simulate_cluster(dataclasses.replace(one, choices=choices)).phases[0].p99_s
        for choices in (1, 2, 0)
    ]
    assert p99 == sorted(p99, reverse=True)


def test_arrivals_come_at_the_rate_asked_for():
    """Half of them from streams, in order; a stream alone is early or late by a tenth at most."""
    queue = NodeQueue(1, EVEN, 1.0)
    scenario = Scenario(queue, nodes=2, rate=50.0, clips=20_000)
    due = draw_arrivals(scenario)
    assert len(due) == pytest.approx(20_000, rel=0.01)
    assert (np.diff(due) >= 0).all()
    alone = draw_arrivals(dataclasses.replace(scenario, rate=0.2, clips=500, periodic=1.0))
    assert (np.abs(np.diff(alone) - 5.0) <= 1.0).all()


def test_a_seed_decides_everything():
    """The same seed gives the same outcome, another one another."""
    scenario = Scenario(NodeQueue(1, EVEN, 1.0), nodes=3, rate=12.0, clips=1000)
    assert simulate_cluster(scenario) == simulate_cluster(scenario)
    assert simulate_cluster(scenario) != simulate_cluster(dataclasses.replace(scenario, seed=1))

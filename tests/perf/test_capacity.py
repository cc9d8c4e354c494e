import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livewarden_perf.capacity import (
    MOST_UTILISATION,
    Demand,
    Layout,
    Measured,
    NodeType,
    plan_capacity,
)
from livewarden_perf.capacity_report import list_assumptions, make_capacity_section
from livewarden_perf.cluster_simulation import Scenario, simulate_cluster
from livewarden_perf.errors import CapacityImpossible

MEASURED = Measured(10.0, {50.0: 100.0, 99.0: 130.0}, "a test")
NODE = NodeType("cpu", cores=2, memory_mib=1024, cost_per_hour=0.5, measured=MEASURED)
DEMAND = Demand(streams=1000, clip_every_s=5.0)

demands = st.builds(
    Demand,
    streams=st.integers(1, 5_000_000),
    clip_every_s=st.floats(0.5, 60),
    frames=st.integers(1, 16),
    static_share=st.floats(0, 1),
)
layouts = st.builds(Layout, zones=st.integers(2, 5), spare=st.integers(0, 5))


def test_a_plan_by_hand():
    """200 clips/s on nodes of 10 that may be 85 % busy: 8 a zone, and one to spare."""
    plan = plan_capacity(DEMAND, NODE, 5.0, Layout(zones=3, spare=1))
    assert plan.nodes_per_zone == 8 + 1
    assert (plan.nodes, plan.cores, plan.gpus) == (27, 54, 0)
    assert plan.utilisation == pytest.approx(200 / 240)
    assert plan.usual_utilisation == pytest.approx(200 / 270)
    assert plan.memory_gib == 27
    assert plan.cost_per_hour == 13.5
    assert plan.cost_per_million == pytest.approx(13.5 / 720_000 * 1e6)
    # 200 x 800 KiB, in bits.
    assert plan.in_gbit_s == pytest.approx(1.31072)
    assert plan.bound == "compute"


@settings(deadline=None, max_examples=40)
@given(demands, layouts)
def test_more_never_needs_fewer_nodes(demand, layout):
    """More streams, more spare nodes, a lost zone, a tighter p99: each needs as many, or more."""
    plan = plan_capacity(demand, NODE, 0.6, layout)
    more = dataclasses.replace(demand, streams=demand.streams * 2)
    spare = dataclasses.replace(layout, spare=layout.spare + 1)
    lost = dataclasses.replace(layout, lost_zones=1)
    assert plan_capacity(more, NODE, 0.6, layout).nodes >= plan.nodes
    assert plan_capacity(demand, NODE, 0.6, spare).nodes > plan.nodes
    assert plan_capacity(demand, NODE, 0.6, lost).nodes >= plan.nodes
    assert plan_capacity(demand, NODE, 1.2, layout).nodes <= plan.nodes


@settings(deadline=None, max_examples=40)
@given(demands, layouts)
def test_a_plan_holds_its_objective(demand, layout):
    """With the spare nodes lost, the p99 is kept and no node is over its limit; one fewer fails."""
    plan = plan_capacity(demand, NODE, 0.6, layout)
    assert plan.p99_s <= 0.6 * 1.001
    assert 0 < plan.usual_utilisation <= plan.utilisation + 1e-9 <= MOST_UTILISATION + 2e-9
    without_spare = plan.nodes_per_zone - layout.spare
    if without_spare > 1:
        zone_rate = demand.clips_per_second / layout.zones
        tighter = zone_rate / ((without_spare - 1) * plan.queue.limit)
        assert tighter > MOST_UTILISATION or plan.queue.load(tighter, 2).pick(99) > 0.6 * 0.995


def test_frames_and_still_scenes_change_the_work():
    """Half of the frames at 90 % of the work: 55 %. Half still scenes at 40 %: 70 %."""
    few = plan_capacity(dataclasses.replace(DEMAND, frames=4), NODE, 5.0, Layout())
    assert few.queue.limit == pytest.approx(10 / 0.55)
    still = plan_capacity(dataclasses.replace(DEMAND, static_share=0.5), NODE, 5.0, Layout())
    assert still.queue.limit == pytest.approx(10 / 0.7, rel=1e-3)


def test_a_narrow_network_decides():
    """A node with 10 Mbit/s takes 1.3 clips of 800 KiB a second, however fast it computes."""
    narrow = dataclasses.replace(NODE, network_mbit_s=10.0)
    plan = plan_capacity(DEMAND, narrow, 5.0, Layout(zones=1, spare=0))
    assert plan.bound == "network"
    assert plan.nodes * 10e6 * MOST_UTILISATION >= plan.in_gbit_s * 1e9
    assert (plan.nodes - 1) * 10e6 * MOST_UTILISATION < plan.in_gbit_s * 1e9


def test_what_cannot_be_planned_says_why():
    """Never measured; a p99 below the latency alone; all zones lost."""
    never = NodeType("gpu", cores=8, gpus=1)
    with pytest.raises(CapacityImpossible, match="gpu: nobody has measured one"):
        plan_capacity(DEMAND, never, 5.0, Layout())
    with pytest.raises(CapacityImpossible, match=r"alone on a node, 99 of 100 clips take .* ms"):
        plan_capacity(DEMAND, NODE, 0.1, Layout())
    with pytest.raises(CapacityImpossible, match="3 of 3 zones"):
        plan_capacity(DEMAND, NODE, 5.0, Layout(lost_zones=3))


def test_a_report_says_what_it_takes_for_granted():
    """Source, limit and network stand in the notes; a node never measured has no figure."""
    plan = plan_capacity(DEMAND, NODE, 5.0, Layout())
    never = NodeType("gpu", cores=8, gpus=1)
    section = make_capacity_section([plan], [(never, "nobody has measured one")])
    assert set(list_assumptions(plan)) <= set(section.notes)
    assert any("a test" in note for note in section.notes)
    assert section.tables[0].rows[1] == ("gpu, never measured", *["–"] * 7)
    assert "27 nodes of type cpu (54 cores, 13.50 an hour" in section.headline


def test_a_model_that_is_off_is_flagged():
    """Over the tolerance the row is marked and a warning names it; within it, neither."""
    plan = plan_capacity(DEMAND, NODE, 5.0, Layout())
    scenario = Scenario(plan.queue, nodes=8, rate=40.0, clips=2000)
    outcome = simulate_cluster(scenario)
    strict = make_capacity_section([plan], [], (scenario, outcome, 1e-9))
    assert strict.warnings
    assert strict.tables[-1].rows[-1][-1].endswith("!")
    lenient = make_capacity_section([plan], [], (scenario, outcome, 10.0))
    assert not lenient.warnings

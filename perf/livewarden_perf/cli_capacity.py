"""`livewarden perf capacity`: how many nodes, from the figures of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from livewarden_perf.cli_option import (
    Milliseconds,
    give_result,
    json_option,
    output_option,
    show_progress,
)

if TYPE_CHECKING:
    from livewarden_perf.capacity import NodeType, Plan
    from livewarden_perf.cluster_simulation import Outcome, Scenario

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_ALONE_SPREAD: Final = 1.3


@click.command()
@click.option("--streams", type=click.IntRange(min=1), required=True, help="Streams at the peak.")
@click.option(
    "--clip-every",
    type=Milliseconds(),
    default="5s",
    show_default=True,
    help="Time between two clips of a stream.",
)
@click.option(
    "--frames",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Frames of a clip.",
)
@click.option(
    "--clip-kib",
    type=click.FloatRange(min=0, min_open=True),
    default=800.0,
    show_default=True,
    help="Size of a clip on the network.",
)
@click.option(
    "--verdict-kib",
    type=click.FloatRange(min=0, min_open=True),
    default=8.0,
    show_default=True,
    help="Size of a verdict.",
)
@click.option(
    "--static-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the clips that are still scenes, whose frames are encoded once.",
)
@click.option(
    "--static-cost",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.4,
    show_default=True,
    help="Work of a still scene, as a share of another clip's (docs/performance.md).",
)
@click.option(
    "--p99",
    type=Milliseconds(),
    default="500ms",
    show_default=True,
    help="What 99 of 100 clips must keep, also with the spare nodes lost.",
)
@click.option("--zones", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--spare",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Nodes that each zone can lose.",
)
@click.option(
    "--lost-zones",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Zones that the others must be able to stand in for.",
)
@click.option(
    "--choices",
    type=click.IntRange(1, 8),
    default=2,
    show_default=True,
    help="Nodes that a front draws to find the least busy one; Envoy's LEAST_REQUEST draws 2.",
)
@click.option("--nodes", type=_FILE, help="TOML table of node types.  [default: the shipped one]")
@click.option("--measurement", type=_FILE, help="report.json of `perf bench`, or `smoke --json`.")
@click.option(
    "--node-clips-per-s",
    type=click.FloatRange(min=0, min_open=True),
    help="What your node does at most; with --node-cores and --alone.",
)
@click.option("--node-cores", type=click.IntRange(min=1), help="Cores of your node.")
@click.option("--alone", type=Milliseconds(), help="Median latency of a clip alone on your node.")
@click.option(
    "--cost-per-node-hour",
    type=click.FloatRange(min=0, min_open=True),
    help="Cost of a node for an hour, in any currency; for every node type.",
)
@click.option("--simulate", is_flag=True, help="Check the plan clip by clip, with a lost node.")
@click.option(
    "--simulate-nodes",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="Nodes of the simulated part of the cluster.",
)
@click.option("--simulate-clips", type=click.IntRange(min=1000), default=60_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    default=0.15,
    show_default=True,
    help="Share by which the model may differ from the simulation without a warning.",
)
@output_option
@json_option
def capacity(
    *,
    streams: int,
    clip_every: float,
    frames: int,
    clip_kib: float,
    verdict_kib: float,
    static_share: float,
    static_cost: float,
    p99: float,
    zones: int,
    spare: int,
    lost_zones: int,
    choices: int,
    nodes: Path | None,
    measurement: Path | None,
    node_clips_per_s: float | None,
    node_cores: int | None,
    alone: float | None,
    cost_per_node_hour: float | None,
    simulate: bool,
    simulate_nodes: int,
    simulate_clips: int,
    seed: int,
    tolerance: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Plan nodes, cores, GPUs, bandwidth, memory and cost for a number of streams.

    From what one node was measured to do: the shipped table, a table of your own, a report, or
    figures. Every assumption is printed.

    \b
    Example:
      livewarden perf capacity --streams 1_000_000 --clip-every 5s
      livewarden perf capacity --streams 20_000 --measurement reports/report.json --simulate
      livewarden perf capacity --streams 5000 --node-clips-per-s 40 --node-cores 8 --alone 90ms
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.capacity import Demand, Layout, plan_capacity
    from livewarden_perf.capacity_report import make_capacity_section
    from livewarden_perf.errors import CapacityImpossible

    demand = Demand(
        streams=streams,
        clip_every_s=clip_every / 1e3,
        frames=frames,
        clip_kib=clip_kib,
        verdict_kib=verdict_kib,
        static_share=static_share,
        static_cost=static_cost,
    )
    layout = Layout(zones=zones, spare=spare, lost_zones=lost_zones, choices=choices)
    with show_progress() as announce:
        types = _find_nodes(nodes, measurement, (node_clips_per_s, node_cores, alone))
        plans: list[Plan] = []
        refused: list[tuple[NodeType, str]] = []
        for node in _set_cost(types, cost_per_node_hour):
            try:
                plans.append(plan_capacity(demand, node, p99 / 1e3, layout))
            except CapacityImpossible as error:
                refused.append((node, str(error).removeprefix(f"{node.name}: ")))
        if not plans:
            raise CapacityImpossible("; ".join(f"{node.name}: {why}" for node, why in refused))
        check = None
        if simulate:
            announce(f"Simulating {simulate_clips} clips on {simulate_nodes} nodes")
            check = *_simulate(plans[0], simulate_nodes, simulate_clips, seed), tolerance
        section = make_capacity_section(plans, refused, check)
    machine = {"figures of one node": plans[0].measured.source}
    give_result(section, machine, as_json=as_json, output=output)


def _find_nodes(
    nodes: Path | None,
    measurement: Path | None,
    figures: tuple[float | None, int | None, float | None],
) -> list[NodeType]:
    from livewarden_perf.capacity import Measured, NodeType
    from livewarden_perf.node_table import SHIPPED, read_measured_node, read_nodes

    given = [nodes is not None, measurement is not None, any(figures)]
    if sum(given) > 1:
        raise click.UsageError(
            "--nodes, --measurement and --node-clips-per-s each say what a node does: give one"
        )
    if measurement is not None:
        return [read_measured_node(measurement)]
    if not any(figures):
        return read_nodes(nodes or SHIPPED)
    rate, cores, alone = figures
    if rate is None or cores is None or alone is None:
        raise click.UsageError("--node-clips-per-s, --node-cores and --alone belong together")
    measured = Measured(
        rate,
        {50.0: alone, 99.0: _ALONE_SPREAD * alone},
        f"as given; its p99 alone is taken as {_ALONE_SPREAD:g} times the median",
    )
    return [NodeType("yours", cores, measured=measured)]


def _set_cost(nodes: list[NodeType], cost: float | None) -> list[NodeType]:
    from dataclasses import replace

    return nodes if cost is None else [replace(node, cost_per_hour=cost) for node in nodes]


def _simulate(plan: Plan, nodes: int, clips: int, seed: int) -> tuple[Scenario, Outcome]:
    from livewarden_perf.cluster_simulation import Scenario, simulate_cluster

    scenario = Scenario(
        queue=plan.queue,
        nodes=nodes,
        # So that the plan's load is on each node once one of them is lost.
        rate=plan.utilisation * plan.queue.limit * (nodes - 1),
        clips=clips,
        choices=plan.layout.choices,
        clip_every_s=plan.demand.clip_every_s,
        seed=seed,
    )
    return scenario, simulate_cluster(scenario)

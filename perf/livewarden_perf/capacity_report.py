"""A plan, and what its simulation says of it, as the section of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from livewarden_perf.capacity import MOST_UTILISATION
from livewarden_perf.section import Chart, Section, Table, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livewarden_perf.capacity import NodeType, Plan
    from livewarden_perf.cluster_simulation import Outcome, Scenario

_CURVE: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.94)
_NOT_MEASURED: Final = "never measured"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one phase, by the model and by the simulation."""

    phase: str
    what: str
    model: float
    simulated: float

    @property
    def difference(self) -> float:
        """How far the model is above the simulation, as a share of it."""
        return self.model / self.simulated - 1


def compare_outcome(scenario: Scenario, outcome: Outcome) -> list[Comparison]:
    """Set the figures of each phase beside the model's; times in milliseconds."""
    rows = []
    for phase in outcome.phases:
        utilisation = scenario.rate / phase.nodes / scenario.queue.limit
        # With 0 all nodes are looked at, as with as many choices as there are nodes.
        loaded = scenario.queue.load(utilisation, scenario.choices or phase.nodes)
        rows += [
            Comparison(phase.name, "utilisation", utilisation, phase.utilisation),
            Comparison(phase.name, "p50 ms", loaded.pick(50) * 1e3, phase.p50_s * 1e3),
            Comparison(phase.name, "p99 ms", loaded.pick(99) * 1e3, phase.p99_s * 1e3),
        ]
    return rows


def make_capacity_section(
    plans: Sequence[Plan],
    refused: Sequence[tuple[NodeType, str]],
    check: tuple[Scenario, Outcome, float] | None = None,
) -> Section:
    """Make the section: the plan of each node type, and why there is none for the `refused`.

    `check` is a simulation of the first plan, with the share by which the model may differ.
    """
    best = plans[0]
    tables = [_tabulate_plans(plans, refused), _tabulate_traffic(plans)]
    warnings = []
    data: dict[str, Any] = {
        "demand": {
            "streams": best.demand.streams,
            "clip_every_s": best.demand.clip_every_s,
            "clips_per_second": best.demand.clips_per_second,
            "frames": best.demand.frames,
            "static_share": best.demand.static_share,
        },
        "p99_target_ms": best.p99_target_s * 1e3,
        "plans": [describe_plan(plan) for plan in plans],
        "not_planned": {node.name: why for node, why in refused},
    }
    if check is not None:
        scenario, outcome, tolerance = check
        rows = compare_outcome(scenario, outcome)
        tables.append(_tabulate_check(rows, tolerance))
        warnings += _warn_of(rows, outcome, tolerance)
        data["simulation"] = {
            "nodes": scenario.nodes,
            "clips": outcome.due,
            "answered": outcome.answered,
            "resent": outcome.resent,
            "tolerance": tolerance,
            "rows": [
                {
                    "phase": row.phase,
                    "figure": row.what,
                    "model": row.model,
                    "simulated": row.simulated,
                }
                for row in rows
            ],
        }
    cost = (
        f", {best.cost_per_hour:,.2f} an hour, {best.cost_per_million:,.2f} for a million clips"
        if best.cost_per_hour is not None and best.cost_per_million is not None
        else ""
    )
    return Section(
        name="capacity",
        title=f"{best.demand.streams:,} streams, a clip every {best.demand.clip_every_s:g} s",
        headline=f"{best.nodes:,} nodes of type {best.node.name} ({best.cores:,} cores"
        + (f", {best.gpus:,} GPUs" if best.gpus else "")
        + f"{cost}) hold p99 ≤ {best.p99_target_s * 1e3:g} ms.",
        tables=tuple(tables),
        charts=(_draw_curve(best),),
        data=data,
        figures={
            f"nodes for {best.demand.streams:,} streams, p99 ≤ {best.p99_target_s * 1e3:g} ms": (
                f"{best.nodes:,}"
            )
        },
        notes=(*list_assumptions(best), *(f"{node.name}: {why}" for node, why in refused)),
        warnings=tuple(warnings),
    )


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Describe a plan as JSON data."""
    return {
        "node": plan.node.name,
        "source": plan.measured.source,
        "nodes": plan.nodes,
        "nodes_per_zone": plan.nodes_per_zone,
        "cores": plan.cores,
        "gpus": plan.gpus,
        "memory_gib": plan.memory_gib,
        "clips_under_way_gib": plan.waiting_gib,
        "in_gbit_s": plan.in_gbit_s,
        "out_gbit_s": plan.out_gbit_s,
        "node_limit_clips_per_second": plan.queue.limit,
        "bound": plan.bound,
        "utilisation": {"usual": plan.usual_utilisation, "spare_lost": plan.utilisation},
        "p50_ms": plan.p50_s * 1e3,
        "p99_ms": {"usual": plan.usual_p99_s * 1e3, "spare_lost": plan.p99_s * 1e3},
        "cost_per_hour": plan.cost_per_hour,
        "cost_per_million_clips": plan.cost_per_million,
        "assumptions": list(list_assumptions(plan)),
    }


def list_assumptions(plan: Plan) -> tuple[str, ...]:
    """List everything that `plan` takes for granted, one sentence each."""
    measured, demand, layout, queue = plan.measured, plan.demand, plan.layout, plan.queue
    times = ", ".join(f"p{name:g} {ms:.3g} ms" for name, ms in sorted(measured.alone_ms.items()))
    return (
        (
            f"One node does {measured.clips_per_second:.3g} standard clips/s at most, and one at a "
            f"time in {times}: {measured.source}."
        ),
        (
            f"Work of a clip: {measured.frame_share:.0%} of it grows with the frames. "
            f"{demand.static_share:.0%} of the clips are still scenes, with "
            f"{demand.static_cost:.0%} of the work of others. So a node does {queue.limit:.3g} of "
            "these clips/s at most."
        ),
        (
            f"A node works on {queue.servers} clip(s) at a time, in the order in which they came; "
            f"a clip keeps others waiting for {queue.busy:.0%} of its latency (Little's law on the "
            "two figures above)."
        ),
        (
            "Clips come independently of each other (Poisson). Many streams, each with its own "
            "phase, come near that (Palm and Khinchin); streams that start in step need more."
        ),
        (
            f"A front sends a clip to the least busy of {layout.choices} node(s) it draws "
            "and knows how busy they are. Of many fronts, each knows its own calls only; "
            "--choices 1 is the worst that can become of that."
        ),
        (
            f"The load is that of {layout.zones - layout.lost_zones} of {layout.zones} zones, each "
            f"with its {layout.spare} spare node(s) lost."
        ),
        (
            f"No node is planned above {MOST_UTILISATION:.0%}, whatever the p99 allows: publishes, "
            "canary clips and slower machines need room."
        ),
        (
            f"{demand.clip_kib:g} KiB in and {demand.verdict_kib:g} KiB out a clip, without TLS, "
            "TCP and repeats."
        ),
        "Fronts, the network between zones, and storage are not in it.",
    )


def _tabulate_plans(plans: Sequence[Plan], refused: Sequence[tuple[NodeType, str]]) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            plan.node.name,
            f"{plan.nodes:,}",
            f"{plan.layout.zones} x {plan.nodes_per_zone:,}",
            f"{plan.cores:,}",
            f"{plan.gpus:,}",
            f"{plan.usual_utilisation:.0%} / {plan.utilisation:.0%}",
            f"{plan.usual_p99_s * 1e3:.0f} / {plan.p99_s * 1e3:.0f}",
            "–" if plan.cost_per_hour is None else f"{plan.cost_per_hour:,.2f}",
        )
        for plan in plans
    ]
    rows += [
        (
            f"{node.name}, {_NOT_MEASURED}" if node.measured is None else node.name,
            *(["–"] * 7),
        )
        for node, _ in refused
    ]
    return Table(
        (
            "node",
            "nodes",
            "zones x nodes",
            "cores",
            "GPUs",
            "busy, usual / spare lost",
            "p99 ms, usual / spare lost",
            "cost/h",
        ),
        tuple(rows),
    )


def _tabulate_traffic(plans: Sequence[Plan]) -> Table:
    return Table(
        (
            "node",
            "clips/s",
            "in Gbit/s, all",
            "a node, Mbit/s",
            "out Gbit/s, all",
            "a node, Mbit/s",
            "servers' GiB",
            "bound by",
        ),
        tuple(
            (
                plan.node.name,
                f"{plan.demand.clips_per_second:,.0f}",
                show(plan.in_gbit_s),
                show(plan.in_gbit_s / plan.nodes * 1e3),
                show(plan.out_gbit_s),
                show(plan.out_gbit_s / plan.nodes * 1e3),
                "–" if plan.memory_gib is None else f"{plan.memory_gib:,.0f}",
                plan.bound,
            )
            for plan in plans
        ),
    )


def _tabulate_check(rows: Sequence[Comparison], tolerance: float) -> Table:
    def show_row(row: Comparison) -> tuple[str, ...]:
        flag = "" if abs(row.difference) <= tolerance else " !"
        digits = 3 if row.what == "utilisation" else 0
        return (
            f"{row.phase}: {row.what}",
            f"{row.model:.{digits}f}",
            f"{row.simulated:.{digits}f}",
            f"{row.difference:+.1%}{flag}",
        )

    return Table(
        ("simulated cluster", "model", "simulation", "model against it"),
        tuple(show_row(row) for row in rows),
    )


def _warn_of(rows: Sequence[Comparison], outcome: Outcome, tolerance: float) -> list[str]:
    warnings = [
        f"{row.phase}: the model's {row.what} is {row.difference:+.0%} off the simulation's "
        f"(tolerance {tolerance:.0%})."
        for row in rows
        if abs(row.difference) > tolerance
    ]
    if outcome.answered != outcome.due:
        warnings.append(f"{outcome.due - outcome.answered} simulated clips were never answered.")
    return warnings


def _draw_curve(plan: Plan) -> Chart:
    loads = [plan.queue.load(point, plan.layout.choices) for point in _CURVE]
    return Chart(
        "lines",
        f"Latency of a node of type {plan.node.name}, by the model",
        "share of a node's limit that is asked for",
        "ms",
        _CURVE,
        {
            f"p{percentile:g}": [load.pick(percentile) * 1e3 for load in loads]
            for percentile in (50.0, 99.0)
        },
    )

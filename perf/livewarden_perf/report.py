"""Results as tables for people and as plain data for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

if TYPE_CHECKING:
    from livewarden_perf.smoke import SmokeResult
    from livewarden_perf.stages import StageCosts


_DISTURBED: Final = "Other programs used the machine: what a server delivers now is too low."


def describe_stages(costs: StageCosts) -> dict[str, Any]:
    """Describe stage costs as JSON data; times in milliseconds, the limit in clips per second."""
    return {
        "stages_ms": {stage: round(cost, 3) for stage, cost in costs.stages.items()},
        "total_ms": round(costs.total_ms, 3),
        "elapsed_ms": round(costs.elapsed_ms, 3),
        "disturbed": costs.disturbed,
        "runs": costs.runs,
        "cores": costs.cores,
        "limit_clips_per_second": round(costs.limit, 2),
    }


def describe_smoke(result: SmokeResult) -> dict[str, Any]:
    """Describe a smoke run as JSON data; `machine` and `ratio` are null without stage costs."""
    load = result.load
    return {
        "concurrency": load.concurrency,
        "clips_per_second": round(load.clips_per_second, 2),
        "latency_ms": {
            "p50": load.p50_ms,
            "p90": load.p90_ms,
            "p95": load.p95_ms,
            "p99": load.p99_ms,
        },
        "perf_analyzer": result.analyzer_version,
        "machine": None if result.stages is None else describe_stages(result.stages),
        "ratio": None if result.ratio is None else round(result.ratio, 3),
    }


def render_stages(costs: StageCosts) -> Table:
    """Draw stage costs, ending in the machine limit."""
    table = Table(
        title=f"One standard clip on one thread, median of {costs.runs}",
        caption=f"Limit of {costs.cores} cores: {costs.limit:.1f} clips/s. "
        f"From start to end: {costs.elapsed_ms:.1f} ms.",
    )
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    for stage, cost in costs.stages.items():
        table.add_row(stage, f"{cost:.2f}", f"{cost / costs.total_ms:.1%}")
    table.add_section()
    table.add_row("sum", f"{costs.total_ms:.2f}", "")
    return table


def render_smoke(result: SmokeResult) -> Table:
    """Draw the delivered rate and latencies, and the share of the limit where it is known."""
    load = result.load
    table = Table(title=f"{load.concurrency} callers, standard clips, through gRPC")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("throughput", f"{load.clips_per_second:.1f} clips/s")
    for name, value in (("p50", load.p50_ms), ("p95", load.p95_ms), ("p99", load.p99_ms)):
        table.add_row(name, f"{value:.0f} ms")
    if result.stages is not None:
        table.add_section()
        table.add_row("machine limit", f"{result.stages.limit:.1f} clips/s")
        table.add_row("throughput / limit", f"{result.ratio:.2f}")
        table.caption = _DISTURBED if result.stages.disturbed else None
    return table

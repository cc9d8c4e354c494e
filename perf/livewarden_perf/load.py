"""`perf load`: one schedule against one target, second by second; and the same at several rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from livewarden_perf.section import Chart, Section, Table, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livewarden_perf.open_loop import Overhead
    from livewarden_perf.samples import Samples, Summary

_FEW: Final = 1000
_COLUMNS: Final = ("due/s", "clips/s", "in full", "p50 ms", "p95 ms", "p99 ms", "p99.9", "max ms")


def describe_summary(summary: Summary) -> dict[str, Any]:
    """Describe the figures of one run as JSON data."""
    return {
        "clips": summary.clips,
        "ok": summary.ok,
        "failed": dict(summary.failed),
        "offered_per_second": summary.offered_per_second,
        "clips_per_second": summary.clips_per_second,
        "latency_from_due_ms": {**summary.latency_ms, "max": summary.max_ms},
        "p99_with_failures_ms": summary.judged_p99_ms,
        "generator": {
            "lag_ms": dict(summary.lag_ms),
            "cpu_ms_per_clip": summary.generator_cpu_ms,
            "cores": summary.generator_cores,
            "behind": summary.behind,
        },
    }


def tabulate_runs(first: str, runs: Mapping[str, Summary]) -> Table:
    """Tabulate runs, one a row; `first` heads the column of their names."""
    return Table((first, *_COLUMNS), tuple((name, *_cells(run)) for name, run in runs.items()))


def warn_of(summary: Summary) -> list[str]:
    """Say why the figures of a run should not be quoted, or should be quoted with care."""
    warnings = []
    if summary.behind:
        warnings.append(
            f"The generator fell behind its schedule: the 99th percentile of its own delay is "
            f"{summary.lag_ms['p99']:.1f} ms. Run it on another machine, or at a lower rate."
        )
    if summary.failed:
        causes = ", ".join(f"{count} {name}" for name, count in sorted(summary.failed.items()))
        warnings.append(f"{summary.clips - summary.ok} of {summary.clips} clips failed: {causes}.")
    return warnings


def describe_generator(summary: Summary, overhead: Overhead) -> str:
    """Say what the generator itself cost, in one sentence."""
    return (
        f"The generator alone takes {overhead.per_clip_us:.0f} µs per clip "
        f"(p99 of its delay {overhead.lag_p99_ms:.2f} ms at 2000 clips/s with instant answers); "
        f"in this run it used {summary.generator_cpu_ms:.1f} ms of processor time per clip, "
        f"{summary.generator_cores:.2f} cores, and was late by {summary.lag_ms['p50']:.2f} ms "
        f"(median) and {summary.lag_ms['p99']:.2f} ms (p99)."
    )


def make_load_section(samples: Samples, overhead: Overhead, what: str) -> Section:
    """Make the section of one run; `what` says which clips came, and by which schedule."""
    summary, seconds = samples.summarise(), samples.list_seconds()
    notes = [
        "Latency counts from the moment a clip was due.",
        describe_generator(summary, overhead),
    ]
    if summary.ok < _FEW:
        notes.append(f"p99.9 of {summary.ok} clips is their maximum.")
    latency = summary.latency_ms
    return Section(
        name="load",
        title=f"Open loop: {what}",
        headline=f"{summary.clips_per_second:.1f} of {summary.offered_per_second:.1f} clips/s "
        f"offered came back in full; p50 {show(latency['p50'])} ms, p99 {show(latency['p99'])} ms.",
        tables=(tabulate_runs("", {"all": summary}),),
        charts=(
            Chart(
                "lines",
                "Second by second",
                "second of the run in which clips were due",
                "ms from due to verdict",
                tuple(row["second"] for row in seconds),
                {
                    "median": [row["p50_ms"] for row in seconds],
                    "slowest": [row["max_ms"] for row in seconds],
                },
            ),
        ),
        data={**describe_summary(summary), "seconds": seconds},
        figures={
            f"p50, p99 at {summary.offered_per_second:.1f} clips/s ({what})": (
                f"{show(latency['p50'])}, {show(latency['p99'])} ms"
            )
        },
        notes=tuple(notes),
        warnings=tuple(warn_of(summary)),
    )


def make_curve_section(runs: Sequence[Summary], overhead: Overhead, what: str) -> Section:
    """Make the section of latency against rate, one run a point."""
    ordered = sorted(runs, key=lambda run: run.offered_per_second)
    names = tuple(ordered[0].latency_ms)
    series = {name: [run.latency_ms[name] for run in ordered] for name in names}
    rows = {f"{run.offered_per_second:.1f}": run for run in ordered}
    last = ordered[-1]
    return Section(
        name="load",
        title=f"Latency against rate: {what}",
        headline=f"From {ordered[0].offered_per_second:.1f} to {last.offered_per_second:.1f} "
        f"clips/s, p99 goes from {show(ordered[0].latency_ms['p99'])} to "
        f"{show(last.latency_ms['p99'])} ms.",
        tables=(tabulate_runs("clips/s", rows),),
        charts=(
            Chart(
                "lines",
                "Latency against rate, from due time",
                "clips due per second",
                "ms from due to verdict",
                tuple(run.offered_per_second for run in ordered),
                series,
            ),
        ),
        data={"runs": [describe_summary(run) for run in ordered]},
        figures={
            f"p50, p99 at {run.offered_per_second:.1f} clips/s ({what})": (
                f"{show(run.latency_ms['p50'])}, {show(run.latency_ms['p99'])} ms"
            )
            for run in ordered
        },
        notes=(
            "Latency counts from the moment a clip was due.",
            describe_generator(last, overhead),
        ),
        warnings=tuple(dict.fromkeys(line for run in ordered for line in warn_of(run))),
    )


def _cells(run: Summary) -> tuple[str, ...]:
    return (
        show(run.offered_per_second),
        show(run.clips_per_second),
        f"{run.ok}/{run.clips}",
        *(show(value) for value in run.latency_ms.values()),
        show(run.max_ms),
    )

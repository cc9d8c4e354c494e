"""`perf run`: what perf_analyzer says of every number of callers and every rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from livewarden_perf.errors import ScheduleInvalid
from livewarden_perf.section import Chart, Section, Table, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livewarden_perf.closed_loop import LoadResult

_MOST: Final = 64
_PARTS: Final = 3


def parse_range(text: str) -> list[float]:
    """Parse `4`, `1,2,8` or perf_analyzer's START:END:STEP, END included; nothing for "".

    Raises ScheduleInvalid.
    """
    if not text:
        return []
    try:
        if ":" in text:
            start, end, step = (float(part) for part in (text + ":1").split(":")[:_PARTS])
            count = int((end - start) / step + 1e-9) + 1
            values = [start + number * step for number in range(min(count, _MOST + 1))]
        else:
            values = [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        values = []
    if not 0 < len(values) <= _MOST or not all(0 < value < float("inf") for value in values):
        raise ScheduleInvalid(
            f"{text!r} is no range; accepted: N, N,N,... or START:END:STEP, all above 0, "
            f"{_MOST} values at most"
        )
    return values


def make_run_section(results: Sequence[LoadResult], version: str, limit: float | None) -> Section:
    """Make the section of a sweep; `limit` is the machine limit in clips/s where it is known."""
    best = max(results, key=lambda one: one.clips_per_second)
    ratio = f", {best.clips_per_second / limit:.2f} of the machine limit" if limit else ""
    figures = {"throughput, perf_analyzer": f"{best.clips_per_second:.1f} clips/s"}
    if limit:
        figures["machine limit"] = f"{limit:.1f} clips/s"
        figures["throughput / limit"] = f"{best.clips_per_second / limit:.2f}"
    return Section(
        name="run",
        title=f"perf_analyzer {version}",
        headline=f"At most {best.clips_per_second:.1f} clips/s ({_name(best)}){ratio}.",
        tables=(
            Table(
                ("load", "clips/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms"),
                tuple(
                    (
                        _name(one),
                        show(one.clips_per_second),
                        *(show(ms) for ms in (one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms)),
                    )
                    for one in results
                ),
            ),
        ),
        charts=tuple(_draw(results)),
        data={
            "perf_analyzer": version,
            "limit_clips_per_second": limit,
            "runs": [
                {
                    "concurrency": one.concurrency or None,
                    "rate": one.rate,
                    "clips_per_second": one.clips_per_second,
                    "latency_from_send_ms": {
                        "p50": one.p50_ms,
                        "p90": one.p90_ms,
                        "p95": one.p95_ms,
                        "p99": one.p99_ms,
                    },
                }
                for one in results
            ],
        },
        figures=figures,
        notes=(
            "perf_analyzer counts latency from the moment it sends, at a rate as well.",
            "livewarden perf load counts it from the moment a clip is due.",
        ),
    )


def _name(one: LoadResult) -> str:
    return f"{one.concurrency} callers" if one.rate is None else f"{one.rate:g} clips/s asked"


def _draw(results: Sequence[LoadResult]) -> list[Chart]:
    charts = []
    for label, title, points in (
        (
            "callers",
            "perf_analyzer, closed loop",
            [(float(one.concurrency), one) for one in results if one.rate is None],
        ),
        (
            "clips asked for per second",
            "perf_analyzer, at a rate",
            [(one.rate, one) for one in results if one.rate is not None],
        ),
    ):
        if points:
            charts.append(
                Chart(
                    "lines",
                    title,
                    label,
                    "ms from send to verdict",
                    tuple(x for x, _ in points),
                    {
                        "p50": [one.p50_ms for _, one in points],
                        "p95": [one.p95_ms for _, one in points],
                        "p99": [one.p99_ms for _, one in points],
                    },
                )
            )
    return charts

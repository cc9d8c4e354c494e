"""`perf growth`: what latency and throughput do as clips get larger and streams more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_perf.section import Chart, Section, Table, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livewarden_perf.samples import Summary

# What grows, and the sizes at which it is measured.
AXES: Final[Mapping[str, tuple[int, ...]]] = {
    "frames": (1, 2, 4, 8, 16, 32),
    "texts": (1, 2, 4, 8, 16, 32),
    "streams": (1, 2, 4, 8, 16, 32),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line by least squares; `fit` is R², 1 where all points lie on it."""

    slope: float
    start: float
    fit: float


@dataclass(frozen=True, slots=True)
class Point:
    """One size: the run of one caller alone, and the run that keeps the server busy."""

    size: int
    alone: Summary
    busy: Summary


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Fit a line through points, at least two of them at different x."""
    slope, start = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (slope * np.asarray(x) + start)
    spread = float(((np.asarray(y) - np.mean(y)) ** 2).sum())
    return Line(float(slope), float(start), 1 - float((rest**2).sum()) / spread if spread else 1.0)


def make_growth_section(
    points: Mapping[str, Sequence[Point]], callers: int, rate: float
) -> Section:
    """Make the section: `points` by what grew; `streams` were loaded at `rate` in all."""
    tables, charts, figures, data = [], [], {}, {}
    for axis, here in points.items():
        sizes = [point.size for point in here]
        latency = [point.alone.latency_ms["p50"] for point in here]
        cost = [1e3 / point.busy.clips_per_second for point in here]
        tables.append(_tabulate(axis, here))
        charts.append(_draw(axis, here, callers, rate))
        lines = {"latency": fit_line(sizes, latency), "cost": fit_line(sizes, cost)}
        data[axis] = {
            "sizes": sizes,
            "p50_ms": latency,
            "p99_ms": [point.alone.latency_ms["p99"] for point in here],
            "clips_per_second": [point.busy.clips_per_second for point in here],
            "lines": {
                name: {"slope_ms": one.slope, "start_ms": one.start, "r2": one.fit}
                for name, one in lines.items()
            },
        }
        unit = axis.removesuffix("s")
        figures[f"one {unit} more: latency, p50"] = _show_line(lines["latency"])
        if axis != "streams":
            figures[f"one {unit} more: server time per clip"] = _show_line(lines["cost"])
    return Section(
        name="growth",
        title="As clips and streams grow",
        headline="; ".join(f"{what} {figure}" for what, figure in figures.items()) + ".",
        tables=tuple(tables),
        charts=tuple(charts),
        data=data,
        figures=figures,
        notes=(
            f"frames and texts: latency with one caller, throughput with {callers} callers.",
            "Frames come with three texts, texts with one frame.",
            f"streams: latency at {rate:g} clips/s in all, with state tokens, in order.",
        ),
    )


def _tabulate(axis: str, points: Sequence[Point]) -> Table:
    return Table(
        (axis, "p50 ms", "p99 ms", "clips/s", f"{axis}/s"),
        tuple(
            (
                str(point.size),
                show(point.alone.latency_ms["p50"]),
                show(point.alone.latency_ms["p99"]),
                show(point.busy.clips_per_second),
                "–" if axis == "streams" else show(point.busy.clips_per_second * point.size),
            )
            for point in points
        ),
    )


def _draw(axis: str, points: Sequence[Point], callers: int, rate: float) -> Chart:
    load = f"{rate:g} clips/s in all" if axis == "streams" else "one caller alone"
    series: dict[str, list[float | None]] = {
        f"p50, {load}": [point.alone.latency_ms["p50"] for point in points],
        f"p99, {load}": [point.alone.latency_ms["p99"] for point in points],
    }
    if axis != "streams":
        name = f"server time per clip, {callers} callers"
        series[name] = [1e3 / point.busy.clips_per_second for point in points]
    sizes = tuple(float(point.size) for point in points)
    return Chart("lines", f"Against {axis}", axis, "ms", sizes, series)


def _show_line(line: Line) -> str:
    return f"{line.slope:+.2f} ms on {line.start:.1f} ms (R² {line.fit:.2f})"

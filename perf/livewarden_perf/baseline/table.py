"""A comparison as Markdown for the README, and as plain data for JSON."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_perf.baseline.comparison import Comparison, Standing

_HEAD: Final = (
    *("server", "clips/s", "p50 ms", "p99 ms"),
    *("CPU s per clip", "memory MB", "Livewarden's rate"),
)
# Cores of other programs over this share of the machine make rates too low.
_DISTURBED: Final = 0.05


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine, as far as a reader can compare it with another."""

    cpu: str
    cores: int
    memory_gb: int
    system: str
    python: str

    @classmethod
    def read(cls) -> Hardware:
        """Read this machine's."""
        return cls(
            cpu=_find_cpu(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")),
            cores=len(os.sched_getaffinity(0)),
            memory_gb=round(psutil.virtual_memory().total / 1e9),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
        )


def describe_comparison(
    comparison: Comparison, hardware: Hardware, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Describe a comparison as JSON data; a server that failed has no figures but its reason."""
    load = comparison.load
    own = comparison.standings[0]
    return {
        "hardware": {
            "cpu": hardware.cpu,
            "cores": hardware.cores,
            "memory_gb": hardware.memory_gb,
            "system": hardware.system,
            "python": hardware.python,
        },
        "versions": dict(versions),
        "bundle": comparison.bundle,
        "load": {
            "callers": load.callers,
            "seconds": load.seconds,
            "rounds": load.rounds,
            "clips": comparison.clips,
            "repeated": comparison.repeated,
        },
        "disturbed": is_disturbed(comparison, hardware),
        "servers": [_describe_standing(one, own) for one in comparison.standings],
    }


def render_comparison(
    comparison: Comparison, hardware: Hardware, versions: Mapping[str, str]
) -> str:
    """Render the table, and below it what a reader must know of how it came about."""
    load = comparison.load
    own = comparison.standings[0]
    rows = [list(_HEAD), ["---", *["---:"] * (len(_HEAD) - 1)]]
    rows += [_render_row(one, own) for one in comparison.standings if not one.failure]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += [
        "",
        (
            f"{hardware.cpu}, {hardware.cores} cores, {hardware.memory_gb} GB, "
            f"{hardware.system}, Python {hardware.python}; bundle {comparison.bundle[:16]}. "
            f"Standard clips, {load.callers} callers, {load.rounds} windows of {load.seconds:g} s "
            "each, servers in turn and one at a time."
        ),
        "",
    ]
    for one in comparison.standings:
        named = ", ".join(f"{name} {versions[name]}" for name in one.packages)
        if one.failure:
            lines.append(f"- {one.title}: no figures, because {one.failure}")
            continue
        best = f"; best of {len(one.tried)}: {one.variant}" if one.variant else ""
        lines.append(f"- {one.title}: {one.how}{best} ({named}).")
    if comparison.repeated:
        lines += ["", f"Within a window, some of the {comparison.clips} clips were sent twice."]
    if is_disturbed(comparison, hardware):
        worst = max(one.others for one in comparison.standings if one.windows)
        lines += [
            "",
            (
                f"Other programs used up to {worst:.1f} cores: rates are too low, latencies too "
                "high. CPU seconds still hold."
            ),
        ]
    return "\n".join(lines) + "\n"


def is_disturbed(comparison: Comparison, hardware: Hardware) -> bool:
    """Whether other programs took so much of the machine that rates are too low."""
    return any(
        one.others > _DISTURBED * hardware.cores for one in comparison.standings if one.windows
    )


def _describe_standing(one: Standing, own: Standing) -> dict[str, Any]:
    tried = {
        name: rate if rate is None else round(rate, 2) for name, rate in one.tried.items() if name
    }
    described = {"name": one.name, "title": one.title, "how": one.how, "tried": tried}
    if one.failure:
        return {**described, "failure": one.failure}
    return {
        **described,
        "variant": one.variant,
        "score_difference": one.difference and round(one.difference, 4),
        "clips_per_second": round(one.clips_per_second, 2),
        "windows": [round(window.clips_per_second, 2) for window in one.windows],
        "latency_ms": {f"p{percent}": round(one.latency_ms(percent), 1) for percent in (50, 99)},
        "cpu_s_per_clip": round(one.cpu_s, 4),
        "memory_mb": round(one.memory_mb),
        "other_programs_cores": round(one.others, 2),
        "livewarden_ratio": round(own.clips_per_second / one.clips_per_second, 2),
    }


def _render_row(one: Standing, own: Standing) -> list[str]:
    ratio = own.clips_per_second / one.clips_per_second
    return [
        f"**{one.title}**" if one is own else one.title,
        f"{one.clips_per_second:.1f}",
        f"{one.latency_ms(50):.0f}",
        f"{one.latency_ms(99):.0f}",
        f"{one.cpu_s:.3f}",
        f"{one.memory_mb:.0f}",
        "" if one is own else f"{ratio:.2f}×",
    ]


def _find_cpu(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()

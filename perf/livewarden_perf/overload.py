"""`perf overload`: what a server does when three times as much comes as it can do.

One schedule of three phases: half the peak, three times the peak, half the peak again. Goodput is
what came back in full and in time; a clip that is turned away should hear of it at once; and after
the flood, latency should be soon what it was before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_perf.load import describe_generator, describe_summary, tabulate_runs
from livewarden_perf.samples import pick
from livewarden_perf.schedule import draw_steady, join_phases
from livewarden_perf.section import Chart, Section, Table, show
from livewarden_perf.target import UNANSWERED

if TYPE_CHECKING:
    from livewarden_perf.open_loop import Overhead
    from livewarden_perf.samples import Floats, Samples, Summary

HALF: Final = 0.5
FLOOD: Final = 3.0
# Recovered: a second in which every clip is answered, and the median at most twice the calm one,
# if the second after it is so as well.
_CALM_AGAIN: Final = 2.0
_CALM_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Phases:
    """How long the three phases last, in seconds, and the peak that they are multiples of."""

    peak: float
    before_s: float
    flood_s: float
    after_s: float

    def draw(self) -> Floats:
        """Draw the schedule."""
        return join_phases(
            (draw_steady(share * self.peak, seconds), seconds)
            for share, seconds in (
                (HALF, self.before_s),
                (FLOOD, self.flood_s),
                (HALF, self.after_s),
            )
        )

    @property
    def flood_ends_s(self) -> float:
        """When the flood ends."""
        return self.before_s + self.flood_s

    @property
    def seconds(self) -> float:
        """How long the schedule lasts."""
        return self.flood_ends_s + self.after_s


@dataclass(frozen=True, slots=True)
class Overload:
    """What happened; times in milliseconds, `recovery_s` None where it did not recover."""

    before: Summary
    flood: Summary
    after: Summary
    goodput: float
    refused: int
    refused_p50_ms: float
    refused_p99_ms: float
    unanswered: int
    recovery_s: float | None


def judge_overload(samples: Samples, phases: Phases) -> Overload:
    """Judge a run of `phases`.

    Goodput counts full verdicts that arrived during the flood, whenever their clip was due.
    """
    end = phases.flood_ends_s
    flood = samples.select(phases.before_s, end)
    arrived = samples.ok & (samples.ended >= phases.before_s) & (samples.ended < end)
    refused = ~flood.ok & ~np.isnan(flood.ended)
    waits = flood.latency_ms[refused]
    return Overload(
        before=samples.select(0.0, phases.before_s).summarise(),
        flood=flood.summarise(),
        after=samples.select(end, phases.seconds).summarise(),
        goodput=float(arrived.sum()) / phases.flood_s,
        refused=int(refused.sum()),
        refused_p50_ms=pick(waits, 50.0),
        refused_p99_ms=pick(waits, 99.0),
        unanswered=samples.reasons.count(UNANSWERED),
        recovery_s=find_recovery(samples, phases),
    )


def find_recovery(samples: Samples, phases: Phases) -> float | None:
    """Find after how many seconds the flood is over for those who come now; None for never."""
    calm = samples.select(0.0, phases.before_s)
    limit = _CALM_AGAIN * pick(calm.latency_ms[calm.ok], 50.0)
    in_a_row = 0
    for second in range(int(phases.after_s)):
        begin = phases.flood_ends_s + second
        part = samples.select(begin, begin + 1)
        if not len(part.due):
            continue
        calm_now = part.ok.all() and pick(part.latency_ms, 50.0) <= limit
        in_a_row = in_a_row + 1 if calm_now else 0
        if in_a_row == _CALM_SECONDS:
            return float(second + 1 - _CALM_SECONDS)
    return None


def make_overload_section(
    samples: Samples, phases: Phases, overhead: Overhead, timeout_s: float
) -> Section:
    """Make the section of an overload run; `timeout_s` is what callers gave each clip."""
    result, seconds = judge_overload(samples, phases), samples.list_seconds()
    share = result.goodput / phases.peak
    recovery = f"{result.recovery_s:.0f} s" if result.recovery_s is not None else "not in this run"
    warnings = []
    if result.flood.behind:
        warnings.append(
            "The generator itself fell behind while it flooded the server: "
            f"by {result.flood.lag_ms['p99']:.0f} ms (p99)."
        )
    return Section(
        name="overload",
        title=f"Overload: {FLOOD:g} times the peak of {phases.peak:.1f} clips/s",
        headline=f"Goodput is {share:.0%} of the peak; {result.refused} clips were refused, after "
        f"{show(result.refused_p99_ms)} ms (p99); recovered: {recovery}.",
        tables=(
            Table(
                ("", "figure"),
                (
                    ("peak, closed loop", f"{show(phases.peak)} clips/s"),
                    ("goodput during the flood", f"{show(result.goodput)} clips/s, {share:.0%}"),
                    ("refused or not in full", str(result.refused)),
                    ("time to hear of it, p50", f"{show(result.refused_p50_ms)} ms"),
                    ("time to hear of it, p99", f"{show(result.refused_p99_ms)} ms"),
                    ("never answered", str(result.unanswered)),
                    ("recovery after the flood", recovery),
                ),
            ),
            tabulate_runs(
                "phase",
                {"half the peak": result.before, "flood": result.flood, "after": result.after},
            ),
        ),
        charts=(
            Chart(
                "lines",
                f"Clips per second; the flood is from {phases.before_s:g} to "
                f"{phases.flood_ends_s:g} s",
                "second in which clips were due",
                "clips",
                tuple(row["second"] for row in seconds),
                {
                    name: [row[key] for row in seconds]
                    for name, key in (
                        ("due", "offered"),
                        ("full verdict", "ok"),
                        ("rejected", "rejected"),
                        ("otherwise not in full", "failed"),
                    )
                },
            ),
        ),
        data={
            "peak": phases.peak,
            "goodput": result.goodput,
            "goodput_share": share,
            "refused": result.refused,
            "refused_ms": {"p50": result.refused_p50_ms, "p99": result.refused_p99_ms},
            "unanswered": result.unanswered,
            "recovery_s": result.recovery_s,
            "timeout_s": timeout_s,
            "phases": {
                name: describe_summary(run)
                for name, run in (
                    ("before", result.before),
                    ("flood", result.flood),
                    ("after", result.after),
                )
            },
            "seconds": seconds,
        },
        figures={
            f"goodput at {FLOOD:g}x the peak": f"{share:.0%} of the peak",
            "a refused clip hears of it within (p99)": f"{show(result.refused_p99_ms)} ms",
            "recovery after the flood": recovery,
        },
        notes=(
            f"Callers gave every clip {timeout_s:g} s.",
            "Goodput counts full verdicts that arrived during the flood.",
            describe_generator(result.flood, overhead),
        ),
        warnings=tuple(warnings),
    )

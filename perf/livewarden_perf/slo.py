"""`perf slo`: the highest rate that holds an objective, over the whole way of a clip.

A trial is an open-loop run at one rate. Rates double until one fails, then the gap is halved until
it is narrow, and what is left must hold once more, for longer: a lucky run is no capacity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from livewarden_perf.load import describe_summary, tabulate_runs, warn_of
from livewarden_perf.section import Chart, Section, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_perf.samples import Summary

_PRECISION: Final = 0.05
_CONFIRMATIONS: Final = 4
_LOWEST: Final = 0.05
# A trial should last so many times the objective.
_SHORT: Final = 10


@dataclass(frozen=True, slots=True)
class Objective:
    """What must hold: p99 in milliseconds, failed clips counted as late, and the share of them."""

    p99_ms: float
    error_share: float = 0.0

    def holds(self, run: Summary) -> bool:
        """Whether `run` met it."""
        return run.judged_p99_ms <= self.p99_ms and run.error_share <= self.error_share


@dataclass(frozen=True, slots=True)
class Search:
    """The highest rate found, 0 where none holds, and every trial as (rate, holds), in order."""

    rate: float
    trials: tuple[tuple[float, bool], ...]


def find_highest_rate(
    holds: Callable[[float], bool],
    confirm: Callable[[float], bool],
    start: float,
    precision: float = _PRECISION,
) -> Search:
    """Find the highest rate for which `holds`, to within `precision` of itself.

    `confirm` tries the result once more; where it fails, the rate is lowered by `precision` and
    tried again, four times in all.
    """
    trials: list[tuple[float, bool]] = []

    def attempt(rate: float, test: Callable[[float], bool]) -> bool:
        trials.append((rate, test(rate)))
        return trials[-1][1]

    low, high = _bracket(lambda rate: attempt(rate, holds), start)
    while low and high - low > precision * low:
        middle = (low + high) / 2
        if attempt(middle, holds):
            low = middle
        else:
            high = middle
    for _ in range(_CONFIRMATIONS if low else 0):
        if attempt(low, confirm):
            return Search(low, tuple(trials))
        low *= 1 - precision
    return Search(0.0, tuple(trials))


def _bracket(holds: Callable[[float], bool], start: float) -> tuple[float, float]:
    """Find a rate that holds and a higher one that does not; (0, rate) where none holds."""
    rate = start
    if holds(rate):
        while holds(rate * 2):
            rate *= 2
        return rate, rate * 2
    while rate / 2 >= _LOWEST * start:
        rate /= 2
        if holds(rate):
            return rate, rate * 2
    return 0.0, rate


def make_slo_section(
    objective: Objective, search: Search, runs: list[tuple[float, Summary]], seconds: float
) -> Section:
    """Make the section of a search; `runs` are its trials with their rates, in order.

    `seconds` is how long a trial took.
    """
    warnings = [line for rate, run in runs[-1:] if rate == search.rate for line in warn_of(run)]
    if seconds * 1e3 < _SHORT * objective.p99_ms:
        warnings.append(
            f"Trials of {seconds:g} s are short for {objective.p99_ms:g} ms: what piles up slowly "
            "does not show. Try longer ones with --seconds."
        )
    rows = {f"{number}. {rate:.2f}": run for number, (rate, run) in enumerate(runs, 1)}
    goal = f"p99 at most {objective.p99_ms:g} ms, at most {objective.error_share:.1%} failed"
    if search.rate:
        headline = f"{search.rate:.2f} clips/s hold, confirmed: {goal}."
    else:
        headline = f"No rate tried holds: {goal}."
    ordered = sorted(runs, key=lambda item: item[0])
    return Section(
        name="slo",
        title=f"Highest rate with p99 ≤ {objective.p99_ms:g} ms",
        headline=headline,
        tables=(tabulate_runs("trial, rate", rows),),
        charts=(
            Chart(
                "lines",
                "Trials by rate",
                "clips due per second",
                "ms from due to verdict",
                tuple(rate for rate, _ in ordered),
                {
                    name: [run.latency_ms[name] for _, run in ordered]
                    for name in ("p50", "p95", "p99")
                },
            ),
        ),
        data={
            "objective": {"p99_ms": objective.p99_ms, "error_share": objective.error_share},
            "rate": search.rate,
            "trials": [
                {"rate": rate, "holds": holds, **describe_summary(run)}
                for (rate, holds), (_, run) in zip(search.trials, runs, strict=True)
            ],
        },
        figures={
            f"highest rate with p99 ≤ {objective.p99_ms:g} ms": f"{show(search.rate)} clips/s"
        },
        notes=("Latency counts from the moment a clip was due; a failed clip is infinitely late.",),
        warnings=tuple(warnings),
    )

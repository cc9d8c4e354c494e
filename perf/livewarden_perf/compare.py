"""`perf compare A B`: whether B is slower than A, or the machine was busy.

Both are loaded in turns (A B, B A, A B, ...), so that what changes on the machine meets both. Each
pair gives one ratio B / A; the median of the ratios is the result, and a bootstrap over the pairs
its confidence interval.
"""

from __future__ import annotations

import warnings as python_warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import bootstrap  # type: ignore[import-untyped] # scipy ships no types

from livewarden_perf.load import describe_summary, tabulate_runs, warn_of
from livewarden_perf.section import Section, Table, show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livewarden_perf.samples import Summary

CONFIDENCE: Final = 0.95
# By chance alone, six of six pairs point the same way in 3 of 100 comparisons; fewer prove nothing.
LEAST_PAIRS: Final = 6
# A name for people, how to read it off a run, and whether more is better.
METRICS: Final[dict[str, tuple[Callable[[Summary], float], bool]]] = {
    "clips/s": (lambda run: run.clips_per_second, True),
    "p50 ms": (lambda run: run.latency_ms["p50"], False),
    "p99 ms": (lambda run: run.latency_ms["p99"], False),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A in one metric: medians of each, and the ratio B / A with its interval."""

    metric: str
    more_is_better: bool
    a: float
    b: float
    ratio: float
    low: float
    high: float

    @property
    def worse_by(self) -> float:
        """How much worse B is than A: 0.1 is 10 %, and below 0 is better."""
        return 1 / self.ratio - 1 if self.more_is_better else self.ratio - 1

    @property
    def certain(self) -> bool:
        """Whether the interval leaves no room for "the same"."""
        return not self.low <= 1 <= self.high

    def is_regression(self, bound: float) -> bool:
        """Whether B is worse by more than `bound`, and that is no chance."""
        # NaN, from a side that answered nothing, is the worst regression of all.
        return not self.worse_by <= bound and (self.certain or bool(np.isnan(self.ratio)))


def compare_pairs(
    metric: str, a: Sequence[float], b: Sequence[float], *, more_is_better: bool, seed: int = 0
) -> Comparison:
    """Compare the values of pairs (`a[i]`, `b[i]`), at least six, all above 0."""
    if len(a) != len(b) or len(a) < LEAST_PAIRS:
        raise ValueError(f"{metric}: {len(a)} and {len(b)} values; it takes six pairs or more")
    ratios = np.asarray(b, np.float64) / np.asarray(a, np.float64)
    interval = (float("nan"),) * 2
    if np.isfinite(ratios).all():
        interval = _resample(np.log(ratios), seed)
    return Comparison(
        metric,
        more_is_better,
        a=float(np.median(a)),
        b=float(np.median(b)),
        ratio=float(np.median(ratios)),
        low=interval[0],
        high=interval[1],
    )


def run_pairs(
    load_a: Callable[[], Summary],
    load_b: Callable[[], Summary],
    pairs: int,
    on_pair: Callable[[int], None] = lambda _number: None,
) -> tuple[list[Summary], list[Summary]]:
    """Load both in turns, `pairs` times; who goes first changes from pair to pair."""
    a: list[Summary] = []
    b: list[Summary] = []
    for number in range(pairs):
        on_pair(number + 1)
        order = [(load_a, a), (load_b, b)]
        for load, runs in order if number % 2 == 0 else reversed(order):
            runs.append(load())
    return a, b


def make_compare_section(
    names: tuple[str, str],
    runs: tuple[Sequence[Summary], Sequence[Summary]],
    metrics: Sequence[str],
    bound: float,
) -> tuple[Section, bool]:
    """Make the section of a comparison, and tell whether B is a regression."""
    results = []
    for metric in metrics:
        read, more_is_better = METRICS[metric]
        a, b = ([read(run) for run in side] for side in runs)
        results.append(compare_pairs(metric, a, b, more_is_better=more_is_better))
    regressed = [one for one in results if one.is_regression(bound)]
    failed = [run for side in runs for run in side if run.failed]
    verdict = (
        f"Regression: {', '.join(f'{one.metric} worse by {one.worse_by:.1%}' for one in regressed)}"
        if regressed
        else f"No regression above {bound:.0%}"
    )
    table = Table(
        ("", "A", "B", "B / A", f"{CONFIDENCE:.0%} interval", "B is worse by", ""),
        tuple(
            (
                one.metric,
                show(one.a),
                show(one.b),
                f"{one.ratio:.3f}",
                f"{one.low:.3f} to {one.high:.3f}",
                f"{one.worse_by:+.1%}",
                "regression" if one in regressed else "different" if one.certain else "no proof",
            )
            for one in results
        ),
    )
    rows = {
        f"{side}{number}": run
        for number, pair in enumerate(zip(*runs, strict=True), 1)
        for side, run in zip("AB", pair, strict=True)
    }
    section = Section(
        name="compare",
        title=f"A: {names[0]}, B: {names[1]}",
        headline=f"{verdict} ({len(runs[0])} interleaved pairs, medians).",
        tables=(table, tabulate_runs("run", rows)),
        data={
            "a": names[0],
            "b": names[1],
            "bound": bound,
            "regression": bool(regressed),
            "metrics": [
                {
                    "metric": one.metric,
                    "a": one.a,
                    "b": one.b,
                    "ratio": one.ratio,
                    "interval": [one.low, one.high],
                    "worse_by": one.worse_by,
                }
                for one in results
            ],
            "runs": {
                side: [describe_summary(run) for run in part]
                for side, part in zip("ab", runs, strict=True)
            },
        },
        figures={f"B / A, {one.metric}": f"{one.ratio:.3f}" for one in results},
        warnings=tuple(dict.fromkeys(line for run in failed for line in warn_of(run))),
    )
    return section, bool(regressed)


def _resample(logs: np.ndarray[tuple[int], np.dtype[np.float64]], seed: int) -> tuple[float, float]:
    """The interval of the median, from resampled pairs; logarithms treat B / A and A / B alike."""
    with python_warnings.catch_warnings():
        # Pairs that are all equal leave nothing to resample, which is no reason to warn.
        python_warnings.simplefilter("ignore")
        result = bootstrap(
            (logs,),
            np.median,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    return float(np.exp(low)), float(np.exp(high))

"""Figures of merit over scores in 0..1 and labels in {0, 1}, with the unsure ones left out.

Average precision and recall at precision are as in scikit-learn; the expected calibration error
has equal-width bins (Guo et al. 2017, arXiv 1706.04599). Ties in the scores count as one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

BINS: Final = 10
RESAMPLES: Final = 200


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the middle 95 percent of its bootstrap resamples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability curve: how many, their mean score, and how often it was true."""

    count: int
    score: float
    truth: float


def average_precision(scores: Floats, truth: Floats) -> float:
    """The area under precision over recall, in steps; NaN without a positive."""
    precision, recall, _ = trace_precision(scores, truth)
    if not len(recall):
        return float("nan")
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def trace_precision(scores: Floats, truth: Floats) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and threshold at each distinct score, falling; empty without a positive."""
    empty = np.zeros(0)
    if not truth.sum():
        return empty, empty, empty
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], truth[order].cumsum()
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    return hits[ends] / (ends + 1), hits[ends] / truth.sum(), ranked[ends]


def recall_at_precision(scores: Floats, truth: Floats, wanted: float) -> float:
    """The largest recall at a precision of at least `wanted`; 0 where none reaches it."""
    precision, recall, _ = trace_precision(scores, truth)
    return float(recall[precision >= wanted].max(initial=0.0))


def recall_at_false_positives(scores: Floats, truth: Floats, rate: float) -> float:
    """The recall at the lowest threshold that at most `rate` of the negatives reach."""
    harmless = np.sort(scores[truth == 0])[::-1]
    if not len(harmless) or not truth.sum():
        return float("nan")
    threshold = harmless[min(int(rate * len(harmless)), len(harmless) - 1)]
    return float((scores[truth == 1] > threshold).mean())


def reliability(scores: Floats, truth: Floats, bins: int = BINS) -> list[Bin]:
    """The reliability curve over `bins` equal widths; empty bins are left out."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        Bin(int(held.sum()), float(scores[held].mean()), float(truth[held].mean()))
        for held in (place == index for index in range(bins))
        if held.any()
    ]


def calibration_error(scores: Floats, truth: Floats, bins: int = BINS) -> float:
    """The expected calibration error: the mean gap of the reliability curve, by count."""
    if not len(scores):
        return float("nan")
    gaps = (item.count * abs(item.score - item.truth) for item in reliability(scores, truth, bins))
    return sum(gaps) / len(scores)


def bootstrap(
    figure: Callable[[Floats, Floats], float], scores: Floats, truth: Floats, seed: int = 0
) -> Interval:
    """`figure` of all, and of RESAMPLES draws with replacement."""
    whole = figure(scores, truth)
    if np.isnan(whole):
        return Interval(whole, whole, whole)
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(scores), len(scores))
        draws.append(figure(scores[rows], truth[rows]))
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return Interval(whole, float(low), float(high))


def mean_known(values: Sequence[float]) -> float:
    """The mean of what is not NaN."""
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else float("nan")

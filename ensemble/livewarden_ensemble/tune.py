"""Threshold proposals: the lowest score from which a label is right often enough, and how sure.

Clips of one stream resemble each other, so ten of them are not ten proofs. Intervals therefore
take the streams as the sample: Korn and Graubard's for clustered data (Survey Methodology 24,
1998), which is Clopper and Pearson's exact interval with the clips counted for what they are
worth. A threshold that was chosen on the same clips that judge it looks better than it is; so it
is also judged by cross-fitting: each fifth of the streams judges what the others would choose.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from livewarden_client.wire import LABELS
from livewarden_ensemble.errors import RecordsInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livewarden_ensemble.recording import Recording

STEP: Final = 0.01
FOLDS: Final = 5
# The thresholds that are tried, fixed before any data is seen.
GRID: Final = tuple(round(STEP * place, 2) for place in range(1, 100))


class Interval(msgspec.Struct, frozen=True):
    """A share, and the bounds that hold it with the confidence asked for (two-sided)."""

    value: float
    low: float
    high: float


class Sample(msgspec.Struct, frozen=True):
    """What the label was judged on: clips with a truth, the true ones, and how many streams."""

    clips: int
    positives: int
    streams: int
    skipped: int


class Proposal(msgspec.Struct, frozen=True):
    """A threshold for a label, or None where none is sure enough.

    `precision` and `recall` are those of the clips at hand, `expected_precision` is what clips
    that had no part in the choice say (None where no fifth proposed one). `fold_thresholds` is
    what the fifths without each other would propose: far apart, there is too little data.
    `reached` is the share of clips at or over the threshold. `best_low` is the highest lower
    bound of precision that any threshold has.
    """

    label: str
    target: float
    confidence: float
    threshold: float | None
    precision: Interval | None
    expected_precision: Interval | None
    recall: Interval | None
    reached: float | None
    fold_thresholds: tuple[float | None, ...]
    best_low: float
    sample: Sample


class _Counts:
    """Per stream and threshold of the grid, how many clips reach it, and how many rightly.

    `hits` and `right` are [S, G]; `positives` [S] counts each stream's true clips.
    """

    def __init__(
        self, hits: NDArray[np.int64], right: NDArray[np.int64], positives: NDArray[np.int64]
    ) -> None:
        self.hits = hits
        self.right = right
        self.positives = positives

    def pick(self, rows: NDArray[np.bool_]) -> _Counts:
        return _Counts(self.hits[rows], self.right[rows], self.positives[rows])


def propose_threshold(
    recordings: Iterable[Recording], label: str, target: float, confidence: float = 0.95
) -> Proposal:
    """Propose the lowest threshold at which `label` has `target` precision or more.

    That is: the lower bound of the two-sided interval at `confidence` reaches the target. Only
    recordings with scores and a truth for the label count. Raises RecordsInvalid where there are
    none.
    """
    counts, names, sample = _count(recordings, label)
    threshold, best_low = _choose(counts, target, confidence)
    folds = np.array([zlib.crc32(name.encode("utf-8", "surrogatepass")) % FOLDS for name in names])
    chosen = [_choose(counts.pick(folds != fold), target, confidence)[0] for fold in range(FOLDS)]
    held_out = [
        (counts.pick(folds == fold), GRID.index(at))
        for fold, at in enumerate(chosen)
        if at is not None
    ]
    place = None if threshold is None else GRID.index(threshold)
    return Proposal(
        label=label,
        target=target,
        confidence=confidence,
        threshold=threshold,
        precision=None
        if place is None
        else _bound(counts.right[:, place], counts.hits[:, place], confidence),
        expected_precision=_bound(
            np.concatenate([part.right[:, at] for part, at in held_out]),
            np.concatenate([part.hits[:, at] for part, at in held_out]),
            confidence,
        )
        if held_out
        else None,
        recall=None
        if place is None
        else _bound(counts.right[:, place], counts.positives, confidence),
        reached=None if place is None else int(counts.hits[:, place].sum()) / sample.clips,
        fold_thresholds=tuple(chosen),
        best_low=best_low,
        sample=sample,
    )


def _count(recordings: Iterable[Recording], label: str) -> tuple[_Counts, list[str], Sample]:
    """Count, per stream, what reaches each threshold; clips without a stream are their own."""
    column = LABELS.index(label)
    streams: dict[str, list[tuple[float, bool]]] = {}
    skipped = 0
    for number, recording in enumerate(recordings):
        truth = recording.truth.get(label)
        if truth is None or recording.scores is None:
            skipped += 1
            continue
        name = recording.context.stream_id or f"\0{number}"
        streams.setdefault(name, []).append((recording.scores.joint[column], truth))
    if not streams:
        raise RecordsInvalid(
            f"no record says whether the clip shows {label}: each needs `truth`, such as "
            f'{{"{label}": true}}, and scores ({skipped} records were read)'
        )
    grid = np.array(GRID)
    hits = np.zeros((len(streams), len(GRID)), np.int64)
    right = np.zeros_like(hits)
    positives = np.zeros(len(streams), np.int64)
    for row, clips in enumerate(streams.values()):
        # As the engine compares them: what a float32 holds, against a double.
        scores = np.array([score for score, _ in clips], np.float32).astype(float)
        truths = np.array([truth for _, truth in clips])
        reaches = scores[:, None] >= grid
        hits[row] = reaches.sum(axis=0)
        right[row] = reaches[truths].sum(axis=0)
        positives[row] = truths.sum()
    sample = Sample(
        clips=sum(map(len, streams.values())),
        positives=int(positives.sum()),
        streams=len(streams),
        skipped=skipped,
    )
    return _Counts(hits, right, positives), list(streams), sample


def _choose(counts: _Counts, target: float, confidence: float) -> tuple[float | None, float]:
    """Choose the lowest threshold that is sure enough; also the best lower bound there is."""
    chosen, best_low = None, 0.0
    for place in reversed(range(len(GRID))):
        bound = _bound(counts.right[:, place], counts.hits[:, place], confidence)
        if bound is None:
            continue
        best_low = max(best_low, bound.low)
        if bound.low >= target:
            chosen = GRID[place]
    return chosen, best_low


def _bound(right: NDArray[np.int64], of: NDArray[np.int64], confidence: float) -> Interval | None:
    """Bound the share of `right` in `of`, which are counts per stream; None where `of` is 0."""
    # Here, because it takes as long to import as all the rest; scipy ships no types.
    from scipy.special import betaincinv  # type: ignore[import-untyped] # noqa: PLC0415

    right, of = right[of > 0], of[of > 0]
    if not len(of):
        return None
    total, share = int(of.sum()), float(right.sum() / of.sum())
    worth = _count_worth(right, of, share, total)
    tail = (1 - confidence) / 2
    true, false = share * worth, (1 - share) * worth
    low = float(betaincinv(true, false + 1, tail)) if true else 0.0
    high = float(betaincinv(true + 1, false, 1 - tail)) if false else 1.0
    return Interval(share, low, high)


def _count_worth(
    right: NDArray[np.int64], of: NDArray[np.int64], share: float, total: int
) -> float:
    """How many independent clips the clips of these streams are worth, at most all of them.

    The variance of the share is that of a ratio of sums over streams (Taylor linearisation).
    Without any variance to see, a stream is taken for one clip.
    """
    streams = len(of)
    spread = float(((right - share * of) ** 2).sum())
    if streams == 1 or not spread:
        return float(streams)
    variance = streams / (streams - 1) * spread / total**2
    return min(share * (1 - share) / variance, float(total))

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from scipy.stats import binomtest

from livewarden_client.wire import LABELS
from livewarden_ensemble.errors import RecordsInvalid
from livewarden_ensemble.recording import Recording
from livewarden_ensemble.synthetic_record import invent_recordings
from livewarden_ensemble.tune import GRID, Interval, _bound, propose_threshold

HATE = LABELS.index("hate")
(BLANK,) = invent_recordings(1)


def judge(score: float, *, truth: bool, stream: str) -> Recording:
    """A recording whose score for `hate` is `score`, judged by a person."""
    assert BLANK.scores is not None
    joint = tuple(score if column == HATE else 0.0 for column in range(len(LABELS)))
    return msgspec.structs.replace(
        BLANK,
        scores=msgspec.structs.replace(BLANK.scores, joint=joint),
        truth={"hate": truth},
        context=msgspec.structs.replace(BLANK.context, stream_id=stream),
    )


def judge_streams(
    random: np.random.Generator, streams: int, clips: int, spread: float
) -> Iterator[Recording]:
    """Streams of clips whose chance to be true is the score, give or take the stream's own bias."""
    for stream in range(streams):
        bias = random.normal(0, spread)
        for score in random.uniform(0, 1, clips):
            truth = random.random() < np.clip(score + bias, 0, 1)
            yield judge(float(score), truth=bool(truth), stream=f"s{stream}")


def test_single_clips_have_the_exact_interval() -> None:
    """With one clip per stream the interval is Clopper and Pearson's, for one clip fewer."""
    right = np.array([1] * 45 + [0] * 5)
    bound = _bound(right, np.ones(50, int), 0.95)
    exact = binomtest(44, 49).proportion_ci(0.95, "exact")
    assert bound is not None
    assert bound.value == 0.9
    assert bound.low == pytest.approx(exact.low, abs=0.005)
    assert bound.high == pytest.approx(exact.high, abs=0.005)


def test_no_error_seen_is_no_certainty() -> None:
    """Where every clip is right, each stream counts as one clip, however many it has."""
    few = _bound(np.array([100, 100, 100]), np.array([100, 100, 100]), 0.95)
    exact = binomtest(3, 3).proportion_ci(0.95, "exact")
    assert few == Interval(1.0, pytest.approx(exact.low), 1.0)
    wrong = _bound(np.array([0, 0]), np.array([9, 9]), 0.95)
    assert wrong == Interval(0.0, 0.0, pytest.approx(binomtest(0, 2).proportion_ci(0.95).high))


def test_nothing_has_no_bounds() -> None:
    """Where no clip reaches the threshold, nothing can be said."""
    assert _bound(np.array([0, 0]), np.array([0, 0]), 0.95) is None


def test_likeness_within_streams_widens_the_interval() -> None:
    """The same clips in fewer, more uniform streams prove less."""
    alone = _bound(np.array([1] * 80 + [0] * 20), np.ones(100, int), 0.95)
    together = _bound(np.array([10] * 8 + [0] * 2), np.full(10, 10), 0.95)
    assert alone is not None
    assert together is not None
    assert alone.value == together.value == 0.8
    assert together.low < alone.low < alone.high < together.high


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_interval_holds_the_truth_as_often_as_it_says(spread: float) -> None:
    """Over many samples of streams, the interval misses the true precision as rarely as it says."""
    random = np.random.default_rng(7)
    biases = random.normal(0, spread, 4000)
    scores = random.uniform(0.8, 1, (4000, 6))
    truths = random.random(scores.shape) < np.clip(scores + biases[:, None], 0, 1)
    right, of = truths.sum(axis=1), np.full(4000, 6)
    true = right.sum() / of.sum()
    missed = 0
    for _ in range(400):
        rows = random.choice(4000, 40, replace=False)
        bound = _bound(right[rows], of[rows], 0.95)
        assert bound is not None
        missed += not bound.low <= true <= bound.high
    assert missed <= 400 * 0.05 * 1.6


def test_proposal_reaches_its_target_on_new_clips() -> None:
    """On clips that were never seen, the proposed threshold has the precision asked for."""
    random = np.random.default_rng(3)
    proposal = propose_threshold(judge_streams(random, 300, 20, 0.05), "hate", 0.8)
    assert proposal.threshold is not None
    assert proposal.precision is not None
    assert proposal.precision.low >= 0.8
    fresh = list(judge_streams(random, 300, 20, 0.05))
    reached = [
        r.truth["hate"] for r in fresh if r.scores and r.scores.joint[HATE] >= proposal.threshold
    ]
    assert sum(reached) / len(reached) >= 0.8
    assert proposal.expected_precision is not None
    assert proposal.expected_precision.value == pytest.approx(sum(reached) / len(reached), abs=0.05)
    assert max(at for at in proposal.fold_thresholds if at) - proposal.threshold < 0.1


def test_proposal_is_the_lowest_that_is_sure() -> None:
    """No lower threshold of the grid has a lower bound that reaches the target."""
    recordings = list(judge_streams(np.random.default_rng(3), 300, 20, 0.0))
    proposal = propose_threshold(recordings, "hate", 0.75)
    assert proposal.threshold is not None
    place = GRID.index(proposal.threshold)
    for lower in GRID[:place]:
        kept = [r for r in recordings if r.scores and r.scores.joint[HATE] >= lower]
        of = Counter(r.context.stream_id for r in kept)
        right = Counter(r.context.stream_id for r in kept if r.truth["hate"])
        bound = _bound(np.array([right[n] for n in of]), np.array(list(of.values())), 0.95)
        assert bound is not None
        assert bound.low < 0.75


def test_figures_are_counted_plainly() -> None:
    """Precision, recall and share are counts of clips, on a sample that can be counted by hand."""
    recordings = [
        *(judge(0.9, truth=True, stream=f"a{n}") for n in range(60)),
        *(judge(0.3, truth=True, stream=f"b{n}") for n in range(20)),
        *(judge(0.2, truth=False, stream=f"c{n}") for n in range(120)),
    ]
    proposal = propose_threshold(recordings, "hate", 0.9)
    assert proposal.threshold == 0.21
    assert proposal.precision is not None
    assert proposal.recall is not None
    assert (proposal.precision.value, proposal.recall.value) == (1.0, 1.0)
    assert proposal.reached == 0.4
    assert msgspec.structs.asdict(proposal.sample) == {
        "clips": 200,
        "positives": 80,
        "streams": 200,
        "skipped": 0,
    }


def test_scores_meet_thresholds_as_the_engine_compares_them() -> None:
    """A score that a float32 holds a little under 0.7 does not reach the threshold 0.70."""
    right = [judge(0.7, truth=True, stream=f"a{n}") for n in range(200)]
    wrong = [judge(0.695, truth=False, stream=f"b{n}") for n in range(200)]
    assert propose_threshold(right, "hate", 0.9).threshold == 0.01
    assert propose_threshold([*right, *wrong], "hate", 0.9).threshold is None


def test_too_little_data_is_no_proposal() -> None:
    """Where no threshold is sure enough, there is none, and the best bound is told."""
    recordings = [judge(0.9, truth=True, stream=f"a{n}") for n in range(10)]
    proposal = propose_threshold(recordings, "hate", 0.95)
    assert (proposal.threshold, proposal.precision, proposal.reached) == (None, None, None)
    assert proposal.best_low == pytest.approx(binomtest(10, 10).proportion_ci(0.95).low)


def test_clips_that_nobody_judged_do_not_count() -> None:
    """Recordings without a truth for the label, or without scores, are left out and counted."""
    recordings = [judge(0.9, truth=True, stream=f"a{n}") for n in range(3)]
    other = msgspec.structs.replace(recordings[0], truth={"weapons": True})
    blind = msgspec.structs.replace(recordings[0], scores=None)
    assert propose_threshold([*recordings, other, blind], "hate", 0.9).sample.skipped == 2
    with pytest.raises(RecordsInvalid, match="no record says whether the clip shows hate"):
        propose_threshold([other, blind], "hate", 0.9)

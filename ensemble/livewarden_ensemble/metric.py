"""The metrics: one table of what is measured, and what one batch adds to it. Pure.

A label takes the values that the table lists, so that no caller can make a series: nothing that a
caller sent is ever one. Labels without a list name bundles and policies; of those a server meets
few, and only the latest are kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from livewarden_client.wire import (
    ACTIONS,
    LABELS,
    LEAVES,
    MODERATION,
    TEXT_ENCODER,
    VISION_ENCODER,
)
from livewarden_ensemble.course import STAGES
from livewarden_ensemble.coverage import FrameState, TextState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livewarden_ensemble.course import Course
    from livewarden_ensemble.pipeline import Outcome
    from livewarden_ensemble.routing import Answer
    from livewarden_ensemble.shadow import Comparison

Kind = Literal["counter", "gauge", "histogram"]
# Name of a metric and the values of its labels, in the table's order.
Series: TypeAlias = tuple[str, ...]

# Those that `livewarden bundle status` reads.
CLIPS: Final = "livewarden_clips_total"
SHADOW_CLIPS: Final = "livewarden_shadow_clips_total"
SHADOW_ACTIONS: Final = "livewarden_shadow_actions_total"
SHADOW_DIFFERENCE: Final = "livewarden_shadow_difference_total"

OTHER: Final = "other"  # stands for a value that the table does not list
NO_LABEL: Final = "none"  # the label of a verdict that no label decided
DECILES: Final = tuple(str(decile) for decile in range(10))

_LEAVES: Final = tuple(leaf.name for leaf in LEAVES)
# Of those that see the same frames, the first stands for all: their answers are kept together.
_ENCODERS: Final = (VISION_ENCODER.name, TEXT_ENCODER.name)
_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROLES: Final = ("live", "previous", "candidate", "canary", "shadow")
# Those that answer callers; the others answer whoever has the server's key.
# What a caller's clock may be off by: a day.
_MOST_TOLD_S: Final = 86_400.0
_CALLERS: Final = ("live", "canary")
_RESULTS: Final = ("same", "differs", "failed", "dropped")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its labels with the values that they take, and a histogram's upper bounds.

    A label without values is open; see the module.
    """

    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether a label takes values that are not listed."""
        return not all(self.labels.values())

    def list_series(self) -> list[tuple[str, ...]]:
        """All values of the labels together, where they are listed."""
        found: list[tuple[str, ...]] = [()]
        for values in self.labels.values():
            found = [(*before, value) for before in found for value in values]
        return found


# Of the pipeline, on Triton's own endpoint. The server's own canaries and shadows are left out of
# all that speaks of callers' clips.
PIPELINE: Final[Mapping[str, Metric]] = {
    "livewarden_verdicts_total": Metric(
        "counter",
        "Verdicts by action and by the label that decided",
        {"action": ACTIONS, "label": (*LABELS, NO_LABEL)},
    ),
    "livewarden_role_verdicts_total": Metric(
        "counter",
        "Verdicts by action and by the role of the bundle that answered",
        {"role": _CALLERS, "action": ACTIONS},
    ),
    "livewarden_degraded_total": Metric(
        "counter", "Verdicts on clips that were not fully seen", {"action": ACTIONS}
    ),
    "livewarden_refusals_total": Metric(
        "counter",
        "Clips refused as malformed, by the input that breaks the contract",
        {"input": tuple(tensor.name for tensor in MODERATION.inputs)},
    ),
    "livewarden_frames_total": Metric(
        "counter",
        "Frames by the state they ended in; `reused` are near-duplicates",
        {"state": tuple(FrameState)},
    ),
    "livewarden_texts_total": Metric(
        "counter", "Texts by the state they ended in", {"state": tuple(TextState)}
    ),
    "livewarden_leaf_failures_total": Metric(
        "counter",
        "Calls to a leaf without a usable answer, by cause",
        {"leaf": _LEAVES, "cause": ("model_error", "crossed_reply")},
    ),
    "livewarden_unscored_clips_total": Metric(
        "counter",
        "Clips that a leaf left unscored in part, by cause",
        {
            "leaf": _LEAVES,
            "cause": ("model_error", "crossed_reply", "not_finite", "not_a_score"),
        },
    ),
    "livewarden_stage_seconds": Metric(
        "histogram",
        "Time of a batch in each stage",
        {"stage": (*STAGES, "total")},
        _SECONDS,
    ),
    "livewarden_leaf_seconds": Metric(
        "histogram", "Time of a call to a leaf, its queue included", {"leaf": _LEAVES}, _SECONDS
    ),
    "livewarden_batch_clips": Metric(
        "histogram",
        "Clips that one run of the pipeline took together",
        buckets=tuple(float(size) for size in range(1, MODERATION.max_batch + 1)),
    ),
    "livewarden_clip_age_seconds": Metric(
        "histogram",
        "From captured_at_ms until the pipeline took the clip up, where a caller says it",
        buckets=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
    ),
    "livewarden_deadline_left_seconds": Metric(
        "histogram",
        "What was left until deadline_ms when the pipeline took the clip up",
        buckets=(0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
    ),
    "livewarden_scores_total": Metric(
        "counter",
        "Scores by label and by tenth of the range: 9 is 0.9 to 1",
        {"label": LABELS, "decile": DECILES},
    ),
    "livewarden_cache_hits_total": Metric(
        "counter", "Encoder inputs whose answer was kept", {"encoder": _ENCODERS}
    ),
    "livewarden_cache_misses_total": Metric(
        "counter", "Encoder inputs that an encoder was asked about", {"encoder": _ENCODERS}
    ),
    "livewarden_pipeline_failures_total": Metric("counter", "Batches that the pipeline failed on"),
    "livewarden_held_batches_total": Metric(
        "counter", "Batches whose verdicts were held back, because they could not be recorded"
    ),
    "livewarden_policy_reloads_total": Metric("counter", "Changed policy files taken over"),
    "livewarden_policy_refusals_total": Metric("counter", "Changed policy files refused"),
    "livewarden_policy_stale": Metric("gauge", "1 while the policy file on disk is refused"),
    "livewarden_policy_info": Metric(
        "gauge", "1 for the policy that decides", {"policy": (), "version": (), "digest": ()}
    ),
    "livewarden_bundle_info": Metric(
        "gauge", "1 for each bundle that the pointer names", {"bundle": (), "role": _ROLES}
    ),
    CLIPS: Metric(
        "counter", "Clips answered, by bundle and its role", {"bundle": (), "role": _ROLES}
    ),
    SHADOW_CLIPS: Metric(
        "counter",
        "Clips offered to a shadow, by what came of it",
        {"bundle": (), "result": _RESULTS},
    ),
    SHADOW_ACTIONS: Metric(
        "counter",
        "Clips on which a shadow would have acted otherwise, by both actions",
        {"bundle": (), "live": ACTIONS, "shadow": ACTIONS},
    ),
    SHADOW_DIFFERENCE: Metric(
        "counter",
        "Sum over the compared clips of the largest difference of a score",
        {"bundle": ()},
    ),
}


class Tally:
    """What is to be added to the metrics, in plain numbers: cheap to make, pushed at once."""

    def __init__(self) -> None:
        self.counts: defaultdict[Series, float] = defaultdict(float)
        self.observed: list[tuple[Series, float]] = []

    def add(self, *series: str, count: float = 1) -> None:
        """Count `count` on a counter: its name, then the values of its labels."""
        self.counts[series] += count

    def observe(self, value: float, *series: str) -> None:
        """Note a value of a histogram."""
        self.observed.append((series, value))


def tally_answers(answers: Sequence[Answer]) -> Tally:
    """What one execution of the pipeline adds: its clips, stages and calls to leaves."""
    tally = Tally()
    courses: dict[Course, None] = {}
    scores: list[NDArray[np.float32]] = []
    for answer in answers:
        tally.add(CLIPS, answer.bundle, answer.role)
        outcome = answer.outcome
        if outcome.course is not None:
            courses[outcome.course] = None
        if outcome.refusal is not None:
            tally.add("livewarden_refusals_total", outcome.refusal.pointer.split("/")[1])
        elif answer.role in _CALLERS and not outcome.canary:
            _tally_outcome(tally, outcome, answer.role)
            if outcome.scores is not None:
                scores.append(outcome.scores)
    for course in courses:
        _tally_course(tally, course)
    _tally_scores(tally, scores)
    return tally


def tally_cache(counts: Mapping[str, tuple[int, int]]) -> Tally:
    """Hits and misses of the cache by encoder."""
    tally = Tally()
    for encoder, (hits, misses) in counts.items():
        tally.add("livewarden_cache_hits_total", encoder, count=hits)
        tally.add("livewarden_cache_misses_total", encoder, count=misses)
    return tally


def tally_comparison(comparison: Comparison) -> Tally:
    """What a shadow said of one clip."""
    tally = Tally()
    bundle = comparison.bundle
    tally.add(SHADOW_CLIPS, bundle, comparison.result)
    if comparison.difference is not None:
        tally.add(SHADOW_DIFFERENCE, bundle, count=comparison.difference)
    if comparison.result == "differs":
        tally.add(SHADOW_ACTIONS, bundle, comparison.live_action, comparison.shadow_action)
    return tally


def _tally_outcome(tally: Tally, outcome: Outcome, role: str) -> None:
    verdict, context = outcome.verdict, outcome.context
    assert verdict is not None
    tally.add("livewarden_verdicts_total", verdict.action, verdict.label or NO_LABEL)
    tally.add("livewarden_role_verdicts_total", role, verdict.action)
    coverage = verdict.coverage
    if coverage.degraded:
        tally.add("livewarden_degraded_total", verdict.action)
    for name, modality in (
        ("livewarden_frames_total", coverage.frames),
        ("livewarden_texts_total", coverage.texts),
    ):
        counts = {state: len(items) for state, items in modality.states.items()}
        if ok := modality.sent - sum(counts.values()):
            tally.add(name, "ok", count=ok)
        for state, count in counts.items():
            tally.add(name, state, count=count)
    for leaf, cause in coverage.failed.items():
        tally.add("livewarden_unscored_clips_total", leaf, cause)
    if context is None:
        return
    if context.captured_at_ms is not None:
        age = (outcome.arrived_ms - context.captured_at_ms) / 1e3
        _observe_told(tally, age, "livewarden_clip_age_seconds")
    if context.deadline_ms is not None:
        left = (context.deadline_ms - outcome.arrived_ms) / 1e3
        _observe_told(tally, left, "livewarden_deadline_left_seconds")


def _observe_told(tally: Tally, seconds: float, name: str) -> None:
    """Observe what follows from a caller's clock, unless that is no clock: a sum never recovers."""
    if abs(seconds) <= _MOST_TOLD_S:
        tally.observe(seconds, name)


def _tally_course(tally: Tally, course: Course) -> None:
    for stage, milliseconds in course.measure_stages().items():
        tally.observe(milliseconds / 1e3, "livewarden_stage_seconds", stage)
    tally.observe(course.clips, "livewarden_batch_clips")
    for visit in course.visits:
        seconds = (visit.end_ns - visit.begin_ns) / 1e9
        tally.observe(seconds, "livewarden_leaf_seconds", visit.leaf)
        if visit.cause:
            tally.add("livewarden_leaf_failures_total", visit.leaf, visit.cause)


def _tally_scores(tally: Tally, scores: Sequence[NDArray[np.float32]]) -> None:
    """Count each score under its label and tenth; what was not scored counts nowhere."""
    if not scores:
        return
    table = np.stack(scores)
    tenths = np.clip(np.nan_to_num(table * 10, nan=-1.0), -1, 9).astype(np.int64)
    for column, label in enumerate(LABELS):
        for tenth, count in enumerate(np.bincount(tenths[:, column] + 1, minlength=11)[1:]):
            if count:
                tally.add("livewarden_scores_total", label, DECILES[tenth], count=int(count))

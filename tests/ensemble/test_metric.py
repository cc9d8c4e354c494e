from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from livewarden_client.wire import LABELS, LEAVES, MAX_MS, MIN_UNIX_MS
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.course import STAGES, Course
from livewarden_ensemble.meter import MOST_OPEN, Meter
from livewarden_ensemble.metric import OTHER, PIPELINE, Tally, tally_answers
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.routing import Answer
from livewarden_ensemble.server_metric import SERVER, ServerMetrics
from livewarden_ensemble.supervisor import Cause, Notice, Phase
from livewarden_ensemble.vitals import Beat, Pulse

NOW = 1_750_000_000_000
HOSTILE = 'x"}\n' + "y" * 300


class FakeMetric:
    """One series as Triton keeps it."""

    def __init__(self, labels: dict[str, str], buckets: list[float] | None) -> None:
        self.labels, self.buckets, self.value = labels, buckets, 0.0
        self.observed: list[float] = []

    def increment(self, by: float) -> None:
        """Add."""
        assert by >= 0
        self.value += by

    def set(self, value: float) -> None:
        """Set."""
        self.value = value

    def observe(self, value: float) -> None:
        """Note a value; Triton refuses that of anything but a histogram."""
        assert self.buckets
        self.observed.append(value)


class FakeFamily:
    """Triton's MetricFamily."""

    COUNTER, GAUGE, HISTOGRAM = range(3)

    def __init__(self, name: str, description: str, kind: int) -> None:
        assert name.startswith("livewarden_")
        assert description
        self.kind = kind

    def Metric(  # noqa: N802 - Triton's name
        self, labels: dict[str, str], buckets: list[float] | None = None
    ) -> FakeMetric:
        """One series; a histogram alone has buckets."""
        assert (buckets is not None) == (self.kind == self.HISTOGRAM)
        return FakeMetric(labels, buckets)


@pytest.fixture
def answer(make_pipeline: Callable[..., Pipeline]) -> Callable[..., list[Answer]]:
    """Answer clips with the fake leaves, as the live bundle unless told otherwise."""

    def answer(clips: list[RawClip], role: str = "live", **given: Any) -> list[Answer]:
        outcomes = make_pipeline(now_ms=lambda: NOW, **given).moderate(clips)
        return [Answer("b" * 12, role, outcome) for outcome in outcomes]

    return answer


def count_naively(answers: list[Answer]) -> Counter[tuple[str, str]]:
    """Frames and texts by state, one item after the other: the slow obvious reference."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in answers:
        coverage = one.outcome.verdict.coverage
        for name, modality in (("frames", coverage.frames), ("texts", coverage.texts)):
            for index in range(modality.sent):
                states = [s for s, places in modality.states.items() if index in places]
                counts[name, states[0] if states else "ok"] += 1
    return counts


def test_clips_are_counted_as_their_verdicts_say(answer: Any, clips: list[RawClip]):
    """Verdicts, item states and scores add up to what an item-by-item count finds."""
    answers = answer(clips)
    tally = tally_answers(answers)
    total = {name: sum(n for key, n in tally.counts.items() if key[0] == name) for name in PIPELINE}
    assert total["livewarden_verdicts_total"] == total["livewarden_clips_total"] == len(clips)
    assert total["livewarden_role_verdicts_total"] == len(clips)
    states = {
        (name.split("_")[1], state): count
        for (name, state, *_), count in tally.counts.items()
        if name in {"livewarden_frames_total", "livewarden_texts_total"}
    }
    assert states == count_naively(answers)
    scores = np.stack([one.outcome.scores for one in answers])
    for column, label in enumerate(LABELS):
        for decile in range(10):
            low, high = decile / 10, 1.01 if decile == 9 else (decile + 1) / 10
            inside = (scores[:, column] >= low - 1e-9) & (scores[:, column] < high - 1e-9)
            assert tally.counts["livewarden_scores_total", label, str(decile)] == inside.sum()


def test_a_batch_is_observed_once(answer: Any, clips: list[RawClip]):
    """Each stage, and the size of the batch, once for all of its clips; each call to a leaf."""
    tally = tally_answers(answer(clips))
    seen = Counter(series for series, _ in tally.observed)
    for stage in (*STAGES, "total"):
        assert seen["livewarden_stage_seconds", stage] == 1
    assert [v for s, v in tally.observed if s == ("livewarden_batch_clips",)] == [len(clips)]
    assert {series[1] for series in seen if series[0] == "livewarden_leaf_seconds"} == {
        leaf.name for leaf in LEAVES
    }


def test_age_and_time_left_are_seconds(answer: Any, make_clip: Any):
    """Both are measured from when the pipeline took the clip up, and only where they are said."""
    clips = [make_clip(captured_at_ms=NOW - 1500, deadline_ms=NOW + 250), make_clip()]
    tally = tally_answers(answer(clips))
    observed = {series[0]: value for series, value in tally.observed}
    assert observed["livewarden_clip_age_seconds"] == 1.5
    assert observed["livewarden_deadline_left_seconds"] == 0.25
    assert sum(series[0] == "livewarden_clip_age_seconds" for series, _ in tally.observed) == 1


def test_own_clips_are_no_callers(answer: Any, make_clip: Any):
    """Canaries, shadows and clips for a withdrawn bundle add no verdict and no score."""
    canary = make_clip([(255, 0, 0)], options={"canary": True, "server_key": "ab"})
    answers = [
        *answer([canary], is_own=lambda key: key == "ab"),
        *answer([make_clip([(255, 0, 0)])], role="shadow"),
        *answer([make_clip([(255, 0, 0)])], role="candidate"),
    ]
    names = {series[0] for series in tally_answers(answers).counts}
    assert names == {"livewarden_clips_total"}
    pretender = answer([canary], is_own=lambda _key: False)
    assert any(s[0] == "livewarden_verdicts_total" for s in tally_answers(pretender).counts)


def test_failed_leaves_are_counted_by_cause(answer: Any, make_clip: Any, leaves: Any):
    """A call with another's answer is a crossed reply, and the clip is unscored by that leaf."""

    def cross(_call: Any, arrays: Any) -> Any:
        arrays["echo"] = arrays["echo"] + 1
        return arrays

    leaves.spoil["vision_encoder"] = cross
    counts = tally_answers(answer([make_clip([(9, 9, 9)])])).counts
    assert counts["livewarden_leaf_failures_total", "vision_encoder", "crossed_reply"] == 1
    assert counts["livewarden_unscored_clips_total", "vision_encoder", "crossed_reply"] == 1
    assert sum(n for s, n in counts.items() if s[0] == "livewarden_degraded_total") == 1


def test_odd_input_makes_no_series(answer: Any, make_clip: Any):
    """Whatever callers send, the series are those that were there at the start."""
    meter = Meter(FakeFamily)
    meter.push(tally_answers(answer([make_clip()])))
    before = meter.count_series()
    odd = [
        make_clip(stream_id=HOSTILE, request_id=HOSTILE, nonce=HOSTILE[:60]),
        make_clip([b"junk", b""], [HOSTILE, b"\xff"], pass_through={HOSTILE: HOSTILE}),
        make_clip(region="x:y/z", surface="never-seen", room="r" * 60, audience="kids"),
        make_clip(options={"bundle": "f" * 64, "canary": True}),
        make_clip(nonsense=HOSTILE),
        RawClip(b"{", [], []),
        RawClip(b"[]" * 99, [b"x"] * 99, [b"y"]),
        *(make_clip(stream_id=str(n), clip_seq=n) for n in range(200)),
    ]
    meter.push(tally_answers(answer(odd)))
    assert meter.count_series() == before
    assert sum(metric.is_open for metric in PIPELINE.values()) == 6  # a look at each that is added


def test_a_value_that_is_not_listed_becomes_other():
    """A code that the table does not know costs one series in all."""
    meter = Meter(FakeFamily)
    before = meter.count_series()
    for number in range(50):
        meter.add("livewarden_leaf_failures_total", "vision_encoder", f"new{number}")
    assert meter.count_series() == before + 1
    series = meter._series["livewarden_leaf_failures_total"]
    assert series["vision_encoder", OTHER].value == 50


def test_open_labels_keep_their_latest():
    """Bundles that served long ago go; the one that is counted on stays."""
    meter = Meter(FakeFamily)
    for number in range(3 * MOST_OPEN):
        meter.add("livewarden_clips_total", f"b{number}", "live")
        meter.add("livewarden_clips_total", "first", "live")
    held = meter._series["livewarden_clips_total"]
    assert len(held) == MOST_OPEN
    assert held["first", "live"].value == 3 * MOST_OPEN


def test_a_pointer_gauge_shows_the_present_alone():
    """What no longer holds is set to 0 before it goes: another process may keep the series."""
    meter = Meter(FakeFamily)
    meter.point("livewarden_bundle_info", ("a", "live"), ("b", "canary"))
    gone = meter._series["livewarden_bundle_info"]["a", "live"]
    meter.point("livewarden_bundle_info", ("b", "live"))
    assert gone.value == 0
    assert {k: m.value for k, m in meter._series["livewarden_bundle_info"].items()} == {
        ("b", "live"): 1
    }


def test_series_exist_before_anything_happens():
    """A counter of the table is there at 0, so that its first increase can be seen."""
    meter = Meter(FakeFamily)
    for name, metric in PIPELINE.items():
        if not metric.is_open:
            assert set(meter._series[name]) == set(metric.list_series())
    assert meter.count_series() < 500


def test_times_of_a_course_follow_each_other():
    """Stages touch, none is negative, and the total is their sum."""
    course = Course(1)
    for _ in STAGES:
        course.end_stage()
    spans = course.list_spans()
    assert [stage for stage, _, _ in spans] == list(STAGES)
    assert all(begin <= end for _, begin, end in spans)
    assert all(one[2] == other[1] for one, other in itertools.pairwise(spans))
    times = course.measure_stages()
    assert times["total"] == pytest.approx(sum(times[stage] for stage in STAGES))


def test_a_tally_adds_what_is_not_whole():
    """Differences of scores are fractions."""
    tally = Tally()
    tally.add("livewarden_shadow_difference_total", "b", count=0.25)
    tally.add("livewarden_shadow_difference_total", "b", count=0.5)
    assert tally.counts["livewarden_shadow_difference_total", "b"] == 0.75


def test_the_supervisor_tells_its_restarts_and_phase():
    """What ailed the server is counted by cause, one phase is 1, and every series is there."""
    metrics = ServerMetrics()
    assert b'livewarden_server_phase{phase="starting"} 1.0' in metrics.render(ready=False)
    metrics.note(Notice(Phase.READY))
    metrics.note(Notice(Phase.HEALING, "a secret detail", Cause.HANG))
    canary = metrics.watch(lambda _url: Pulse(Beat.MISSED, "late"))
    assert canary("h:1") == Pulse(Beat.MISSED, "late")
    lines = metrics.render(ready=False).decode().splitlines()
    assert 'livewarden_server_restarts_total{cause="hang"} 1.0' in lines
    assert 'livewarden_server_restarts_total{cause="crossed"} 0.0' in lines
    assert 'livewarden_server_phase{phase="healing"} 1.0' in lines
    assert 'livewarden_server_phase{phase="ready"} 0.0' in lines
    assert "livewarden_server_ready 0.0" in lines
    assert 'livewarden_canary_seconds_count{beat="missed"} 1.0' in lines
    assert not any("secret" in line for line in lines)
    for name in SERVER:
        assert any(line.startswith(name) for line in lines)


def test_a_clock_that_is_none_is_not_observed(answer: Any, make_clip: Any):
    """One caller's absurd time would stay in the sum for ever; a clock that is off by hours may."""
    hour = 3_600_000
    clips = [
        make_clip(captured_at_ms=MAX_MS, deadline_ms=MAX_MS),
        make_clip(captured_at_ms=MIN_UNIX_MS),
        make_clip(captured_at_ms=NOW + hour, deadline_ms=NOW + hour),
    ]
    observed = tally_answers(answer(clips)).observed
    assert [value for (name, *_), value in observed if name == "livewarden_clip_age_seconds"] == [
        -3600
    ]
    assert [
        value for (name, *_), value in observed if name == "livewarden_deadline_left_seconds"
    ] == [3600]

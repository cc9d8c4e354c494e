import numpy as np
import pytest

from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.profile import make_profile_section, split_request
from livewarden_perf.samples import Samples
from livewarden_perf.server_statistics import ModelStatistics, subtract_statistics

MS = 1_000_000
TIMINGS = [
    {"read": 1, "decode": 20, "tokenise": 2, "encode": 100, "fuse": 5, "decide": 2, "total": 130},
    {"read": 1, "decode": 24, "tokenise": 2, "encode": 100, "fuse": 5, "decide": 2, "total": 134},
]
MODELS = {
    "moderation": ModelStatistics(2, 40 * MS, {1: 2}, {1: 260 * MS}),
    "vision_encoder": ModelStatistics(2, 2 * MS, {16: 1}, {16: 40 * MS}),
    "nsfw_encoder": ModelStatistics(2, 20 * MS, {8: 2}, {8: 160 * MS}),
    "text_encoder": ModelStatistics(2, 0, {3: 2}, {3: 20 * MS}),
    "fusion_classifier": ModelStatistics(2, 1 * MS, {1: 2}, {1: 6 * MS}),
}


def test_the_parts_add_up_to_the_request():
    """Nothing of the time between due and verdict is lost or counted twice."""
    parts = split_request(160.0, TIMINGS, MODELS)
    assert sum(part.ms for part in parts) == pytest.approx(160)
    found = {part.name: part.ms for part in parts}
    assert found["pipeline: queue"] == 20
    assert found["network, gRPC, Triton's copies"] == 160 - 20 - 132
    assert found["decode"] == 22
    assert found["nsfw_encoder: queue"] == 10
    assert found["nsfw_encoder: compute"] == 80
    assert found["encode: calls and copies"] == 10


def test_computing_is_averaged_over_rows():
    """A canary's one frame must not halve what eight frames of a clip take."""
    one = ModelStatistics(2, 0, {8: 1, 1: 1}, {8: 80 * MS, 1: 8 * MS})
    assert one.compute_ms == pytest.approx((8 * 80 + 8) / 9)
    assert one.rows_per_execution == 4.5


def test_statistics_are_those_between_two_readings():
    """What was counted before the run does not count; an unchanged batch size is left out."""
    before = {"m": ModelStatistics(3, 5 * MS, {1: 2, 8: 1}, {1: 2 * MS, 8: 9 * MS})}
    after = {"m": ModelStatistics(5, 9 * MS, {1: 2, 8: 3}, {1: 2 * MS, 8: 29 * MS})}
    here = subtract_statistics(after, before)["m"]
    assert here == ModelStatistics(2, 4 * MS, {8: 2}, {8: 20 * MS})
    assert here.queue_ms == 2


def samples(count):
    due = np.arange(count, dtype=float)
    return Samples(due, due, due, due + 0.16, np.ones(count, bool), ("",) * count, float(count))


def test_the_section_tells_waiting_from_computing():
    """20 + 10 + 0.5 of 160 ms is waiting: 19 %. Bars show each part once in all and in its kind."""
    section = make_profile_section(samples(2), TIMINGS, MODELS, "2 clips/s")
    assert "19% is waiting" in section.headline
    assert section.warnings == ()
    (chart,) = section.charts
    total, waiting, computing, moving = np.array(list(chart.series.values())).sum(0)
    assert total == pytest.approx(160)
    assert waiting == pytest.approx(30.5)
    assert waiting + computing + moving == pytest.approx(total)


def test_foreign_requests_are_reported():
    """Triton counts whatever comes; a busy canary must not pass for the clips of this run."""
    section = make_profile_section(samples(1), TIMINGS[:1], MODELS, "")
    assert "1 of 2 requests" in section.warnings[0]


def test_a_server_without_leaves_is_no_profile():
    """The error says what is missing."""
    with pytest.raises(MeasurementInvalid, match="nsfw_encoder"):
        make_profile_section(samples(1), TIMINGS, {"moderation": MODELS["moderation"]}, "")

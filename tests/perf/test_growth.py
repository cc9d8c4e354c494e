import dataclasses

import pytest

from livewarden_perf.growth import Point, fit_line, make_growth_section
from livewarden_perf.samples import Summary

RUN = Summary(
    clips=10,
    ok=10,
    failed={},
    offered_per_second=10,
    clips_per_second=10,
    latency_ms={"p50": 50.0, "p95": 90.0, "p99": 140.0, "p99.9": 150.0},
    judged_p99_ms=140.0,
    max_ms=150.0,
    lag_ms={"p50": 0.1, "p99": 1.0},
    generator_cpu_ms=1.0,
    generator_cores=0.01,
)


def test_a_line_is_found_again():
    """Points on 20 + 5 x give exactly that; the fit of scattered ones is below 1."""
    line = fit_line([1, 2, 8], [25, 30, 60])
    assert (line.slope, line.start, line.fit) == pytest.approx((5, 20, 1))
    assert fit_line([1, 2, 3], [1, 5, 2]).fit < 0.2
    assert fit_line([1, 2, 3], [4, 4, 4]).fit == 1


def test_the_slopes_are_per_frame():
    """Latency 20 + 10 a frame; 40 + 20 ms of server time: each shows as such."""

    def point(size):
        alone = dataclasses.replace(RUN, latency_ms={**RUN.latency_ms, "p50": 20.0 + 10 * size})
        return Point(size, alone, dataclasses.replace(RUN, clips_per_second=1e3 / (40 + 20 * size)))

    points = [point(size) for size in (1, 2, 4)]
    section = make_growth_section({"frames": points, "streams": points}, 8, 4.0)
    assert section.figures["one frame more: latency, p50"] == "+10.00 ms on 20.0 ms (R² 1.00)"
    assert section.figures["one frame more: server time per clip"].startswith("+20.00 ms on 40.0")
    assert "one stream more: server time per clip" not in section.figures
    assert section.data["frames"]["lines"]["cost"]["slope_ms"] == pytest.approx(20)
    assert len(section.tables) == len(section.charts) == 2

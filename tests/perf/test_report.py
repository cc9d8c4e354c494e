import io
import json

import pytest
from rich.console import Console

from livewarden_perf.closed_loop import LoadResult
from livewarden_perf.report import describe_smoke, describe_stages, render_smoke, render_stages
from livewarden_perf.smoke import SmokeResult
from livewarden_perf.stages import StageCosts

COSTS = StageCosts({"decode": 20.0, "nsfw_encoder": 30.0}, elapsed_ms=51.5, runs=8, cores=2)
LOAD = LoadResult(4, 30.0, p50_ms=100.4, p90_ms=110.0, p95_ms=120.0, p99_ms=140.0)


def draw(table):
    out = io.StringIO()
    Console(file=out, width=100).print(table)
    return out.getvalue()


def test_the_ratio_is_throughput_over_the_limit():
    """30 of 40 clips a second; without stage costs there is no ratio."""
    assert SmokeResult(LOAD, "2.51.0", COSTS).ratio == pytest.approx(0.75)
    assert SmokeResult(LOAD, "2.51.0").ratio is None


def test_json_holds_every_figure():
    """The data survives JSON and names units."""
    data = json.loads(json.dumps(describe_smoke(SmokeResult(LOAD, "2.51.0", COSTS))))
    assert data["clips_per_second"] == 30
    assert data["latency_ms"] == {"p50": 100.4, "p90": 110, "p95": 120, "p99": 140}
    assert data["ratio"] == 0.75
    assert data["machine"] == describe_stages(COSTS)
    assert data["machine"]["limit_clips_per_second"] == 40
    assert data["machine"]["stages_ms"] == {"decode": 20, "nsfw_encoder": 30}
    assert describe_smoke(SmokeResult(LOAD, "2.51.0"))["machine"] is None


def test_figures_from_a_busy_machine_are_marked():
    """A ratio that other programs pulled down must not be quoted as ours."""
    busy = StageCosts(COSTS.stages, elapsed_ms=80.0, runs=8, cores=2)
    assert describe_stages(busy)["disturbed"] is True
    assert describe_stages(COSTS)["disturbed"] is False
    assert "Other programs" in draw(render_smoke(SmokeResult(LOAD, "2.51.0", busy)))
    assert "Other programs" not in draw(render_smoke(SmokeResult(LOAD, "2.51.0", COSTS)))


def test_tables_show_what_people_look_for():
    """Throughput, percentiles, the limit and the ratio; each stage with its share."""
    smoke = draw(render_smoke(SmokeResult(LOAD, "2.51.0", COSTS)))
    for part in ("30.0 clips/s", "100 ms", "120 ms", "140 ms", "40.0 clips/s", "0.75"):
        assert part in smoke
    assert "limit" not in draw(render_smoke(SmokeResult(LOAD, "2.51.0")))
    stages = draw(render_stages(COSTS))
    for part in ("decode", "40.0%", "nsfw_encoder", "60.0%", "50.00", "40.0 clips/s"):
        assert part in stages

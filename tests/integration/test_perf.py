from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from livewarden_ensemble.server import Server
from livewarden_perf.analyzer import find_analyzer
from livewarden_perf.cli import perf
from livewarden_perf.smoke import run_smoke

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    """A server that remembers nothing: what is measured is computed."""
    with Server(repository, grpc_port=0, http_port=0, metrics_port=0, cache_mib=0) as server:
        server.wait_ready(120)
        yield server


def test_the_real_perf_analyzer_drives_the_pipeline(server: Server) -> None:
    """perf_analyzer finds every input that it needs, and the pipeline answers all it sends."""
    result = run_smoke(find_analyzer(), server.grpc_url, concurrency=2, seconds=3)
    assert result.load.clips_per_second > 0


def invoke(
    server: Server, tmp_path: Path, *arguments: str, codes: tuple[int, ...] = (0,)
) -> dict[str, Any]:
    """Run a command of `livewarden perf` against the server; give its section of the report."""
    output = tmp_path / "reports"
    command = [*arguments, "--url", server.grpc_url, "--distinct", "2", "--output", str(output)]
    result = CliRunner().invoke(perf, [*command, "--json"], catch_exceptions=False)
    assert result.exit_code in codes, result.stderr
    assert "<svg" in (output / "report.html").read_text()
    report: dict[str, Any] = json.loads(result.stdout)
    assert {"processor", "server", "bundle", "policy"} <= report["machine"].keys()
    assert report == json.loads((output / "report.json").read_text())
    section: dict[str, Any] = report["sections"][0]
    return section


def test_load_gets_every_clip_back_with_its_stream(server: Server, tmp_path: Path) -> None:
    """Mixed clips of three streams, in bursts: every verdict is full, and none is lost."""
    mix = ["--mix", "one-frame,text-only", "--schedule", "burst", "--streams", "3"]
    section = invoke(server, tmp_path, "load", "--rate", "6", "--seconds", "2", *mix)
    assert section["data"]["ok"] == section["data"]["clips"] == 12


def test_a_profile_adds_up(server: Server, tmp_path: Path) -> None:
    """The parts are the whole, and most of it is computing."""
    data = invoke(server, tmp_path, "profile", "--rate", "3", "--seconds", "3")["data"]
    assert sum(part["ms"] for part in data["parts"]) == pytest.approx(data["mean_ms"], rel=0.01)
    assert data["models"]["nsfw_encoder"]["rows_per_execution"] > 1


def test_the_search_ends_with_a_rate_or_says_that_none_holds(
    server: Server, tmp_path: Path
) -> None:
    """Exit code 0 comes with a rate that held, and 1 with none; trials are in the report."""
    more = ["--p99", "400ms", "--start", "4", "--seconds", "0.5", "--mix", "one-frame"]
    section = invoke(server, tmp_path, "slo", *more, codes=(0, 1))
    data = section["data"]
    assert data["trials"][0]["rate"] == 4
    assert any(one["holds"] for one in data["trials"]) >= bool(data["rate"])
    assert ("No rate" in section["headline"]) == (data["rate"] == 0)


def test_overload_counts_what_came_back(server: Server, tmp_path: Path) -> None:
    """Each clip of the schedule is answered one way or another."""
    more = ["--peak", "3", "--seconds", "1", "--timeout", "5"]
    data = invoke(server, tmp_path, "overload", *more)["data"]
    assert data["unanswered"] == 0
    assert data["phases"]["flood"]["clips"] == 9


def test_growth_and_memory_measure_a_server(server: Server, tmp_path: Path) -> None:
    """Two sizes give a line; every process of the server has a size."""
    more = ["--axis", "texts", "--most", "2", "--seconds", "0.5", "--callers", "2"]
    lines = invoke(server, tmp_path, "growth", *more)["data"]["texts"]["lines"]
    assert lines["latency"]["r2"] == 1
    more = ["--pid", str(server.pid), "--minutes", "0.05", "--interval", "0.2", "--rate", "1"]
    sizes = invoke(server, tmp_path, "memory", *more)["data"]["mb"]
    assert sizes.keys() >= {"tritonserver", "vision_encoder_0_0", "shared memory"}
    assert min(size for series in sizes.values() for size in series) > 10


def test_a_server_is_no_regression_of_itself(server: Server, tmp_path: Path) -> None:
    """Six pairs against the same address; only a machine gone mad makes it ten times slower."""
    output = tmp_path / "reports"
    sides = [server.grpc_url] * 2
    more = ["--pairs", "6", "--seconds", "0.2", "--bound", "10", "--mix", "text-only"]
    command = ["compare", *sides, *more, "--distinct", "2", "--output", str(output), "--json"]
    result = CliRunner().invoke(perf, command, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["sections"][0]["data"]["regression"] is False


def test_perf_analyzer_sweeps_callers(server: Server, tmp_path: Path) -> None:
    """Callers and a rate, each a run of its own."""
    more = ["--concurrency", "2", "--rate", "6", "--mix", "text-only", "--seconds", "3"]
    runs = invoke(server, tmp_path, "run", *more)["data"]["runs"]
    assert [one["concurrency"] for one in runs] == [2, None]
    assert runs[1]["rate"] == 6


def test_client_and_tritonclient_are_asked_in_turns(server: Server) -> None:
    """Against a real server both have their figures, from the same number of calls."""
    url = server.grpc_url
    told = CliRunner().invoke(perf, ["client", "--url", url, "--seconds", "0.5", "--json"])
    assert told.exit_code == 0, told.stderr
    cost = json.loads(told.stdout)
    assert cost["calls"] > 0
    assert cost["raw_ms"]["p50"] > 0
    assert cost["client_ms"]["p50"] > 0

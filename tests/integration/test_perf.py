from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from livewarden_ensemble.server import Server
from livewarden_perf.analyzer import find_analyzer
from livewarden_perf.cli import perf
from livewarden_perf.smoke import run_smoke

pytestmark = pytest.mark.integration


def test_the_real_perf_analyzer_drives_the_pipeline(server: Server) -> None:
    """perf_analyzer finds every input that it needs, and the pipeline answers all it sends."""
    result = run_smoke(find_analyzer(), server.grpc_url, concurrency=2, seconds=3)
    assert result.load.clips_per_second > 0


def test_client_and_tritonclient_are_asked_in_turns(server: Server) -> None:
    """Against a real server both have their figures, from the same number of calls."""
    url = server.grpc_url
    told = CliRunner().invoke(perf, ["client", "--url", url, "--seconds", "0.5", "--json"])
    assert told.exit_code == 0, told.stderr
    cost = json.loads(told.stdout)
    assert cost["calls"] > 0
    assert cost["raw_ms"]["p50"] > 0
    assert cost["client_ms"]["p50"] > 0

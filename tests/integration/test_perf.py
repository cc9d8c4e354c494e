from __future__ import annotations

import pytest

from livewarden_ensemble.server import Server
from livewarden_perf.analyzer import find_analyzer
from livewarden_perf.smoke import run_smoke

pytestmark = pytest.mark.integration


def test_the_real_perf_analyzer_drives_the_pipeline(server: Server) -> None:
    """perf_analyzer finds every input that it needs, and the pipeline answers all it sends."""
    result = run_smoke(find_analyzer(), server.grpc_url, concurrency=2, seconds=3)
    assert result.load.clips_per_second > 0

from functools import partial

import pytest

from livewarden_client.client import Client
from livewarden_client.errors import Unavailable
from livewarden_client.fake import FakeTransport
from livewarden_client.verdict import (
    Coverage,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Verdict,
)
from livewarden_client.verdict_json import verdict_to_json
from livewarden_perf import smoke as module
from livewarden_perf.analyzer import Analyzer
from livewarden_perf.closed_loop import LoadResult
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.smoke import run_smoke

LOAD = LoadResult(2, 30.0, p50_ms=1, p90_ms=2, p95_ms=3, p99_ms=4)
SCORED = Coverage(ModalityCoverage(8, 8, 8), ModalityCoverage(3, 3, 3))
DEGRADED = Coverage(
    ModalityCoverage(8, 8, 0),
    ModalityCoverage(3, 3, 3),
    failed={"nsfw_encoder": "model_error"},
    degraded=True,
)


def answer(coverage, request):
    """Answer with an empty verdict of this coverage."""
    return verdict_to_json(
        Verdict(
            request_id=request.request_id,
            nonce=request.nonce,
            action="review",
            reasons=(),
            labels=(),
            evidence=(),
            coverage=coverage,
            provenance=Provenance("0", {}, "0", PolicyRef("p", "1", "0"), "t1.0", 1, "fake"),
            timings_ms={},
        )
    ).encode()


def down(_request):
    raise Unavailable("nobody is there")


@pytest.fixture
def smoke(monkeypatch):
    """Run the smoke test against a fake server; says what was loaded in `loaded`."""

    def run(reply):
        transport = FakeTransport(reply)
        monkeypatch.setattr(module, "Client", partial(Client, transport=transport))
        return run_smoke(Analyzer("none", "2.51.0"), "127.0.0.1:1", concurrency=2, seconds=3)

    run.loaded = []

    def load(_analyzer, url, clips, *, concurrency, seconds):
        run.loaded.append((url, clips, concurrency, seconds))
        return LOAD

    monkeypatch.setattr(module, "run_closed_loop", load)
    return run


def test_a_server_that_scores_is_loaded_with_distinct_clips(smoke):
    """Sixteen standard clips, and no two of their frames alike."""
    result = smoke(partial(answer, SCORED))
    assert result.load == LOAD
    assert result.analyzer_version == "2.51.0"
    ((url, clips, concurrency, seconds),) = smoke.loaded
    assert (url, concurrency, seconds) == ("127.0.0.1:1", 2, 3)
    assert len({frame for clip in clips for frame in clip.frames}) == 16 * 8


def test_a_server_that_skips_work_is_not_measured(smoke):
    """Its figures would be good, and about nothing; the message names the model."""
    with pytest.raises(MeasurementInvalid, match="nsfw_encoder failed"):
        smoke(partial(answer, DEGRADED))
    assert smoke.loaded == []


def test_a_server_that_is_down_is_named(smoke):
    """The message says where nobody answered."""
    with pytest.raises(MeasurementInvalid, match=r"127\.0\.0\.1:1 gives no verdict"):
        smoke(down)
    assert smoke.loaded == []

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from livewarden_client.clip import Text
from livewarden_ensemble.bundle import read_pointer
from livewarden_ensemble.server import Server
from livewarden_ensemble.watch.cli import watch
from livewarden_ensemble.watch.cut import share_out
from livewarden_ensemble.watch.moment import Moment
from livewarden_ensemble.watch.session import Judge, Rehearsal, serve, watch_sides

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "policies" / "default.yaml"
PATIENT = ROOT / "examples" / "watch" / "patient.yaml"
SCAM = "free crypto giveaway!! send me your seed phrase and i double your coins"
RATE = 8


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds in which something moves."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number in range(6 * RATE):
            pixels = np.full((90, 160, 3), 200, np.uint8)
            pixels[:, number * 3 : number * 3 + 20] = (30, 90, 160)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def rehearsal(video: Path) -> Rehearsal:
    texts = [Text("chat", "good morning", 200), Text("chat", SCAM, 2100), Text("chat", "hm", 4100)]
    return Rehearsal(
        video, share_out(texts, 1000), 1000, 4, {"region": "DE"}, began_ms=1_767_225_600_000
    )


def keep(moments: Iterable[Moment]) -> tuple[Moment, ...]:
    return tuple(moments)


def decide(moments: Iterable[Moment]) -> list[object]:
    """What was decided, without what differs from run to run."""
    return [
        (one.verdict.action, one.verdict.label, one.verdict.reasons, one.verdict.labels)
        for one in moments
    ]


def test_deciding_again_gives_what_sending_again_gives(
    rehearsal: Rehearsal, repository: Path, tmp_path: Path
) -> None:
    """The cheap way to a second policy ends, clip for clip, as a second pass does."""
    judges = [Judge(DEFAULT), Judge(PATIENT)]
    (first, sent), (again, cheap) = watch_sides(rehearsal, repository, judges, [keep, keep])
    assert (sent, cheap) == ("sent", "decided again")
    with serve(repository, PATIENT, tmp_path) as server:
        passed = keep(rehearsal.watch(server.grpc_url))
    assert decide(again) == decide(passed)
    assert decide(first) != decide(again)
    assert first[2].verdict.action == "block"
    assert all(one.thumbnail for one in first)


def test_a_bundle_is_compared_on_a_repository_of_its_own(
    rehearsal: Rehearsal, repository: Path
) -> None:
    """The same bundle staged apart gives the same verdicts, and the live pointer stays."""
    pipeline = repository / "moderation"
    before = (pipeline / "live.json").read_bytes()
    bundle = (pipeline / read_pointer(pipeline).path).resolve()
    judges = [Judge(DEFAULT), Judge(DEFAULT, bundle)]
    (first, _), (second, way) = watch_sides(rehearsal, repository, judges, [keep, keep])
    assert way == "sent"
    assert decide(first) == decide(second)
    assert (pipeline / "live.json").read_bytes() == before


def test_the_command_watches_a_server_that_runs(
    server: Server, video: Path, tmp_path: Path
) -> None:
    """One line a clip without a terminal, a summary, and the report; texts too late are told."""
    chat = tmp_path / "chat.jsonl"
    lines = ({"t": 2.1, "text": SCAM}, {"t": 99, "text": "late"})
    chat.write_text("\n".join(map(json.dumps, lines)))
    report = tmp_path / "report.html"
    args = [video, "--chat", chat, "--server", server.grpc_url, "--title", "t", "--report", report]
    result = CliRunner().invoke(watch, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    assert result.output.count("clip ") == 3
    assert "× block" in result.output
    assert "1 texts are later than the video's end" in result.output
    page = report.read_text()
    assert SCAM in page
    assert "1 texts are later" in page

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livewarden_client import Client, Clip, Text, Transport, Verdict
from livewarden_client import errors as errors_module
from livewarden_client.errors import (
    FarSideFailed,
    InvalidRequest,
    ModerationError,
    Overloaded,
    ServerError,
)
from livewarden_client.grpc_transport import GrpcTransport
from livewarden_client.request import Request, build_request
from livewarden_client.testing import FakeTransport, RecordingTransport, ReplayTransport

CLIPS = (
    Clip([b"jpeg-1", b"jpeg-2", b"jpeg-1"], [Text("chat", "hällo")], region="DE"),
    Clip(texts=[Text("chat", b"\xff\xfe broken"), Text("title", "lone \ud800")]),
    Clip(frames_rgb=np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)),
    Clip(frames_rgb=np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(1, 8, 4, 3)),
    Clip(stream_id="s", clip_seq=3, state="token", pass_through={"a": [1]}),
)


def judge(verdict: Verdict, request: Request) -> Verdict:
    """Give a verdict that tells the requests apart, and knows what came back."""
    context = json.loads(request.context)
    parts = (request.frames, request.texts, context.get("clip_seq"), request.frames_rgb is None)
    shape = None if request.frames_rgb is None else request.frames_rgb.shape
    return replace(verdict, flags=(repr((parts, shape)),), pass_through=context.get("pass_through"))


@pytest.fixture
def recording(verdict: Verdict, tmp_path: Path) -> Path:
    """A recording of one exchange for each clip."""
    inner = FakeTransport(lambda request: judge(verdict, request))
    with Client(transport=RecordingTransport(inner, tmp_path / "case")) as client:
        for clip in CLIPS:
            client.moderate(clip)
    assert inner.closed
    return tmp_path / "case"


def test_replay_answers_as_the_server_did(verdict: Verdict, recording: Path) -> None:
    """Each clip gets its own verdict back, in any order, under the new call's own id and nonce."""
    with Client(transport=ReplayTransport(recording)) as client:
        assert client.is_ready()
        for index, clip in reversed([*enumerate(CLIPS)]):
            named = replace(clip, request_id=f"again-{index}")
            got = client.moderate(named, timeout=60)
            expected = judge(verdict, build_request(clip, 5))
            assert got == replace(expected, request_id=f"again-{index}", nonce=got.nonce)


def test_media_are_kept_once_and_named_by_digest(recording: Path) -> None:
    """The folder holds exactly what the module's format says."""
    lines = [json.loads(line) for line in (recording / "exchanges.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == [{"format", "request", "verdict"}] * len(CLIPS)
    first = lines[0]["request"]
    assert first["frames"][0] == first["frames"][2] != first["frames"][1]
    assert first["context"] == {"region": "DE", "texts": [{"kind": "chat"}]}
    media = {path.name for path in (recording / "media").iterdir()}
    # Two frames; both arrays have the same bytes.
    assert len(media) == 3
    assert (recording / "media" / first["frames"][1]).read_bytes() == b"jpeg-2"
    assert lines[2]["request"]["frames_rgb"]["media"] in media


def test_no_field_of_one_call_is_kept(recording: Path) -> None:
    """Nonce, request id and deadline are in no line: they are no content."""
    text = (recording / "exchanges.jsonl").read_text()
    for name in ("nonce", "request_id", "deadline_ms"):
        assert f'"{name}"' not in text


@pytest.mark.parametrize(
    "other",
    [
        replace(CLIPS[0], frames=[b"jpeg-1"]),
        replace(CLIPS[0], frames=[b"jpeg-2", b"jpeg-1", b"jpeg-1"]),
        replace(CLIPS[0], texts=[Text("chat", "hello")]),
        replace(CLIPS[0], texts=[Text("title", "hällo")]),
        replace(CLIPS[0], region="AT"),
        replace(CLIPS[4], state="another"),
        Clip(),
    ],
)
def test_what_was_not_recorded_is_refused(recording: Path, other: Clip) -> None:
    """A clip that differs anywhere gets no other clip's verdict, and no content is quoted."""
    with (
        Client(transport=ReplayTransport(recording)) as client,
        pytest.raises(InvalidRequest, match="'case', which has 5 different ones") as caught,
    ):
        client.moderate(other)
    assert "hällo" not in str(caught.value)


def test_ignored_fields_may_differ(recording: Path) -> None:
    """A field that changes from run to run can be left out of the comparison."""
    later = replace(CLIPS[0], captured_at_ms=1_700_000_000_000)
    with Client(transport=ReplayTransport(recording)) as client, pytest.raises(InvalidRequest):
        client.moderate(later)
    with Client(transport=ReplayTransport(recording, ignore=["captured_at_ms"])) as client:
        assert client.moderate(later).action == "block"


def test_answers_to_the_same_clip_come_in_order(verdict: Verdict, tmp_path: Path) -> None:
    """A failure and then a verdict are replayed as that; the last answer stays."""
    answers: list[Any] = [Overloaded("the queue is full"), verdict]

    def answer(_request: Request) -> Verdict:
        given = answers.pop(0)
        if isinstance(given, ModerationError):
            raise given
        return given

    def ask(transport: Transport) -> tuple[type, str]:
        try:
            answer = transport.infer(build_request(Clip(), 5))
            return Verdict, json.loads(answer.result())["action"]
        except Overloaded as error:
            return Overloaded, str(error)

    recorder = RecordingTransport(FakeTransport(answer), tmp_path / "r")
    first = [ask(recorder), ask(recorder)]
    assert [kind for kind, _ in first] == [Overloaded, Verdict]
    replay = ReplayTransport(tmp_path / "r")
    assert [ask(replay), ask(replay), ask(replay)] == [*first, first[1]]


def list_errors() -> list[type[ModerationError]]:
    kinds = [kind for kind in vars(errors_module).values() if isinstance(kind, type)]
    return [kind for kind in kinds if issubclass(kind, ModerationError)]


@pytest.mark.parametrize("kind", list_errors())
@pytest.mark.parametrize("when", ["at once", "late"])
def test_every_error_comes_back_as_itself(
    tmp_path: Path, kind: type[ModerationError], when: str
) -> None:
    """Errors that the call raises, and errors that the future brings, keep kind and message."""

    class Failing(FakeTransport):
        def infer(self, request: Request) -> Future[bytes]:
            if when == "at once":
                raise kind("because")
            return super().infer(request)

    inner = Failing(lambda _: (_ for _ in ()).throw(kind("because")))
    request = build_request(Clip(), 5)
    recorder = RecordingTransport(inner, tmp_path / "r")
    with pytest.raises(kind):
        recorder.infer(request).result()
    error = ReplayTransport(tmp_path / "r").infer(request).exception()
    assert type(error) is kind
    assert str(error) == "because"


def test_details_of_an_error_come_back(tmp_path: Path) -> None:
    """Code that looks at `field`, or at what later clients add, can be tested as well."""

    def refuse(_request: Request) -> Verdict:
        error = InvalidRequest("no", "/context/region")
        vars(error).update(retry_after=1.5, request_id="of one call", cause=object())
        raise error

    request = build_request(Clip(), 5)
    RecordingTransport(FakeTransport(refuse), tmp_path / "r").infer(request)
    error = ReplayTransport(tmp_path / "r").infer(request).exception()
    assert isinstance(error, InvalidRequest)
    assert vars(error) == {"field": "/context/region", "retry_after": 1.5}


def test_error_of_a_newer_client_is_a_failure_of_the_far_side(recording: Path) -> None:
    """A kind that this client does not know is still no verdict."""
    file = recording / "exchanges.jsonl"
    line = json.loads(file.read_text().splitlines()[0])
    del line["verdict"]
    line["error"] = {"kind": "Path", "message": "new"}
    file.write_text(json.dumps(line) + "\n")
    error = ReplayTransport(recording).infer(build_request(CLIPS[0], 5)).exception()
    assert type(error) is FarSideFailed


@pytest.mark.parametrize("raw", [b"\xff", b"[]", b"nonsense"])
def test_answer_that_is_no_verdict_is_kept_as_an_error(tmp_path: Path, raw: bytes) -> None:
    """The caller gets the bytes as they came; the replay fails in the same way."""
    request = build_request(Clip(), 5)
    recorder = RecordingTransport(FakeTransport(lambda _: raw), tmp_path / "r")
    assert recorder.infer(request).result() == raw
    error = ReplayTransport(tmp_path / "r").infer(request).exception()
    assert isinstance(error, ServerError)


def test_late_answer_is_recorded_when_it_comes(verdict: Verdict, tmp_path: Path) -> None:
    """What nobody waits for any more is an exchange like any other, from its end on."""
    late: Future[bytes] = Future()
    request = build_request(Clip(), 5)
    recorder = RecordingTransport(FakeTransport(lambda _: late), tmp_path / "r")
    kept = recorder.infer(request)
    assert not kept.done()
    assert (tmp_path / "r" / "exchanges.jsonl").read_text() == ""
    late.set_result(FakeTransport(lambda _: verdict).infer(request).result())
    assert kept.done()
    answer = ReplayTransport(tmp_path / "r").infer(request)
    assert json.loads(answer.result()) == json.loads(kept.result())


def test_cancelled_call_is_not_recorded(tmp_path: Path) -> None:
    """A call that never went out is no exchange."""
    pending: Future[bytes] = Future()
    recorder = RecordingTransport(FakeTransport(lambda _: pending), tmp_path / "r")
    kept = recorder.infer(build_request(Clip(), 5))
    pending.cancel()
    assert kept.cancelled()
    assert (tmp_path / "r" / "exchanges.jsonl").read_text() == ""


def test_full_disk_reaches_the_caller(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange that cannot be kept is no silent gap in the recording."""
    recorder = RecordingTransport(FakeTransport(lambda _: verdict), tmp_path / "r")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder, "_keep", fail)
    with pytest.raises(OSError, match="No space"):
        recorder.infer(build_request(Clip(), 5)).result()


def test_existing_folder_is_refused(recording: Path) -> None:
    """A recording is never mixed with another, nor overwritten."""
    with pytest.raises(InvalidRequest, match="'case' exists already"):
        RecordingTransport(FakeTransport(lambda _: b""), recording)


def test_what_is_no_recording_is_refused(recording: Path, tmp_path: Path) -> None:
    """A missing folder, a foreign line and another format are named with their place."""
    with pytest.raises(InvalidRequest, match=r"'nowhere' is no recording"):
        ReplayTransport(tmp_path / "nowhere")
    file = recording / "exchanges.jsonl"
    for line in ("no json", "[]", '{"format": "livewarden.exchange/v2"}'):
        file.write_text(file.read_text().splitlines()[0] + "\n" + line + "\n")
        with pytest.raises(InvalidRequest, match=r"case/exchanges\.jsonl:2 is no exchange"):
            ReplayTransport(recording)


def test_real_transport_is_recorded(kserve: Any, tmp_path: Path) -> None:
    """16 threads over gRPC: every exchange is one whole line, and replays."""
    transport = RecordingTransport(GrpcTransport(kserve.address), tmp_path / "r")
    clips = [Clip([b"x" * 100_000], clip_seq=number) for number in range(64)]
    with Client(transport=transport, timeout=30) as client, ThreadPoolExecutor(16) as pool:
        got = list(pool.map(client.moderate, clips))
    assert len((tmp_path / "r" / "exchanges.jsonl").read_text().splitlines()) == 64
    with Client(transport=ReplayTransport(tmp_path / "r")) as client:
        for clip, verdict in zip(clips, got, strict=True):
            again = client.moderate(clip)
            own = {"nonce": again.nonce, "request_id": again.request_id}
            assert again == replace(verdict, **own)

from __future__ import annotations

import io
import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from livewarden_client import Client, Clip, Text
from livewarden_client.request import build_request
from livewarden_client.wire import LABELS
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.server import Server
from livewarden_perf.standard_clip import standard_clip

pytestmark = pytest.mark.integration

CANARY = "canary7f3a"


def jpeg(width: int = 320, height: int = 240, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).save(out, "JPEG", quality=90)
    return out.getvalue()


def mixed_clip(index: int) -> Clip:
    """Clips of unlike shapes: 0 to 6 frames, 0 to 3 texts, never both zero."""
    texts = [Text("chat", f"well played number {index}"), Text("title", "late night run")]
    frames = [jpeg(seed=100 * index + n) for n in range(index % 7)]
    return Clip(frames, texts[: 1 + index % 2], stream_id="s", clip_seq=index)


def test_a_real_clip_is_scored_by_every_stage(client: Client) -> None:
    """Eight video frames and three texts: full coverage, 14 labels, full provenance."""
    verdict = client.moderate(standard_clip(0))
    assert not verdict.coverage.degraded
    assert (verdict.coverage.frames.scored, verdict.coverage.texts.scored) == (8, 3)
    assert tuple(label.id for label in verdict.labels) == LABELS
    assert len(verdict.provenance.bundle) == 64 or verdict.provenance.bundle
    assert set(verdict.timings_ms) >= {"decode", "encode", "fuse", "total"}


def test_server_and_single_process_agree(client: Client, local_pipeline: Pipeline) -> None:
    """The served scores are those of the same models called one by one in one process."""
    clip = standard_clip(1)
    asked = build_request(clip, timeout=600)
    raw = RawClip(asked.context, clip.frames, [text.encode() for text in clip.texts])
    [alone] = local_pipeline.moderate([raw])
    served = client.moderate(clip)
    assert alone.scores is not None
    np.testing.assert_allclose([x.score for x in served.labels], alone.scores, atol=1e-3)
    assert alone.verdict is not None
    assert served.action == alone.verdict.action


def test_200_clips_from_16_threads_equal_themselves_alone(client: Client) -> None:
    """Batching with strangers changes no verdict, and every clip gets exactly one."""
    clips = [mixed_clip(index) for index in range(50)]
    alone = [client.moderate(clip) for clip in clips]
    with ThreadPoolExecutor(16) as pool:
        crowd = list(pool.map(lambda n: client.moderate(clips[n % 50]), range(200)))
    assert len(crowd) == 200
    for n, verdict in enumerate(crowd):
        golden = alone[n % 50]
        assert verdict.clip_seq == golden.clip_seq
        assert verdict.action == golden.action
        assert verdict.coverage == golden.coverage
        for got, want in zip(verdict.labels, golden.labels, strict=True):
            assert got.score == pytest.approx(want.score, abs=1e-3), got.id


def webp_bomb() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(out, "WEBP", lossless=True)
    return out.getvalue()


GOOD = jpeg()

DAMAGED = {
    "undecodable": ([b"not an image at all"], [], "unsupported"),
    "truncated": ([GOOD[: len(GOOD) // 2]], [], "corrupt"),
    "huge": ([webp_bomb()], [], "too_large"),
    "empty": ([b""], [], "empty"),
    "one bad among good": ([GOOD, b"x", GOOD], [b"hi"], "unsupported"),
    "invalid UTF-8": ([GOOD], [b"hi \xff\xfe there"], "invalid_utf8"),
    "1 MB of text": ([GOOD], [b"spam and eggs " * 75_000], "too_large"),
}


def ask_raw(
    server: Server, frames: list[bytes], texts: list[bytes], context: bytes | dict[str, object]
) -> dict[str, object]:
    """One request as any KServe v2 client would send it, with nothing checked on the way."""
    inputs = []
    for name, items in (("frames", frames), ("texts", texts)):
        if items:
            tensor = triton.InferInput(name, [1, len(items)], "BYTES")
            tensor.set_data_from_numpy(np.array([items], np.object_))
            inputs.append(tensor)
    raw = context if isinstance(context, bytes) else json.dumps(context).encode()
    tensor = triton.InferInput("context", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[raw]], np.object_))
    with triton.InferenceServerClient(server.grpc_url) as raw_client:
        result = raw_client.infer("moderation", [*inputs, tensor])
    verdict: dict[str, object] = json.loads(result.as_numpy("verdict")[0, 0])
    return verdict


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_content_lowers_coverage_and_is_never_allowed(server: Server, name: str) -> None:
    """What cannot be seen ends in review or stronger, with its state and index in the coverage."""
    frames, texts, state = DAMAGED[name]
    verdict = ask_raw(server, frames, texts, {"texts": [{"kind": "chat"}] * len(texts)})
    assert verdict["action"] != "allow"
    assert verdict["coverage"]["degraded"]
    seen = {**verdict["coverage"]["frames"]["states"], **verdict["coverage"]["texts"]["states"]}
    assert state in seen


@pytest.mark.parametrize(
    ("frames", "texts", "action"),
    [([], [b"good evening"], "review"), ([GOOD], [], "allow"), ([], [], "review")],
    ids=["no frames", "no texts", "nothing"],
)
def test_what_was_not_sent_is_what_the_policy_says(
    server: Server, frames: list[bytes], texts: list[bytes], action: str
) -> None:
    """Missing frames are reviewed, missing texts are ordinary, nothing at all is reviewed."""
    verdict = ask_raw(server, frames, texts, {"texts": [{"kind": "chat"}] * len(texts)})
    assert verdict["action"] == action


def test_an_empty_tensor_means_the_same_as_none(server: Server) -> None:
    """[1, 0] and a left-out input are two spellings of "no frames"."""
    tensors = []
    for name, shape, items in (
        ("frames", [1, 0], [[]]),
        ("texts", [1, 1], [[b"good evening"]]),
        ("context", [1, 1], [[b'{"texts":[{"kind":"chat"}]}']]),
    ):
        tensor = triton.InferInput(name, shape, "BYTES")
        tensor.set_data_from_numpy(np.array(items, np.object_).reshape(shape))
        tensors.append(tensor)
    with triton.InferenceServerClient(server.grpc_url) as raw_client:
        result = raw_client.infer("moderation", tensors)
    verdict = json.loads(result.as_numpy("verdict")[0, 0])
    assert verdict["coverage"]["frames"]["sent"] == 0
    assert verdict["action"] == "review"


MALFORMED = {
    "not JSON": (b"{nope", [], "/context"),
    "unknown kind": ({"texts": [{"kind": CANARY}]}, [b"a"], "/context/texts/0/kind"),
    "unknown field": ({"deadlin_ms": 5}, [], "/context/deadlin_ms"),
    "relative deadline": ({"deadline_ms": 5}, [], "/context/deadline_ms"),
    "text not described": ({}, [b"a"], "/context/texts"),
    "wrong type": ({"clip_seq": CANARY}, [], "/context/clip_seq"),
    "65 texts": ({"texts": [{"kind": "chat"}] * 64}, [b"a"] * 65, "/texts"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_an_error_that_names_the_field(server: Server, name: str) -> None:
    """INVALID_ARGUMENT with the JSON pointer, and nothing of what the caller wrote."""
    context, texts, pointer = MALFORMED[name]
    with pytest.raises(InferenceServerException) as caught:
        ask_raw(server, [], texts, context)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert caught.value.message().startswith(pointer)
    assert CANARY not in caught.value.message()


def test_expired_work_costs_nothing_and_is_reviewed(server: Server) -> None:
    """A clip whose deadline has passed is answered without decoding or scoring anything."""
    late = {"deadline_ms": int(time.time() * 1e3) - 1000, "texts": [{"kind": "chat"}]}
    verdict = ask_raw(server, [GOOD], [b"good evening"], late)
    assert verdict["action"] == "review"
    assert verdict["coverage"]["frames"]["states"] == {"late": [0]}
    assert verdict["coverage"]["frames"]["scored"] == 0


def test_plain_http_client_gets_the_same_verdict(server: Server) -> None:
    """KServe v2 over HTTP and JSON works with nothing of ours on the caller's side."""
    body = {
        "inputs": [
            {"name": "texts", "datatype": "BYTES", "shape": [1, 1], "data": ["good evening"]},
            {
                "name": "context",
                "datatype": "BYTES",
                "shape": [1, 1],
                "data": ['{"request_id":"r-1","texts":[{"kind":"chat"}]}'],
            },
        ]
    }
    request = urllib.request.Request(
        f"{server.http_url}/v2/models/moderation/infer", json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    [output] = [out for out in answer["outputs"] if out["name"] == "verdict"]
    verdict = json.loads(output["data"][0])
    assert verdict["request_id"] == "r-1"
    assert verdict["action"] == "review"


def test_no_content_of_a_caller_reaches_the_log(server: Server, log_file: Path) -> None:
    """A canary string in every field that a caller can fill is nowhere in the server's log."""
    ask_raw(
        server,
        [CANARY.encode()],
        [CANARY.encode()],
        {
            "texts": [{"kind": "chat"}],
            "stream_id": CANARY,
            "request_id": CANARY,
            "pass_through": {CANARY: CANARY},
        },
    )
    with pytest.raises(InferenceServerException):
        ask_raw(server, [], [], {CANARY: CANARY})
    assert log_file.stat().st_size > 0
    assert CANARY not in log_file.read_text()


def test_the_server_is_still_the_same_after_all_of_this(server: Server, client: Client) -> None:
    """Nothing above made the supervisor restart anything."""
    assert client.is_ready()
    assert server.restarts == 0

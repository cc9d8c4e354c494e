"""The client in Node keeps the rules of docs/wire.md, also against a server that does not."""

from __future__ import annotations

import json
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import grpc


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", str(script), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )


def split(content: bytes) -> list[bytes]:
    """Read a BYTES tensor the slow obvious way."""
    items = []
    while content:
        (length,) = struct.unpack_from("<I", content)
        items.append(content[4 : 4 + length])
        content = content[4 + length :]
    return items


def test_request_is_that_of_the_contract(node_example: Path, kserve: Any, tmp_path: Path) -> None:
    """Frames, texts and context arrive as they were given, with a nonce and a deadline."""
    frames = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    for index, frame in enumerate(frames):
        frame.write_bytes(bytes([index]) * (300_000 + index))
    before = time.time() * 1000
    ended = run(
        *(node_example, "--url", kserve.address, "--timeout", "20"),
        *("--text", "chat:hällo: you", "--text", "title:", *map(str, frames)),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[0] == "block"
    (request,) = kserve.requests
    assert request.model_name == "moderation"
    tensors = {
        tensor.name: (tensor.datatype, tuple(tensor.shape), split(content))
        for tensor, content in zip(request.inputs, request.raw_input_contents, strict=True)
    }
    context = json.loads(tensors.pop("context")[2][0])
    assert tensors == {
        "frames": ("BYTES", (1, 2), [frame.read_bytes() for frame in frames]),
        "texts": ("BYTES", (1, 2), ["hällo: you".encode(), b""]),
    }
    assert len(bytes.fromhex(context["nonce"])) == 8
    assert before < context["deadline_ms"] - 20_000 < time.time() * 1000
    assert context["texts"] == [{"kind": "chat"}, {"kind": "title"}]


def test_empty_inputs_are_left_out(node_example: Path, kserve: Any) -> None:
    """A clip of nothing has a context and no other tensor."""
    assert run(node_example, "--url", kserve.address).returncode == 0
    assert [tensor.name for tensor in kserve.requests[0].inputs] == ["context"]


@pytest.mark.parametrize("answer", ["foreign", "schema", "nonsense"])
def test_wrong_answer_is_no_verdict(node_example: Path, kserve: Any, answer: str) -> None:
    """Another call's answer, another schema and noise end as failures: no action is printed."""

    def spoil(request: Any, _context: grpc.ServicerContext) -> bytes:
        verdict = json.loads(kserve.echo(request))
        if answer == "foreign":
            verdict["nonce"] = "0" * 16
        if answer == "schema":
            verdict["schema"] = "livewarden.verdict/v2"
        return b"nonsense" if answer == "nonsense" else json.dumps(verdict).encode()

    kserve.answer = spoil
    ended = run(node_example, "--url", kserve.address)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("hold the clip back: ")


def test_late_answer_is_not_waited_for_and_not_cancelled(node_example: Path, kserve: Any) -> None:
    """The caller hears at its deadline; the call on the wire ends as it would have anyway."""
    told, cancelled = threading.Event(), []

    def wait(request: Any, context: grpc.ServicerContext) -> bytes:
        gone = threading.Event()
        context.add_callback(gone.set)
        told.wait(30)
        cancelled.append(gone.wait(0.5))
        return kserve.echo(request)

    kserve.answer = wait
    with subprocess.Popen(
        ["node", str(node_example), "--url", kserve.address, "--timeout", "0.3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as caller:
        assert caller.stderr is not None
        assert caller.stderr.readline() == "hold the clip back: no verdict in 0.3 s\n"
        told.set()
        assert caller.wait(30) == 1
        assert caller.stdout is not None
        assert caller.stdout.read() == ""
    assert cancelled == [False]


def test_missing_server_is_a_failure(node_example: Path) -> None:
    """Nobody at the address: the status is not 0."""
    ended = run(node_example, "--url", "127.0.0.1:1")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "UNAVAILABLE" in ended.stderr

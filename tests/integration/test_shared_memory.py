"""Decoded frames in system shared memory, against a real tritonserver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from livewarden_client import Clip
from livewarden_client.grpc_transport import CHANNEL_OPTIONS, encode_request
from livewarden_client.request import Request, build_request
from livewarden_client.shared_memory import HEADER, SharedFrames
from livewarden_client.shared_region import PREFIX
from livewarden_ensemble.server import Server

pytestmark = pytest.mark.integration

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def open_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes regions from whoever has the key; tests here restart it."""
    file = tmp_path_factory.mktemp("key") / "frames.key"
    file.touch(0o600)
    file.write_text(KEY)
    with Server(
        repository, grpc_port=0, http_port=0, metrics_port=0, shared_memory=file
    ) as running:
        yield running


@pytest.fixture
def stub(open_server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(open_server.grpc_url, options=CHANNEL_OPTIONS) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def shared(stub: Any) -> Iterator[SharedFrames]:
    shared = SharedFrames(stub, KEY)
    yield shared
    shared.close()


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(5).integers(0, 255, (8, 360, 640, 3), np.uint8)


def until(true: Callable[[], Any]) -> Any:
    """Wait for what other threads do; the test's own time limit ends a wait for nothing."""
    while not (got := true()):
        time.sleep(0.01)
    return got


def infer(stub: Any, shared: SharedFrames | None, request: Request) -> tuple[bool, Any]:
    """Send `request` as a transport does; whether its frames were shared, and the verdict."""
    placed = shared.place(request) if shared else None
    message = encode_request(replace(request, frames_rgb=None) if placed else request)
    if placed:
        tensor = message.inputs.add(name="frames_rgb", datatype="UINT8", shape=(1, *placed.shape))
        placed.describe(tensor)
    try:
        answer = stub.ModelInfer(message, timeout=60)
    finally:
        if shared and placed:
            shared.release(placed)
    return placed is not None, json.loads(answer.raw_output_contents[0][4:])


def list_regions(stub: Any) -> set[str]:
    message = service_pb2.SystemSharedMemoryStatusRequest()
    return set(stub.SystemSharedMemoryStatus(message, metadata=((HEADER, KEY),)).regions)


def share(stub: Any, shared: SharedFrames, request: Request) -> Any:
    """Send until the frames go through shared memory."""
    return until(lambda: (got := infer(stub, shared, request))[0] and got[1])


def test_verdict_is_the_same_either_way(stub: Any, shared: SharedFrames, pixels: Any) -> None:
    """Shared frames are scored like the same frames inline, and the region serves again."""
    request = build_request(Clip(frames_rgb=pixels), 60)
    _, inline = infer(stub, None, request)
    for _ in range(3):
        verdict = share(stub, shared, request)
        assert verdict["labels"] == inline["labels"]
        assert verdict["coverage"] == inline["coverage"]
    darker = share(stub, shared, build_request(Clip(frames_rgb=pixels // 8), 60))
    assert darker["labels"] != inline["labels"]
    assert len(list_regions(stub)) == 1


@pytest.mark.parametrize("kind", ["off", "wrong key"])
def test_refusing_server_gets_the_frames_inline(
    server: Server, open_server: Server, pixels: Any, kind: str
) -> None:
    """A server that was not asked to, or with another key, refuses; the verdict comes anyway."""
    url = server.grpc_url if kind == "off" else open_server.grpc_url
    with grpc.insecure_channel(url, options=CHANNEL_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        shared = SharedFrames(stub, "another-key-of-some-length")
        for _ in range(2):
            placed, verdict = infer(stub, shared, build_request(Clip(frames_rgb=pixels), 60))
            assert not placed
            assert verdict["coverage"]["frames"]["scored"] == 8
            until(lambda: not shared._registering)
        shared.close()
    assert not list(Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*"))


def test_close_leaves_neither_file_nor_region(stub: Any, pixels: Any) -> None:
    """After close() the server knows nothing of ours, and /dev/shm holds nothing."""
    shared = SharedFrames(stub, KEY)
    share(stub, shared, build_request(Clip(frames_rgb=pixels), 60))
    assert list_regions(stub)
    shared.close()
    until(lambda: not list_regions(stub))
    assert not list(Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*"))


CALLER = """
import os, signal, sys, time
import grpc, numpy as np
from dataclasses import replace
from tritonclient.grpc import service_pb2_grpc
from livewarden_client import Clip
from livewarden_client.grpc_transport import CHANNEL_OPTIONS, encode_request
from livewarden_client.request import build_request
from livewarden_client.shared_memory import SharedFrames
channel = grpc.insecure_channel(sys.argv[1], options=CHANNEL_OPTIONS)
stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
shared = SharedFrames(stub, sys.argv[2])
request = build_request(Clip(frames_rgb=np.ones((8, 360, 640, 3), np.uint8)), 60)
while not (placed := shared.place(request)):
    time.sleep(0.01)
message = encode_request(replace(request, frames_rgb=None))
placed.describe(message.inputs.add(name="frames_rgb", datatype="UINT8", shape=(1, *placed.shape)))
calls = [stub.ModelInfer.future(message) for _ in range(4)]
print(placed.region, flush=True)
time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_caller_leaves_nothing_after_the_next_start(
    open_server: Server, stub: Any, pixels: Any
) -> None:
    """SIGKILL in the middle of calls: the next caller removes the file and has it forgotten.

    The server lives through all of it, with the region taken away under its running requests.
    """
    before = open_server.restarts
    ended = subprocess.run(
        [sys.executable, "-c", CALLER, open_server.grpc_url, KEY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    name = ended.stdout.strip()
    assert Path("/dev/shm", name).exists()
    assert name in list_regions(stub)

    def start_next() -> None:
        shared = SharedFrames(stub, KEY)
        assert not Path("/dev/shm", name).exists()
        share(stub, shared, build_request(Clip(frames_rgb=pixels), 60))
        shared.close()

    # The server refuses while the dead caller's last requests still run.
    until(lambda: start_next() or name not in list_regions(stub))
    assert open_server.restarts == before


def test_restarted_server_gets_the_frames_inline_and_then_shared(
    open_server: Server, stub: Any, shared: SharedFrames, pixels: Any
) -> None:
    """A new tritonserver knows no region: NOT_FOUND says so, and nothing was scored before it."""
    request = build_request(Clip(frames_rgb=pixels), 60)
    expected = share(stub, shared, request)["labels"]
    before = open_server.restarts
    assert open_server.pid is not None
    os.kill(open_server.pid, signal.SIGKILL)
    until(lambda: open_server.restarts > before and open_server.ready)

    def fail() -> grpc.RpcError | None:
        try:
            infer(stub, shared, request)
        except grpc.RpcError as error:
            return error
        return None

    # The channel may need a moment to see that its server is back.
    error = until(lambda: (got := fail()) and got.code().name != "UNAVAILABLE" and got)
    assert shared.is_lost(error.code().name, error.details())
    assert infer(stub, shared, request)[1]["labels"] == expected
    assert share(stub, shared, request)["labels"] == expected

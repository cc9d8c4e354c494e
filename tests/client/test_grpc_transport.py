"""`kserve` is the fixture's server: a real gRPC one, in this process (conftest.KServe)."""

from __future__ import annotations

import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferInput, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor

from livewarden_client import Client, Clip, Text
from livewarden_client.errors import (
    BY_STATUS,
    ClientClosed,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    ServerError,
    Unavailable,
)
from livewarden_client.grpc_transport import GrpcTransport, encode_request, read_retry_after
from livewarden_client.request import build_request
from livewarden_client.wire import MODERATION


def read_inputs(message: Any) -> dict[str, tuple[list[int], str, bytes]]:
    return {
        tensor.name: (list(tensor.shape), tensor.datatype, content)
        for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True)
    }


def test_inputs_are_those_of_the_contract() -> None:
    """Names, types and shapes are wire.py's, with a batch of one; the bytes are untouched."""
    frames = [b"\xff\xd8\x00", b"", b"tail\x00\x00"]
    texts = [Text("title", "a\u00e9"), Text("chat", b"\xff")]
    message = encode_request(build_request(Clip(frames, texts, request_id="r1"), 1.0))
    inputs = read_inputs(message)
    assert (message.model_name, message.id) == (MODERATION.name, "r1")
    assert [output.name for output in message.outputs] == ["verdict"]
    assert {name: shape for name, (shape, _, _) in inputs.items()} == {
        "frames": [1, 3],
        "texts": [1, 2],
        "context": [1, 1],
    }
    for name, (_, datatype, _) in inputs.items():
        assert datatype == MODERATION.input(name).dtype
    assert list(deserialize_bytes_tensor(inputs["frames"][2])) == frames
    assert list(deserialize_bytes_tensor(inputs["texts"][2])) == ["a\u00e9".encode(), b"\xff"]


def test_bytes_are_encoded_as_tritonclient_does() -> None:
    """Our encoding of BYTES equals that of tritonclient, which is the reference."""
    frames = [b"a", b"", b"\x00" * 5]
    message = encode_request(build_request(Clip(frames), 1.0))
    reference = InferInput("frames", [1, 3], "BYTES")
    reference.set_data_from_numpy(np.array([frames], np.object_))
    assert read_inputs(message)["frames"][2] == reference._get_content()


def test_empty_inputs_are_left_out() -> None:
    """Without frames and texts only the context is sent."""
    assert set(read_inputs(encode_request(build_request(Clip(), 1.0)))) == {"context"}


def test_pixels_are_sent_in_row_major_order() -> None:
    """Decoded frames go as uint8 [1, T, H, W, 3], also from a view with other strides."""
    pixels = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)[:, ::-1, ::2]
    inputs = read_inputs(encode_request(build_request(Clip(frames_rgb=pixels), 1.0)))
    shape, datatype, content = inputs["frames_rgb"]
    assert (shape, datatype) == ([1, 2, 4, 3, 3], "UINT8")
    assert content == pixels.tobytes()
    assert "frames" not in inputs


def test_clip_gets_its_verdict(kserve: Any) -> None:
    """A clip goes through gRPC and comes back as a verdict under its own id."""
    with Client(kserve.address, on_failure="raise") as client:
        assert client.moderate(Clip([b"jpeg"], request_id="r1")).request_id == "r1"


def test_large_clip_passes(kserve: Any) -> None:
    """24 MB of frames pass: gRPC's own limit of 4 MB is not ours."""
    frames = [bytes(8_000_000)] * 3
    with Client(kserve.address, on_failure="raise") as client:
        client.moderate(Clip(frames), timeout=60)
    assert len(read_inputs(kserve.requests[0])["frames"][2]) == 3 * (8_000_000 + 4)


def test_each_thread_gets_its_own_verdict(kserve: Any) -> None:
    """16 threads on one client, answered out of order: every verdict is the caller's own."""

    def answer_late(request: Any, _context: grpc.ServicerContext) -> bytes:
        time.sleep(random.Random(request.id).uniform(0, 0.005))
        return kserve.echo(request)

    kserve.answer = answer_late
    ids = [f"r{index}" for index in range(320)]
    with (
        Client(kserve.address, timeout=60, on_failure="raise") as client,
        ThreadPoolExecutor(16) as pool,
    ):
        got = list(pool.map(lambda name: client.moderate(Clip(request_id=name)).request_id, ids))
    assert got == ids


def test_short_timeout_does_not_cancel_the_rpc(kserve: Any) -> None:
    """The caller is free at its timeout, while the server sees a call that goes on."""
    release, seen = threading.Event(), []

    def hold(request: Any, context: grpc.ServicerContext) -> bytes:
        seen.append(context.time_remaining())
        release.wait()
        seen.append(context.is_active())
        return kserve.echo(request)

    kserve.answer = hold
    client = Client(kserve.address, on_failure="raise")
    with pytest.raises(DeadlineExceeded):
        client.moderate(Clip(), timeout=0.2)
    release.set()
    client.close()
    assert seen[0] > 20
    assert seen[1] is True


@pytest.mark.parametrize("status", [s for s in grpc.StatusCode if s is not grpc.StatusCode.OK])
def test_status_of_the_server_becomes_a_typed_error(kserve: Any, status: grpc.StatusCode) -> None:
    """Each status that a server can send ends as the class of the table, with its cause."""
    kserve.answer = lambda _request, context: context.abort(status, "details")
    with (
        Client(kserve.address, on_failure="raise") as client,
        pytest.raises(BY_STATUS[status.name][0]) as caught,
    ):
        client.moderate(Clip(request_id="r1"))
    assert type(caught.value) is BY_STATUS[status.name][0]
    assert caught.value.request_id == "r1"
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_nobody_there_is_unavailable() -> None:
    """A port where nothing listens ends as Unavailable, and as not ready."""
    with Client("127.0.0.1:1", on_failure="raise") as client:
        with pytest.raises(Unavailable):
            client.moderate(Clip())
        assert client.is_ready() is False


@pytest.mark.parametrize("edit", ["name", "length", "empty", "outputs"])
def test_answer_without_verdict_is_a_server_error(kserve: Any, edit: str) -> None:
    """A response without a whole `verdict` tensor is refused, naming the tensor."""

    def damage(response: Any) -> None:
        match edit:
            case "name":
                response.outputs[0].name = "other"
            case "length":
                response.raw_output_contents[0] += b"more"
            case "empty":
                response.raw_output_contents[0] = b""
            case "outputs":
                del response.outputs[:]

    kserve.damage = damage
    with (
        Client(kserve.address, on_failure="raise") as client,
        pytest.raises(ServerError, match="'verdict'"),
    ):
        client.moderate(Clip())


def test_readiness_is_that_of_server_and_model(kserve: Any) -> None:
    """A client is ready when the server and the model `moderation` are."""
    with Client(kserve.address, on_failure="raise") as client:
        assert client.is_ready() is True
        kserve.ready = False
        assert client.is_ready() is False


def test_closed_transport_refuses_requests(kserve: Any) -> None:
    """A closed channel is the caller's mistake, and ends as such."""
    transport = GrpcTransport(kserve.address)
    transport.close()
    with pytest.raises(ClientClosed):
        transport.infer(build_request(Clip(), 1.0))


def test_close_ends_what_is_on_the_wire(kserve: Any) -> None:
    """A call cut by close() ends as Unavailable and is not left hanging."""
    release = threading.Event()

    def hold(request: Any, _context: grpc.ServicerContext) -> bytes:
        release.wait()
        return kserve.echo(request)

    kserve.answer = hold
    transport = GrpcTransport(kserve.address)
    answer = transport.infer(build_request(Clip(), 1.0))
    transport.close()
    with pytest.raises(Unavailable):
        answer.result(30)
    release.set()


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ((), None),
        ((("grpc-retry-pushback-ms", "1500"),), 1.5),
        ((("grpc-retry-pushback-ms", "-1"),), math.inf),
        ((("grpc-retry-pushback-ms", "soon"),), math.inf),
        ((("retry-after", "2"),), 2.0),
        ((("retry-after-ms", "250"), ("retry-after", "9")), 0.25),
        ((("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"),), None),
        ((("retry-after", "9" * 40),), None),
        ((("retry-after", "\u00b2"),), None),
    ],
)
def test_pause_that_the_far_side_wants_is_read(metadata: Any, seconds: float | None) -> None:
    """Pushback as gRFC A6 has it, and a gateway's retry-after; what is neither is no pause."""
    assert read_retry_after(metadata) == seconds


def test_overload_tells_the_caller_when_to_come_back(kserve: Any) -> None:
    """Backpressure: Overloaded carries the pause, and no retry is sent before it is over."""

    def answer(_request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("retry-after", "30"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")

    kserve.answer = answer
    with Client(kserve.address, on_failure="raise") as client, pytest.raises(Overloaded) as caught:
        client.moderate(Clip())
    assert caught.value.retry_after == 30.0
    assert len(kserve.requests) == 1


def test_request_too_large_for_the_far_side_is_misuse(kserve: Any) -> None:
    """A request over the server's limit is the caller's to change, and is sent once."""
    server = grpc.server(
        ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", 100_000)]
    )
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(kserve, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}") as client, pytest.raises(InvalidRequest, match="larger"):
        client.moderate(Clip([bytes(200_000)]))
    server.stop(grace=None).wait()

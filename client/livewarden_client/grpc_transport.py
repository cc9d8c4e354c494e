"""The transport over gRPC: KServe v2, through the stubs that tritonclient generates.

The stubs, and not tritonclient's own client: that one has no way to the status code, to trailing
metadata and to `wait_for_ready`, and its `async_infer` keeps the call on the client before it sets
the callback, so that only the interpreter's lock keeps two threads' answers apart.
"""

from __future__ import annotations

import struct
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
from tritonclient.grpc import (
    service_pb2,
    service_pb2_grpc,
)

from livewarden_client.errors import ClientClosed, ModerationError, ServerError, translate_status
from livewarden_client.wire import MODERATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livewarden_client.request import Request

# Seconds after which an RPC is given up on the wire. Triton 2.51 dies of calls that end early,
# so this stays far above what a caller waits; only a dead server is ever waited for so long.
MIN_WIRE_TIMEOUT: Final = 30.0
WIRE_TIMEOUTS: Final = 10.0

CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    # At its default, 256 KiB, gRPC silently retries no request with images in it.
    ("grpc.per_rpc_retry_buffer_size", 64 * 1024 * 1024),
    # A default server punishes pings more often than every 300 s, or without a call. Slow pings
    # still set the TCP user timeout, which finds a dead peer in 20 s while data is on its way.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
)

_VERDICT: Final = MODERATION.output("verdict").name
# BYTES of KServe v2: every element after its length.
_LENGTH: Final = struct.Struct("<I")


class GrpcTransport:
    """Carries requests to the tritonserver at `target`, over one plain-text channel."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def infer(self, request: Request) -> Future[bytes]:
        """Send `request`; see Transport."""
        answer: Future[bytes] = Future()
        wire_timeout = max(MIN_WIRE_TIMEOUT, WIRE_TIMEOUTS * request.timeout)
        try:
            call = self._stub.ModelInfer.future(encode_request(request), timeout=wire_timeout)
        except ValueError as error:
            raise ClientClosed("the channel is closed; make a new Client") from error
        call.add_done_callback(partial(_settle, answer))
        return answer

    def is_ready(self, timeout: float) -> bool:
        """Ask server and model; see Transport."""
        model = service_pb2.ModelReadyRequest(name=MODERATION.name)
        try:
            server_ready = self._stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=timeout)
            return bool(server_ready.ready and self._stub.ModelReady(model, timeout=timeout).ready)
        except grpc.RpcError as error:
            raise translate_status(error.code().name, error.details() or "") from error

    def close(self) -> None:
        """Close the channel; see Transport."""
        self._channel.close()


def encode_request(request: Request) -> Any:
    """Encode `request` as a KServe v2 ModelInferRequest with a batch of one clip.

    `frames`, `frames_rgb` and `texts` are left out where they are empty.
    """
    message = service_pb2.ModelInferRequest(model_name=MODERATION.name, id=request.request_id)
    message.outputs.add(name=_VERDICT)
    pixels = request.frames_rgb
    contents: dict[str, tuple[Sequence[int], bytes]] = {
        "context": ((1,), _encode_bytes([request.context]))
    }
    if request.frames:
        contents["frames"] = ((len(request.frames),), _encode_bytes(request.frames))
    if pixels is not None:
        contents["frames_rgb"] = (pixels.shape, np.ascontiguousarray(pixels).tobytes())
    if request.texts:
        contents["texts"] = ((len(request.texts),), _encode_bytes(request.texts))
    for name, (shape, content) in contents.items():
        dtype = MODERATION.input(name).dtype
        message.inputs.add(name=name, datatype=dtype, shape=(1, *shape))
        message.raw_input_contents.append(content)
    return message


def _encode_bytes(items: Sequence[bytes]) -> bytes:
    return b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))


def _settle(answer: Future[bytes], call: Any) -> None:
    """Hand the end of `call` on to `answer`; runs in gRPC's thread, and must not raise there."""
    try:
        answer.set_result(_read_verdict(call.result()))
    except grpc.RpcError as error:
        _fail(answer, translate_status(error.code().name, error.details() or ""), error)
    except grpc.FutureCancelledError as error:
        _fail(answer, translate_status("CANCELLED", ""), error)
    except ServerError as error:
        answer.set_exception(error)


def _fail(answer: Future[bytes], error: ModerationError, cause: Exception) -> None:
    error.__cause__ = cause
    answer.set_exception(error)


def _read_verdict(response: Any) -> bytes:
    for output, content in zip(response.outputs, response.raw_output_contents, strict=False):
        if output.name == _VERDICT and len(content) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(content)
            if length == len(content) - _LENGTH.size:
                return bytes(content[_LENGTH.size :])
    raise ServerError(f"the answer lacks the tensor {_VERDICT!r}: BYTES, shape [1, 1]")

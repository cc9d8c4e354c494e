"""The transport over gRPC: KServe v2, through the stubs that tritonclient generates.

The stubs, and not tritonclient's own client: that one has no way to the status code, to trailing
metadata and to `wait_for_ready`, and its `async_infer` keeps the call on the client before it sets
the callback, so that only the interpreter's lock keeps two threads' answers apart.
"""

from __future__ import annotations

import math
import struct
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
from tritonclient.grpc import (
    service_pb2,
    service_pb2_grpc,
)

from livewarden_client.errors import (
    ClientClosed,
    FarSideFailed,
    ModerationError,
    ServerError,
    translate_status,
)
from livewarden_client.wire import MODERATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from livewarden_client.address import Address
    from livewarden_client.connect import Compression
    from livewarden_client.credentials import Credentials
    from livewarden_client.request import Request
    from livewarden_client.shared_memory import Placed, SharedFrames

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
    # By default a channel waits up to 120 s before it tries a server that was away again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Else a new channel to the same server would share the connection of the old one.
    ("grpc.use_local_subchannel_pool", 1),
)

_CODES: Final = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}

_MAX_DIGITS: Final = 9

_VERDICT: Final = MODERATION.output("verdict").name
# BYTES of KServe v2: every element after its length.
_LENGTH: Final = struct.Struct("<I")


class GrpcTransport:
    """Carries requests to the tritonserver at `target`, over one channel of its own.

    `address` is what the caller named; its host is what the server's certificate must be for.
    """

    def __init__(
        self,
        target: str,
        address: Address | None = None,
        credentials: Credentials | None = None,
        compression: Compression | None = None,
        shared_memory_key: str = "",
    ) -> None:
        options: list[tuple[str, Any]] = [*CHANNEL_OPTIONS]
        if address is not None and address.url != target:
            options.append(("grpc.default_authority", f"{address.host}:{address.port}"))
            options.append(("grpc.ssl_target_name_override", address.host))
        self._channel = _open_channel(
            target, options, credentials, None if compression is None else _CODES[compression]
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        token = credentials.token if credentials is not None else ""
        self._headers = (("authorization", f"Bearer {token}"),) if token else ()
        self._shared: SharedFrames | None = None
        if shared_memory_key:
            # Imported here: it is for Linux alone, and few callers hand over decoded frames.
            from livewarden_client.shared_memory import SharedFrames

            self._shared = SharedFrames(self._stub, shared_memory_key, headers=self._headers)

    def infer(self, request: Request) -> Future[bytes]:
        """Send `request`; see Transport."""
        answer: Future[bytes] = Future()
        placed = self._shared.place(request) if self._shared is not None else None
        try:
            self._send(request, answer, placed)
        except ValueError as error:
            raise ClientClosed("the channel is closed; make a new Client") from error
        return answer

    def _send(self, request: Request, answer: Future[bytes], placed: Placed | None) -> None:
        try:
            call = self._stub.ModelInfer.future(
                encode_request(request, placed),
                timeout=max(MIN_WIRE_TIMEOUT, WIRE_TIMEOUTS * request.timeout),
                metadata=(*self._headers, *request.headers) or None,
            )
        except ValueError:
            if self._shared is not None and placed is not None:
                self._shared.release(placed)
            raise
        call.add_done_callback(partial(self._end, request, answer, placed))

    def _end(
        self, request: Request, answer: Future[bytes], placed: Placed | None, call: Any
    ) -> None:
        if self._shared is not None and placed is not None:
            self._shared.release(placed)
            if self._shared.is_lost(call.code().name, call.details() or ""):
                # The server was restarted and knows no region; nothing was scored.
                with suppress(ValueError):  # closed in the meantime: the first failure stands
                    self._send(request, answer, None)
                    return
        _settle(answer, call)

    def is_ready(self, timeout: float) -> bool:
        """Ask server and model; see Transport."""
        model = service_pb2.ModelReadyRequest(name=MODERATION.name)
        ask = {"timeout": timeout, "metadata": self._headers or None}
        try:
            server_ready = self._stub.ServerReady(service_pb2.ServerReadyRequest(), **ask)
            return bool(server_ready.ready and self._stub.ModelReady(model, **ask).ready)
        except grpc.RpcError as error:
            raise translate_status(error.code().name, error.details() or "") from error

    def close(self) -> None:
        """Close the channel; see Transport."""
        if self._shared is not None:
            self._shared.close()
        self._channel.close()


def _open_channel(
    target: str, options: list[tuple[str, Any]], credentials: Credentials | None, compression: Any
) -> Any:
    if credentials is None or not credentials.tls:
        return grpc.insecure_channel(target, options=options, compression=compression)
    ssl = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.certificate)
    return grpc.secure_channel(target, ssl, options=options, compression=compression)


def encode_request(request: Request, placed: Placed | None = None) -> Any:
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
    if pixels is not None and placed is None:
        contents["frames_rgb"] = (pixels.shape, np.ascontiguousarray(pixels).tobytes())
    if request.texts:
        contents["texts"] = ((len(request.texts),), _encode_bytes(request.texts))
    for name, (shape, content) in contents.items():
        dtype = MODERATION.input(name).dtype
        message.inputs.add(name=name, datatype=dtype, shape=(1, *shape))
        message.raw_input_contents.append(content)
    if placed is not None:
        tensor = message.inputs.add(name="frames_rgb", datatype="UINT8", shape=(1, *placed.shape))
        placed.describe(tensor)
    return message


def _encode_bytes(items: Sequence[bytes]) -> bytes:
    return b"".join(part for item in items for part in (_LENGTH.pack(len(item)), item))


def _settle(answer: Future[bytes], call: Any) -> None:
    """Hand the end of `call` on to `answer`; runs in gRPC's thread, and must not raise there."""
    try:
        answer.set_result(_read_verdict(call.result()))
    except grpc.RpcError as error:
        failure = translate_status(error.code().name, error.details() or "")
        if isinstance(failure, FarSideFailed):
            failure.retry_after = read_retry_after(error.trailing_metadata() or ())
        _fail(answer, failure, error)
    except grpc.FutureCancelledError as error:
        _fail(answer, translate_status("CANCELLED", ""), error)
    except ServerError as error:
        answer.set_exception(error)


# How servers and gateways say when to come back, and how many of it make a second.
_RETRY_AFTER: Final = {"grpc-retry-pushback-ms": 1000, "retry-after-ms": 1000, "retry-after": 1}


def read_retry_after(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Read the seconds that the far side wants to be left alone; infinite for "do not retry".

    A negative pushback, or one that is no number, means that (gRFC A6). None where nothing is said.
    """
    given = dict(metadata)
    for name, per_second in _RETRY_AFTER.items():
        value = given.get(name)
        if isinstance(value, str):
            if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
                return int(value) / per_second
            if name == "grpc-retry-pushback-ms":
                return math.inf
    return None


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

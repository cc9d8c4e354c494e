"""How a clip reaches a server and its scores come back, at the least cost to both sides.

Requests are encoded ahead of the load, so that the callers, which share the machine with the
server, do little more than send and wait.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import grpc
import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

from livewarden_client.wire import MODERATION
from livewarden_ensemble.fuse import KIND_CODE
from livewarden_perf.baseline.servers.clip_body import ClipBody, write_clip
from livewarden_perf.errors import BaselineFailed
from livewarden_perf.replay import encode_replay_context

if TYPE_CHECKING:
    from livewarden_client.clip import Clip

HOST: Final = "127.0.0.1"
ENSEMBLE: Final = "baseline"
# The ensemble's inputs; what Livewarden calls frames are its pictures before decoding.
JPEGS, TEXTS, KINDS, SCORES = "jpegs", "texts", "text_kind", "scores"

_PATIENCE_S: Final = 60.0
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_CHANNEL: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Else all channels of a process share one connection.
    ("grpc.use_local_subchannel_pool", 1),
)


class Caller(Protocol):
    """One connection; calls on it come one after the other."""

    def call(self, request: bytes) -> bytes:
        """The answer to an encoded request; BaselineFailed where there is none."""

    def close(self) -> None:
        """End the connection."""


class WireProtocol(Protocol):
    """What a request looks like, and where to send it."""

    def encode(self, clip: Clip) -> bytes:
        """Encode the request for `clip`."""

    def connect(self, port: int) -> Caller:
        """Connect to the server on this machine."""

    def read_scores(self, answer: bytes) -> Sequence[float]:
        """Read the labels' scores."""


class HttpCaller:
    """A connection that is kept open, for posts of one kind."""

    def __init__(self, port: int, path: str, media_type: str) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=_PATIENCE_S)
        self._path = path
        self._headers = {"Content-Type": media_type}

    def call(self, request: bytes) -> bytes:
        """The answer's body."""
        try:
            self._connection.request("POST", self._path, request, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BaselineFailed(f"{self._path} does not answer: {error!r}") from error
        if response.status != http.client.OK:
            raise BaselineFailed(f"{self._path} answers with status {response.status}")
        return answer

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class RawHttp:
    """The JPEGs as they are, as the body of a post to `path`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def encode(self, clip: Clip) -> bytes:
        """Encode the request for `clip`."""
        texts = [text.encode().decode() for text in clip.texts]
        return write_clip(ClipBody(clip.frames, texts, [KIND_CODE[t.kind] for t in clip.texts]))

    def connect(self, port: int) -> HttpCaller:
        """Connect to the server on this machine."""
        return HttpCaller(port, self._path, "application/octet-stream")

    def read_scores(self, answer: bytes) -> Sequence[float]:
        """Read the labels' scores."""
        scores: Sequence[float] = json.loads(answer)["scores"]
        return scores


class Base64Http(RawHttp):
    """The same body as base64 in JSON: a batch of one."""

    def encode(self, clip: Clip) -> bytes:
        """Encode the request for `clip`."""
        return json.dumps({"clips": [base64.b64encode(super().encode(clip)).decode()]}).encode()

    def connect(self, port: int) -> HttpCaller:
        """Connect to the server on this machine."""
        return HttpCaller(port, self._path, "application/json")

    def read_scores(self, answer: bytes) -> Sequence[float]:
        """Read the labels' scores."""
        scores: Sequence[Sequence[float]] = json.loads(answer)
        return scores[0]


class GrpcCaller:
    """A connection of its own to a Triton server; messages are bytes already."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"{HOST}:{port}", _CHANNEL)
        self._infer = self._channel.unary_unary(_INFER)

    def call(self, request: bytes) -> bytes:
        """The answer, encoded."""
        try:
            answer: bytes = self._infer(request, timeout=_PATIENCE_S, wait_for_ready=True)
        except grpc.RpcError as error:
            raise BaselineFailed(f"Triton answers with {error.code().name}") from error
        return answer

    def close(self) -> None:
        """End the connection."""
        self._channel.close()


class _TritonGrpc:
    def connect(self, port: int) -> GrpcCaller:
        """Connect to the server on this machine."""
        return GrpcCaller(port)

    def read_scores(self, answer: bytes) -> Sequence[float]:
        """Read the labels' scores."""
        response = service_pb2.ModelInferResponse.FromString(answer)
        place = [output.name for output in response.outputs].index(SCORES)
        scores: list[float] = np.frombuffer(
            response.raw_output_contents[place], np.float32
        ).tolist()
        return scores


class LivewardenGrpc(_TritonGrpc):
    """Livewarden's own wire; the answer is the verdict, beside its scores."""

    def encode(self, clip: Clip) -> bytes:
        """Encode the request for `clip`; it can be sent again and again."""
        request = service_pb2.ModelInferRequest(model_name=MODERATION.name)
        context = encode_replay_context(clip, clip.stream_id)
        _add_bytes(request, "frames", clip.frames, batched=True)
        _add_bytes(request, "texts", [text.encode() for text in clip.texts], batched=True)
        _add_bytes(request, "context", [context], batched=True)
        return _serialize(request)


class EnsembleGrpc(_TritonGrpc):
    """The plain ensemble's inputs, which have no batch axis."""

    def encode(self, clip: Clip) -> bytes:
        """Encode the request for `clip`."""
        request = service_pb2.ModelInferRequest(model_name=ENSEMBLE)
        _add_bytes(request, JPEGS, clip.frames)
        _add_bytes(request, TEXTS, [text.encode() for text in clip.texts])
        kinds = np.array([KIND_CODE[text.kind] for text in clip.texts], np.int32)
        request.inputs.add(name=KINDS, datatype="INT32", shape=kinds.shape)
        request.raw_input_contents.append(kinds.tobytes())
        return _serialize(request)


def _add_bytes(
    request: service_pb2.ModelInferRequest,
    name: str,
    items: Sequence[bytes],
    *,
    batched: bool = False,
) -> None:
    shape = [1, len(items)] if batched else [len(items)]
    request.inputs.add(name=name, datatype="BYTES", shape=shape)
    packed = serialize_byte_tensor(np.array(items, np.object_)).item()
    request.raw_input_contents.append(packed)


def _serialize(request: service_pb2.ModelInferRequest) -> bytes:
    message: bytes = request.SerializeToString()
    return message

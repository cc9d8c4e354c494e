"""The canary: one small real clip through every stage, and what its answer says of the server."""

from __future__ import annotations

import io
import json
import secrets
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
import tritonclient.grpc as triton
from PIL import Image

from livewarden_client.wire import IMAGE_SIDE, MODERATION
from livewarden_ensemble.vitals import Beat, Pulse

# Called with the address HOST:PORT of a server; blocks for seconds at most, raises nothing.
Canary = Callable[[str], Pulse]

TIMEOUT_S: Final = 3.0
# The RPC itself lives longer than we wait: a deadline that passes cancels it, and cancelled
# requests are what crashes Triton 2.51.
_RPC_TIMEOUT_S: Final = 120.0
_STATISTICS_TIMEOUT_S: Final = 2.0
# What a full queue answers: the server is well and says no.
_REFUSALS: Final = ("Exceeds maximum queue size", "Request timeout expired")
# What a whole batch of Triton 2.51 gets for one malformed request in it, the canary included.
_SPOILT: Final = "incomplete string data"
# What gRPC itself says when the connection is not there, or breaks.
_BROKEN: Final = ("failed to connect", "Socket closed", "Connection re", "recvmsg:", "GOAWAY")
_TEXT: Final = b"good evening everybody"
_CHANNEL: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back must not wait for a growing reconnect delay of ours.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@cache
def draw_frame() -> bytes:
    """The canary's frame: a colour gradient, as JPEG bytes, the same in every run."""
    ramp = np.linspace(0, 255, IMAGE_SIDE).astype(np.uint8)
    image = np.empty((IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = ramp[None, :], ramp[:, None], 128
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class ModerationCanary:
    """Sends a clip of one frame and one title to the model `moderation`, and judges the verdict.

    Keeps one connection; not for use by two threads at once.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S, *, server_key: str = "") -> None:
        self._timeout_s = timeout_s
        self._server_key = server_key
        self._client: triton.InferenceServerClient | None = None
        self._url = ""
        self._sent = 0
        self._answered = -1

    def __call__(self, url: str) -> Pulse:
        """Ask the server at `url` (HOST:PORT) once."""
        if self._client is None or url != self._url:
            self.close()
            self._client = triton.InferenceServerClient(url, channel_args=list(_CHANNEL))
            self._url = url
        nonce = secrets.token_hex(8)
        self._sent += 1
        done = threading.Event()
        answer: list[Any] = []

        def receive(result: Any, error: Any) -> None:
            answer.extend((result, error))
            done.set()

        self._client.async_infer(
            MODERATION.name,
            build_inputs(f"canary-{self._sent}", nonce, server_key=self._server_key),
            receive,
            outputs=[triton.InferRequestedOutput("verdict")],
            client_timeout=_RPC_TIMEOUT_S,
            priority=1,  # before every caller's: a model without levels takes no notice
        )
        if not done.wait(self._timeout_s):
            return self._explain_silence()
        result, error = answer
        if error is not None:
            return judge_error(error.status() or "", error.message() or "")
        return judge_verdict(result.as_numpy("verdict"), nonce)

    def close(self) -> None:
        """Drop the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _explain_silence(self) -> Pulse:
        """Tell a server that answers others from one that answers nobody."""
        detail = f"no answer within {self._timeout_s:g} s"
        before = self._answered
        try:
            self._answered = self._count_answers()
        except triton.InferenceServerException:
            return Pulse(Beat.MISSED, detail)
        # Fewer than before means a new server, of which nothing is known yet.
        progress = 0 <= before < self._answered
        return Pulse(Beat.BUSY if progress else Beat.MISSED, detail)

    def _count_answers(self) -> int:
        assert self._client is not None
        # All models: a batch of long clips keeps `moderation` silent while its leaves progress.
        statistics = self._client.get_inference_statistics(client_timeout=_STATISTICS_TIMEOUT_S)
        return sum(
            model.inference_stats.success.count + model.inference_stats.fail.count
            for model in statistics.model_stats
        )


def judge_error(status: str, message: str) -> Pulse:
    """What a gRPC error in place of a verdict says; `message` is the server's own."""
    if any(refusal in message for refusal in _REFUSALS):
        return Pulse(Beat.BUSY, "its queue is full")
    if any(sign in message for sign in _BROKEN):
        return Pulse(Beat.ABSENT, "the connection is refused or broken")
    if _SPOILT in message:
        return Pulse(Beat.MISSED, "a malformed request spoilt the canary's batch")
    # The rest of the message is the stack of a model that raised.
    first = message.partition("\n")[0]
    return Pulse(Beat.SICK, f"the canary failed with {status or 'an error'}: {first}")


def judge_verdict(verdict: Any, nonce: str) -> Pulse:
    """What a verdict (the tensor, BYTES [1, 1]) says: right clip, every stage scored."""
    try:
        answer = json.loads(verdict.item())
        if answer["nonce"] != nonce:
            return Pulse(Beat.SICK, "the canary got the answer to another request")
        if answer["coverage"]["degraded"]:
            return Pulse(Beat.MISSED, f"not every stage scored{_name_failed(answer)}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Pulse(Beat.SICK, "the canary's verdict is not one")
    return Pulse(Beat.ALIVE)


def _name_failed(answer: Any) -> str:
    failed = answer["coverage"].get("failed") or {}
    return f" ({', '.join(sorted(failed))})" if failed else ""


def build_inputs(request_id: str, nonce: str, bundle: str = "", server_key: str = "") -> list[Any]:
    """The canary's request; `bundle` asks for another bundle than the live one, with its key."""
    context = {
        "request_id": request_id,
        "nonce": nonce,
        "texts": [{"kind": "title"}],
        "options": {"canary": True, "bundle": bundle, "server_key": server_key},
    }
    values = {"frames": draw_frame(), "texts": _TEXT, "context": json.dumps(context).encode()}
    inputs = []
    for name, value in values.items():
        tensor = triton.InferInput(name, [1, 1], MODERATION.input(name).dtype)
        tensor.set_data_from_numpy(np.array([[value]], object))
        inputs.append(tensor)
    return inputs

"""A served Livewarden as a target: clips over gRPC, each stream's state token sent back in order.

Calls never end early: a tritonserver 2.51 can die of calls that are cancelled.
"""

from __future__ import annotations

import json
import secrets
import time
from concurrent.futures import wait
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from livewarden_client.errors import ModerationError, Overloaded
from livewarden_client.grpc_transport import GrpcTransport
from livewarden_client.request import Request, encode_context
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.target import DEGRADED, LATE, REJECTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from livewarden_client.clip import Clip
    from livewarden_client.transport import Transport
    from livewarden_perf.clip_mix import ClipStock
    from livewarden_perf.target import Done

TIMEOUT_S: Final = 10.0
_PROBE_S: Final = 60.0
_CLOSE_S: Final = 30.0
_CROSSED: Final = "CrossedReply"
_UNREADABLE: Final = "ServerError"


class _Coverage(msgspec.Struct):
    degraded: bool
    failed: dict[str, str] = {}


class _Policy(msgspec.Struct):
    id: str
    version: str
    digest: str


class _Provenance(msgspec.Struct):
    bundle: str
    policy: _Policy


class Answer(msgspec.Struct):
    """The part of a verdict that measuring looks at; all of it would cost far more to read."""

    nonce: str
    coverage: _Coverage
    timings_ms: dict[str, float]
    provenance: _Provenance
    state: str | None = None


_DECODER: Final = msgspec.json.Decoder(Answer)


class ServedTarget:
    """Sends the clips of `stock` to the server at `url`; `done` hears ok for a full verdict only.

    With `streams`, clip i is the next of stream i % streams and carries the token of the verdict
    before it; else each clip is a stream of its own. `timeout_s` goes to the server as the clip's
    deadline, and a verdict that comes later is none. `bundle` asks for another than the live one.
    `on_answer` sees each verdict.
    """

    def __init__(
        self,
        url: str,
        stock: ClipStock,
        *,
        streams: int = 0,
        timeout_s: float = TIMEOUT_S,
        bundle: str = "",
        on_answer: Callable[[Answer], None] = lambda _answer: None,
        transport: Transport | None = None,
    ) -> None:
        self._transport = transport or GrpcTransport(url)
        self._stock = stock
        self._streams = streams
        self._timeout_s = timeout_s
        self._bundle = bundle
        self._on_answer = on_answer
        # Two runs on one server must not meet in one stream.
        self._name = secrets.token_hex(4)
        self._tokens: dict[int, str | None] = {}
        self._on_wire: set[Future[bytes]] = set()

    def send(self, number: int, done: Done) -> None:
        """Send clip `number`."""
        stream = number % self._streams if self._streams else None
        request = self._build_request(number, stream)
        give_up = time.monotonic() + self._timeout_s

        def finish(future: Future[bytes]) -> None:
            self._on_wire.discard(future)
            answer = _read_answer(future, request.nonce)
            if isinstance(answer, str):
                done(False, answer)  # noqa: FBT003 - positional by the protocol
                return
            if stream is not None:
                self._tokens[stream] = answer.state
            self._on_answer(answer)
            late = time.monotonic() > give_up
            done(not late and not answer.coverage.degraded, LATE if late else DEGRADED)

        future = self._transport.infer(request)
        self._on_wire.add(future)
        future.add_done_callback(finish)

    def close(self) -> None:
        """Drop the connection, once the calls on it have ended or taken far too long."""
        wait(self._on_wire.copy(), _CLOSE_S)
        if not self._on_wire:
            self._transport.close()

    def _build_request(self, number: int, stream: int | None) -> Request:
        clip = self._stock.get(number, stream)
        if stream is None:
            clip = replace(clip, stream_id=f"perf-{self._name}-{number}")
        else:
            clip = replace(
                clip,
                stream_id=f"perf-{self._name}-{stream}",
                clip_seq=number // self._streams,
                captured_at_ms=int(time.time() * 1000),
                state=self._tokens.get(stream),
            )
        return build_request(clip, f"{self._name}-{number}", self._timeout_s, self._bundle)


def build_request(clip: Clip, request_id: str, timeout_s: float, bundle: str = "") -> Request:
    """Build a request as the client does; `bundle` asks for another bundle than the live one."""
    nonce = secrets.token_hex(8)
    context = encode_context(clip, request_id, nonce, int((time.time() + timeout_s) * 1000))
    if bundle:
        context = json.dumps({**json.loads(context), "options": {"bundle": bundle}}).encode()
    return Request(
        request_id=request_id,
        nonce=nonce,
        timeout=timeout_s,
        context=context,
        frames=tuple(clip.frames),
        texts=tuple(text.encode() for text in clip.texts),
    )


def probe(url: str, clip: Clip, bundle: str = "") -> Answer:
    """Send one clip and give its answer; MeasurementInvalid where it is not a full verdict.

    A server that skips work is fast, so nothing is measured on one.
    """
    transport = GrpcTransport(url)
    request = build_request(clip, "perf-probe", _PROBE_S, bundle)
    try:
        answer: Answer = _DECODER.decode(transport.infer(request).result(_PROBE_S))
    except (ModerationError, TimeoutError) as error:
        raise MeasurementInvalid(f"{url} gives no verdict: {error or 'no answer'}") from error
    except msgspec.DecodeError:
        raise MeasurementInvalid(f"{url} answers with something that is no verdict") from None
    finally:
        transport.close()
    if answer.coverage.degraded:
        failed = ", ".join(answer.coverage.failed) or "a frame or text"
        raise MeasurementInvalid(f"{url} did not score a standard clip in full: {failed} failed")
    if bundle and answer.provenance.bundle != bundle:
        raise MeasurementInvalid(
            f"{url} does not serve bundle {bundle}; it answered with {answer.provenance.bundle}"
        )
    return answer


def _read_answer(future: Future[bytes], nonce: str) -> Answer | str:
    """Give the answer, or the reason why there is none."""
    try:
        answer: Answer = _DECODER.decode(future.result())
    except Overloaded:
        return REJECTED
    except ModerationError as error:
        return type(error).__name__
    except msgspec.DecodeError:
        return _UNREADABLE
    return answer if answer.nonce == nonce else _CROSSED

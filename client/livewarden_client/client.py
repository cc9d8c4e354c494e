"""The client: one clip in, one verdict out, or one typed error."""

from __future__ import annotations

import math
import re
import threading
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Final, Self

from livewarden_client.clip import Clip
from livewarden_client.errors import (
    ClientClosed,
    CrossedReply,
    DeadlineExceeded,
    FarSideFailed,
    InvalidRequest,
    ModerationError,
    Overloaded,
)
from livewarden_client.request import Request, build_request
from livewarden_client.verdict_json import decode_verdict

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from livewarden_client.transport import Transport
    from livewarden_client.verdict import Verdict

DEFAULT_URL: Final = "127.0.0.1:8001"
DEFAULT_TIMEOUT: Final = 5.0
MAX_TIMEOUT: Final = 3600.0
MAX_ABANDONED: Final = 64
CLOSE_GRACE: Final = 2.0

_URL: Final = re.compile(r"(?!https?:)(dns:(//[^/]*/)?|ipv[46]:)?[^\s/]+:\d{1,5}")


class Client:
    """Moderates clips against the server at `url`, "HOST:PORT" of its gRPC port.

    `timeout` is how many seconds a call waits when it names no timeout of its own. One client
    serves any number of threads; make one for each process and close it at the end. `transport`
    takes the network's place in tests.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        transport: Transport | None = None,
    ) -> None:
        self._timeout = _check_timeout(timeout)
        self._transport = _connect(url) if transport is None else transport
        self._in_flight = _InFlight()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def moderate(self, clip: Clip, timeout: float | None = None) -> Verdict:
        """Give the verdict on `clip`, waiting at most `timeout` seconds.

        The server is told the deadline and drops what is too late. A call that runs out of time
        ends here at once and is left to finish there; while 64 such calls are still on the wire,
        new ones end as Overloaded. Raises ModerationError; see `errors` for the tree.
        """
        if not isinstance(clip, Clip):
            raise InvalidRequest(f"clip: got {type(clip).__name__}; accepted: Clip", "clip")
        seconds = self._timeout if timeout is None else _check_timeout(timeout)
        give_up = time.monotonic() + seconds
        self._in_flight.check()
        request = build_request(clip, seconds)
        try:
            return self._exchange(request, give_up)
        except ModerationError as error:
            error.request_id = request.request_id
            raise

    def is_ready(self) -> bool:
        """Tell whether the server is up and has the model `moderation` loaded; False if unsure.

        Raises Misuse where the answer would never change: a closed client, wrong credentials.
        """
        try:
            self._in_flight.check()
            return self._transport.is_ready(self._timeout)
        except FarSideFailed:
            return False

    def close(self) -> None:
        """Take no new calls, wait up to 2 s for those on the wire, then drop the connection."""
        if self._in_flight.close(CLOSE_GRACE):
            self._transport.close()

    def _exchange(self, request: Request, give_up: float) -> Verdict:
        future = self._transport.infer(request)
        self._in_flight.add(future)
        try:
            raw = future.result(max(0.0, give_up - time.monotonic()))
        except TimeoutError:
            self._in_flight.abandon(future)
            raise DeadlineExceeded(
                f"no verdict within {request.timeout:g} s; the server may still score the clip, "
                "and its answer will be thrown away"
            ) from None
        except BaseException:
            # An interrupted wait leaves its call on the wire as well.
            self._in_flight.abandon(future)
            raise
        verdict = decode_verdict(raw)
        if verdict.nonce != request.nonce:
            raise CrossedReply("the answer carries a foreign nonce and was thrown away")
        return verdict


class _InFlight:
    """The calls on the wire of one client: those somebody waits for, and the abandoned ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: set[Future[bytes]] = set()
        self._abandoned: set[Future[bytes]] = set()
        self._closed = False

    def check(self) -> None:
        """Raise where no new call may start."""
        if self._closed:
            raise ClientClosed("this client was closed; make a new one")
        if len(self._abandoned) >= MAX_ABANDONED:
            raise Overloaded(
                f"{MAX_ABANDONED} calls that ran out of time are still on the wire; "
                "wait, or give calls more time"
            )

    def add(self, future: Future[bytes]) -> None:
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._forget)

    def abandon(self, future: Future[bytes]) -> None:
        """Count `future` as abandoned until it ends."""
        with self._lock:
            if future in self._pending:
                self._abandoned.add(future)

    def close(self, grace: float) -> bool:
        """Refuse new calls and wait `grace` seconds for the others; False where already closed."""
        with self._lock:
            first, self._closed = not self._closed, True
            pending = set(self._pending)
        if first:
            wait(pending, grace)
        return first

    def _forget(self, future: Future[bytes]) -> None:
        with self._lock:
            self._pending.discard(future)
            self._abandoned.discard(future)


def _check_timeout(timeout: float) -> float:
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        seconds = float(timeout)
        if math.isfinite(seconds) and 0 < seconds <= MAX_TIMEOUT:
            return seconds
    given = timeout if isinstance(timeout, int | float) else type(timeout).__name__
    raise InvalidRequest(
        f"timeout: got {given}; accepted: seconds above 0, at most {MAX_TIMEOUT:g}", "timeout"
    )


def _connect(url: str) -> Transport:
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise InvalidRequest(
            "url: accepted: HOST:PORT of the server's gRPC port, for example "
            f"{DEFAULT_URL}, without http://",
            "url",
        )
    # Imported here, because importing the package must stay cheap.
    from livewarden_client.grpc_transport import GrpcTransport

    return GrpcTransport(url)

"""The fleet: the servers of one client with their connections, and what is on the wire to them.

What threads share is here, behind one lock that nobody holds while waiting. The decisions are made
by the pure modules `call`, `endpoint` and `retry`.
"""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from livewarden_client.address import REFRESH_S, Address, resolve_name
from livewarden_client.call import Call, End, Shared, Start, Wait
from livewarden_client.endpoint import Endpoints
from livewarden_client.errors import (
    ClientClosed,
    ModerationError,
    Overloaded,
    ServerError,
    Unavailable,
    WrongPlace,
    find_remedy,
)
from livewarden_client.latency import Latency
from livewarden_client.retry import RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livewarden_client.call import Attempt
    from livewarden_client.endpoint import Endpoint
    from livewarden_client.request import Request
    from livewarden_client.transport import Transport
    from livewarden_client.verdict import Verdict

# A name whose servers fail is looked up again sooner than every 30 s, but not for every failure.
MIN_REFRESH_S: Final = 2.0


@dataclass(slots=True, eq=False)
class Connection:
    """One transport; `outstanding` counts what is on it, `since` is when it was made."""

    transport: Transport
    since: float
    outstanding: int = 0


@dataclass(slots=True, eq=False)
class Landing:
    """One sending on its way, and what became of it: `answer`, or `error`."""

    attempt: Attempt
    connection: Connection
    nonce: str = ""
    answer: bytes = b""
    error: ModerationError | None = None
    landed: bool = False
    abandoned: bool = False
    seconds: float = 0.0


class Fleet:
    """All servers of one client; safe to use from several threads.

    `connect(target, address)` makes the transport to one target of an address.
    """

    def __init__(
        self, addresses: Sequence[Address], connect: Callable[[str, Address], Transport]
    ) -> None:
        now = time.monotonic()
        self._lock = threading.Lock()
        self._connect = connect
        self._owner = {address.url: address for address in addresses}
        self._names: dict[Address, tuple[str, ...]] = {
            address: (address.url,) for address in addresses
        }
        jitter = random.random
        self._shared = Shared(Endpoints(self._owner, jitter), RetryBudget(now), Latency(), jitter)
        self._connections = {
            url: Connection(connect(url, address), now) for url, address in self._owner.items()
        }
        self._retired: list[Connection] = []
        self._pending: set[Future[bytes]] = set()
        self._pid = os.getpid()
        self._closed = False
        self._has_names = any(address.is_name for address in addresses)
        self._resolving = False
        self._resolved_at = now - REFRESH_S

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints as they are known now."""
        return self._shared.endpoints.all

    @property
    def in_flight(self) -> int:
        """Count what is on the wire, with what nobody waits for any more."""
        return sum(one.outstanding for one in self.endpoints)

    def check(self) -> None:
        """Raise where no call may start: in a forked child, or after close()."""
        if os.getpid() != self._pid:
            raise WrongPlace(
                "this client was made before the process forked, and its connections are not "
                "here; make a client in each process"
            )
        if self._closed:
            raise ClientClosed("this client was closed; make a new one")

    def begin(self, now: float, seconds: float, *, hedge: bool) -> Call:
        """Begin a call that ends `seconds` after `now`."""
        self._keep_up(now)
        with self._lock:
            return Call(self._shared, now, now + seconds, hedge=hedge)

    def decide(self, call: Call, now: float) -> Landing | Wait | End:
        """Ask the machine of `call` what to do; a landing is a request to `send`."""
        with self._lock:
            decision = call.decide(now)
            if not isinstance(decision, Start):
                return decision
            connection = self._choose_connection(decision.attempt.endpoint, now)
            connection.outstanding += 1
            return Landing(decision.attempt, connection)

    def send(self, landing: Landing, request: Request, deliver: Callable[[Landing], None]) -> None:
        """Send `request`; `deliver` gets the landing when it has ended, in any thread."""
        landing.nonce = request.nonce
        try:
            future = landing.connection.transport.infer(request)
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything
            future = Future()
            future.set_exception(error)
        with self._lock:
            self._pending.add(future)

        def land(future: Future[bytes]) -> None:
            with self._lock:
                self._pending.discard(future)
                self._land(landing, time.monotonic(), future)
            deliver(landing)

        future.add_done_callback(land)

    def succeed(self, call: Call, landing: Landing, verdict: Verdict) -> None:
        """Give the machine of `call` its verdict."""
        with self._lock:
            if landing.attempt in call.live:
                call.succeed(landing.attempt, verdict)

    def fail(self, call: Call, attempt: Attempt, error: ModerationError, *, strike: bool) -> None:
        """Give the machine of `call` an error; `strike` counts one found only on reading."""
        now = time.monotonic()
        with self._lock:
            if strike:
                self._shared.endpoints.strike(attempt.endpoint, now)
            if attempt in call.live:
                call.fail(attempt, now, error)

    def abandon(self, landings: Sequence[Landing]) -> None:
        """Leave what has not landed to end by itself, and count it until then."""
        with self._lock:
            for landing in landings:
                if not landing.landed:
                    landing.abandoned = True
                    landing.attempt.endpoint.abandoned += 1

    def list_transports(self) -> list[Transport]:
        """List the transports that calls may use now; none where all are full."""
        with self._lock:
            return [
                self._find_connection(one, time.monotonic()).transport
                for one in self.endpoints
                if not one.is_full
            ]

    def shut(self) -> set[Future[bytes]] | None:
        """Take no more calls; gives what is on the wire, or None where there is nothing to close.

        In a forked child nothing is touched: the connections are the parent's.
        """
        if os.getpid() != self._pid:
            return None
        with self._lock:
            first, self._closed = not self._closed, True
            return set(self._pending) if first else None

    def disconnect(self) -> None:
        """Close every connection; what is still on the wire ends as Unavailable."""
        with self._lock:
            connections = [*self._connections.values(), *self._retired]
        for connection in connections:
            connection.transport.close()

    def _land(self, landing: Landing, now: float, future: Future[bytes]) -> None:
        endpoint, started = landing.attempt.endpoint, landing.attempt.started
        landing.landed, landing.seconds = True, now - started
        landing.connection.outstanding -= 1
        if landing.abandoned:
            endpoint.abandoned -= 1
        error = landing.error = _read_error(future)
        failed = error is not None and find_remedy(type(error)).strike
        self._shared.endpoints.ended(endpoint, now, started, failed=failed)
        if error is None:
            landing.answer = future.result()
            self._shared.latency.add(landing.seconds)
        elif isinstance(error, Overloaded) and error.retry_after is not None:
            endpoint.quiet_until = now + error.retry_after

    def _choose_connection(self, endpoint: Endpoint, now: float) -> Connection:
        """Choose the connection for an attempt; a probe past a silent one gets a new one."""
        connection = self._find_connection(endpoint, now)
        opened = endpoint.opened_at
        if opened is None or endpoint.slow or connection.since >= opened:
            return connection
        if not connection.outstanding:
            return connection
        # The packets of a connection may be lost for good, while the server is well.
        self._retired.append(connection)
        del self._connections[endpoint.address]
        return self._find_connection(endpoint, now)

    def _find_connection(self, endpoint: Endpoint, now: float) -> Connection:
        connection = self._connections.get(endpoint.address)
        if connection is None:
            transport = self._connect(endpoint.address, self._owner[endpoint.address])
            connection = self._connections[endpoint.address] = Connection(transport, now)
        return connection

    def _keep_up(self, now: float) -> None:
        """Look names up again where that is due, and close what has become unused."""
        if self._retired:
            self._close_unused()
        if not self._has_names or self._resolving:
            return
        failing = any(one.failures_in_a_row for one in self.endpoints)
        if now - self._resolved_at < (MIN_REFRESH_S if failing else REFRESH_S):
            return
        with self._lock:
            if self._resolving:
                return
            self._resolving, self._resolved_at = True, now
        # A look-up can take seconds, and has no deadline of its own.
        threading.Thread(target=self._resolve, name="livewarden-resolve", daemon=True).start()

    def _resolve(self) -> None:
        found = {
            address: resolve_name(address) if address.is_name else (address.url,)
            for address in self._names
        }
        with self._lock:
            self._resolving = False
            for address, targets in found.items():
                # A name that cannot be looked up now keeps the servers that it had.
                if targets:
                    self._names[address] = targets
            self._owner = {
                target: address for address, targets in self._names.items() for target in targets
            }
            self._shared.endpoints.replace(self._owner)
            for url in [url for url in self._connections if url not in self._owner]:
                self._retired.append(self._connections.pop(url))

    def _close_unused(self) -> None:
        with self._lock:
            unused = [one for one in self._retired if not one.outstanding]
            self._retired = [one for one in self._retired if one.outstanding]
        for connection in unused:
            connection.transport.close()


def _read_error(future: Future[bytes]) -> ModerationError | None:
    try:
        error = future.exception()
    except CancelledError:
        return Unavailable("the call was cancelled before a verdict came")
    if error is None or isinstance(error, ModerationError):
        return error
    foreign = ServerError(f"the transport failed with {type(error).__name__}")
    foreign.__cause__ = error
    return foreign

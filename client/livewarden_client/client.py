"""The client: one clip in, one verdict out, or one typed error.

Generated from `async_client` by scripts/unasync.py; edit that one.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from livewarden_client.batch import Batch
from livewarden_client.connect import (
    DEFAULT_TIMEOUT,
    DEFAULT_URL,
    check_concurrency,
    check_hooks,
    check_on_failure,
    check_timeout,
    connect_fleet,
)
from livewarden_client.errors import FarSideFailed, Unavailable
from livewarden_client.flight import Flight, conclude_failure
from livewarden_client.lane import Lane
from livewarden_client.stream import Stream
from livewarden_client.wait import Mailbox, Place, run_blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from livewarden_client.batch import Landed
    from livewarden_client.clip import Clip
    from livewarden_client.connect import Compression
    from livewarden_client.credentials import Credentials
    from livewarden_client.errors import ModerationError
    from livewarden_client.fleet import Landing
    from livewarden_client.flight import OnFailure
    from livewarden_client.hook import Hook
    from livewarden_client.transport import Transport
    from livewarden_client.verdict import Verdict

CLOSE_GRACE: Final = 2.0
_READY_EVERY: Final = 0.1
_READY_WAIT: Final = 2.0


class Client:
    """Moderates clips against the server at `url`, "HOST:PORT" of its gRPC port.

    `url` may name several servers, or a name with several addresses: each call goes to the least
    busy of those that work. `timeout` is how many seconds a call takes at most when it names no
    timeout of its own. `on_failure="review"` answers a call that got no verdict with the client's
    own, action `review`; `"raise"` raises FarSideFailed. Misuse always raises.

    `hedge` sends a clip to a second server when the first takes longer than 95 of 100 calls do.
    `shared_memory_key` is the key that a server on this machine was started with: decoded frames
    then go through memory, and over the wire where that fails. `hooks` watch the calls. `transport`
    takes the network's place in tests, one for each server.

    One client serves any number of threads; each process needs its own. Close it at the end.
    """

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        on_failure: OnFailure = "review",
        credentials: Credentials | None = None,
        compression: Compression | None = None,
        hedge: bool = False,
        shared_memory_key: str = "",
        hooks: Sequence[Hook] = (),
        transport: Transport | Sequence[Transport] | None = None,
    ) -> None:
        self._timeout = check_timeout(timeout)
        self._on_failure = check_on_failure(on_failure)
        self._hedge = bool(hedge)
        self._hooks = check_hooks(hooks)
        self._fleet = connect_fleet(url, credentials, compression, shared_memory_key, transport)
        self._place = Place()

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

        The server is told the deadline and drops what is too late. Failed attempts are repeated
        within the deadline where that is safe and helps. A call that runs out of time ends here at
        once and is left to finish there; while 64 such calls are still on the wire to every
        server, new ones end as Overloaded. Raises ModerationError; see `errors` for the tree.
        """
        mailbox: Mailbox[Landing] = Mailbox()
        with self._open(clip, mailbox.put, timeout) as flight:
            while (until := flight.advance()) is not None:
                landing = mailbox.get(until)
                if landing is not None:
                    flight.receive(landing)
            return flight.conclude()

    def moderate_many(
        self, clips: Iterable[Clip], *, concurrency: int = 8, timeout: float | None = None
    ) -> Iterator[tuple[int, Verdict | ModerationError]]:
        """Give each clip's place in `clips` and its verdict, or its error, as they come.

        Up to `concurrency` calls run at the same time, and `clips` is read no further ahead. Each
        clip has `timeout` seconds, which go on while the caller looks at a verdict. One clip's
        error does not end the others: it comes in the verdict's place. Raises Misuse only where no
        call could go on, as in a closed client.
        """
        mailbox: Mailbox[Landed] = Mailbox()
        open_flight = partial(self._open, timeout=timeout)
        with Batch(clips, check_concurrency(concurrency), open_flight, mailbox.put) as batch:
            while True:
                # What has come is read before any clock: the caller may have been away for long.
                while (landed := mailbox.get(0.0)) is not None:
                    batch.receive(landed)
                yield from batch.advance()
                until = batch.next_look
                if until is None:
                    return
                landed = mailbox.get(until)
                if landed is not None:
                    batch.receive(landed)

    def open_stream(
        self,
        stream_id: str,
        *,
        state: str | None = None,
        max_age: float | None = None,
        timeout: float | None = None,
        region: str = "",
        surface: str = "",
        audience: str = "",
        room: str = "",
        policy: str = "",
    ) -> Stream:
        """Open the livestream `stream_id`: its clips in order, each with the state so far.

        `state` is the token to go on with. Clips captured more than `max_age` seconds ago are
        dropped. The other fields stand for clips that leave them empty.
        """
        defaults = {
            "region": region,
            "surface": surface,
            "audience": audience,
            "room": room,
            "policy": policy,
        }
        seconds = self._timeout if timeout is None else check_timeout(timeout)
        lane = Lane(stream_id, state, max_age, defaults)
        return Stream(lane, seconds, self._check, self.moderate, self._fail)

    def is_ready(self) -> bool:
        """Tell whether a server is up and has the model `moderation` loaded; False if unsure.

        Raises Misuse where the answer would never change: a closed client, wrong credentials.
        """
        self._check()
        return self._ask_ready(self._timeout)

    def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until a server is ready; raises Unavailable after `timeout` seconds."""
        self._check()
        seconds = self._timeout if timeout is None else check_timeout(timeout)
        give_up = time.monotonic() + seconds
        pause: Mailbox[None] = Mailbox()
        while True:
            left = give_up - time.monotonic()
            if left <= 0:
                raise Unavailable(f"no server was ready within {seconds:g} s; is one up?")
            if self._ask_ready(min(left, _READY_WAIT)):
                return
            pause.get(min(give_up, time.monotonic() + _READY_EVERY))

    def close(self) -> None:
        """Take no new calls, wait up to 2 s for those on the wire, then drop the connections."""
        pending = self._fleet.shut()
        if pending is None:
            return
        give_up = time.monotonic() + CLOSE_GRACE
        ended: Mailbox[object] = Mailbox()
        for future in pending:
            future.add_done_callback(ended.put)
        for _ in pending:
            if ended.get(give_up) is None:
                break
        self._fleet.disconnect()

    def _check(self) -> None:
        """Raise Misuse where no call may start: closed, or after a fork."""
        self._fleet.check()
        self._place.check()

    def _fail(self, clip: Clip, error: FarSideFailed) -> Verdict:
        """Give the client's own verdict on `clip` in place of `error`, or raise it."""
        return conclude_failure(clip, clip.request_id, error, 0.0, self._on_failure)

    def _ask_ready(self, seconds: float) -> bool:
        transports = self._fleet.list_transports()
        for transport in transports:
            try:
                # A server that does not answer leaves time for the next one.
                if run_blocking(partial(transport.is_ready, seconds / len(transports))):
                    return True
            except FarSideFailed:
                continue
        return False

    def _open(
        self, clip: Clip, deliver: Callable[[Landing], None], timeout: float | None
    ) -> Flight:
        seconds = self._timeout if timeout is None else check_timeout(timeout)
        self._place.check()
        return Flight(
            self._fleet,
            self._hooks,
            clip,
            seconds,
            deliver,
            on_failure=self._on_failure,
            hedge=self._hedge,
        )

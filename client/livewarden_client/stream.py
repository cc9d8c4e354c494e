"""One livestream through `Client`; generated from `async_stream` by scripts/unasync.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from livewarden_client.connect import check_timeout
from livewarden_client.errors import DeadlineExceeded
from livewarden_client.wait import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_client.clip import Clip
    from livewarden_client.errors import FarSideFailed
    from livewarden_client.lane import Lane, StreamCounts
    from livewarden_client.verdict import Verdict


class Stream:
    """One livestream, from `open_stream`: its clips go one at a time, each with the state so far.

    A stream needs no closing. Keep `state` to go on with the stream in another process.
    """

    def __init__(
        self,
        lane: Lane,
        timeout: float,
        check: Callable[[], None],
        moderate: Callable[[Clip, float], Verdict],
        fail: Callable[[Clip, FarSideFailed], Verdict],
    ) -> None:
        self._lane = lane
        self._timeout = timeout
        self._check, self._moderate, self._fail = check, moderate, fail

    @property
    def state(self) -> str | None:
        """The token of the newest verdict."""
        return self._lane.state

    @property
    def counts(self) -> StreamCounts:
        """What became of the stream's clips so far."""
        return self._lane.counts

    def moderate(self, clip: Clip, timeout: float | None = None) -> Verdict | None:
        """Give the verdict on `clip` within `timeout` seconds, or None where it was dropped.

        While an earlier clip is on its way this one waits, and gives way to a newer one. A clip
        without `clip_seq` gets the next number; one whose number is not higher than the last is
        dropped, as is one captured more than `max_age` ago. `counts` counts them all. Raises as
        the client's `moderate`.
        """
        seconds = self._timeout if timeout is None else check_timeout(timeout)
        self._check()
        give_up = time.monotonic() + seconds
        turn: Mailbox[bool] = Mailbox()
        ticket = self._lane.enter(clip, turn.put, round(time.time() * 1000))
        if ticket is None:
            return None
        verdict: Verdict | None = None
        try:
            called = turn.get(give_up)
            if called is False:
                return None
            own = self._lane.prepare(ticket)
            left = give_up - time.monotonic()
            if called is None or left <= 0:
                verdict = self._fail(
                    own,
                    DeadlineExceeded(
                        f"no verdict within {seconds:g} s: an earlier clip of the stream took them"
                    ),
                )
            else:
                verdict = self._moderate(own, left)
            return verdict
        finally:
            self._lane.leave(ticket, verdict)

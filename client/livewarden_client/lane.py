"""The lane of one livestream: which clip goes next, and what it carries. Pure but for its lock.

One clip is on its way at a time, and one waits; a newer one takes the place of the one that waits.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livewarden_client.clip import Clip
    from livewarden_client.verdict import Verdict

_FILLED: Final = ("region", "surface", "audience", "room", "policy")


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """What became of a stream's clips: `judged` ended in a verdict or an error, the rest unsent.

    `superseded` gave way to a newer clip while they waited; `duplicate` and `reordered` had the
    number of an earlier clip, or a lower one; `stale` were older than `max_age`.
    """

    judged: int = 0
    superseded: int = 0
    duplicate: int = 0
    reordered: int = 0
    stale: int = 0

    @property
    def dropped(self) -> int:
        """Count the clips that were not sent."""
        return self.superseded + self.duplicate + self.reordered + self.stale


@dataclass(slots=True, eq=False)
class Ticket:
    """One clip in the lane; `call` gets True when its turn comes, False when it is superseded."""

    clip: Clip
    call: Callable[[bool], None]


class Lane:
    """Order, numbers and state of the stream `stream_id`; safe to use from several threads.

    `state` is the token to go on with, `defaults` are fields for clips that leave them empty.
    """

    def __init__(
        self,
        stream_id: str,
        state: str | None,
        max_age: float | None,
        defaults: Mapping[str, str],
    ) -> None:
        if not isinstance(stream_id, str) or not stream_id:
            raise InvalidRequest("stream_id: accepted: the stream's name, not empty", "stream_id")
        if max_age is not None and not (isinstance(max_age, int | float) and max_age > 0):
            raise InvalidRequest("max_age: accepted: seconds above 0, or None", "max_age")
        self._lock = threading.Lock()
        self._stream_id = stream_id
        self._max_age = max_age
        self._defaults = defaults
        self._last = -1
        self._active: Ticket | None = None
        self._waiting: Ticket | None = None
        self.state = state
        self.counts = StreamCounts()

    def enter(self, clip: Clip, call: Callable[[bool], None], now_ms: int) -> Ticket | None:
        """Take `clip` in: it has the lane, or waits for its call; None where it is dropped.

        A clip with `clip_seq` 0 gets the next number. `now_ms` is Unix time.
        """
        if clip.stream_id not in {"", self._stream_id}:
            raise InvalidRequest(
                "stream_id: the clip belongs to another stream than the one it is given to",
                "stream_id",
            )
        with self._lock:
            number = clip.clip_seq or self._last + 1
            if number <= self._last:
                self._count("duplicate" if number == self._last else "reordered")
                return None
            self._last = number
            captured = clip.captured_at_ms
            if (
                self._max_age is not None
                and captured is not None
                and now_ms - captured > 1000 * self._max_age
            ):
                self._count("stale")
                return None
            ticket = Ticket(self._complete(clip, number), call)
            if self._active is None:
                self._active = ticket
                call(True)  # noqa: FBT003 - the one thing that it says
                return ticket
            if self._waiting is not None:
                self._count("superseded")
                self._waiting.call(False)  # noqa: FBT003 - the one thing that it says
            self._waiting = ticket
            return ticket

    def prepare(self, ticket: Ticket) -> Clip:
        """Give the clip of a ticket that was called, with the stream's newest state."""
        return ticket.clip if ticket.clip.state else replace(ticket.clip, state=self.state)

    def leave(self, ticket: Ticket, verdict: Verdict | None) -> None:
        """Free the lane, or the place of a clip that waited in vain, and call the next one."""
        with self._lock:
            if ticket is self._waiting:
                self._waiting = None
            if ticket is not self._active:
                return
            self._count("judged")
            if verdict is not None and verdict.state is not None:
                self.state = verdict.state
            self._active, self._waiting = self._waiting, None
            if self._active is not None:
                self._active.call(True)  # noqa: FBT003 - the one thing that it says

    def _complete(self, clip: Clip, number: int) -> Clip:
        empty: dict[str, Any] = {
            name: self._defaults[name] for name in _FILLED if not getattr(clip, name)
        }
        return replace(clip, stream_id=self._stream_id, clip_seq=number, **empty)

    def _count(self, name: str) -> None:
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + 1})

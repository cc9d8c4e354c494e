"""How `AsyncClient` waits: the seam that `wait` fills for `Client`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from livewarden_client.errors import WrongPlace

if TYPE_CHECKING:
    from collections.abc import Callable

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Place:
    """Where a client may be used: in the event loop of its first call."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise WrongPlace in any other loop."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise WrongPlace(
                "this AsyncClient belongs to another event loop; make one in each loop, or use "
                "Client, which serves any thread"
            )


class Mailbox(Generic[_Item]):
    """What other threads put in, one task waits for."""

    __slots__ = ("_items", "_loop", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[_Item] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: _Item) -> None:
        """Put `item` in, from any thread."""
        self._items.append(item)
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    async def get(self, until: float) -> _Item | None:
        """Take the next item, waiting until that monotonic time; None where none came."""
        seconds = until - time.monotonic()
        if not self._items and seconds > 0:
            self._waiter = self._loop.create_future()
            alarm = self._loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                alarm.cancel()
                self._waiter = None
        return self._items.popleft() if self._items else None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def run_blocking(work: Callable[[], _Answer]) -> _Answer:
    """Run `work`, which blocks, in a thread."""
    return await asyncio.to_thread(work)

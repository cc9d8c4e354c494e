"""How `Client` waits: the seam that `async_wait` fills for `AsyncClient`."""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Place:
    """Where a client may be used: in any thread."""

    def check(self) -> None:
        """Raise nothing."""


class Mailbox(Generic[_Item]):
    """What other threads put in, one waits for."""

    __slots__ = ("_items", "put")

    def __init__(self) -> None:
        self._items: SimpleQueue[_Item] = SimpleQueue()
        self.put: Callable[[_Item], None] = self._items.put

    def get(self, until: float) -> _Item | None:
        """Take the next item, waiting until that monotonic time; None where none came."""
        try:
            seconds = until - time.monotonic()
            return self._items.get(timeout=seconds) if seconds > 0 else self._items.get_nowait()
        except Empty:
            return None


def run_blocking(work: Callable[[], _Answer]) -> _Answer:
    """Run `work`, which blocks."""
    return work()

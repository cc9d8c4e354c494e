"""The drain: lets a server finish what it has before it is stopped.

Triton's own way does not do: from SIGTERM on it refuses every inference, and with that the
pipeline's calls to its leaves, so that clips in flight lose their models. Here the requests in
flight end first, and the signal comes to a server that has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# Triton's clean-up and the killing come after it; all of it ends within 12 s.
SERVE_S: Final = 7.0
FINISH_S: Final = 9.0
LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Flight:
    """Requests of `moderation`: `waiting` in Triton's queue, `running`, and `ended` since start."""

    waiting: int
    running: int
    ended: int

    @property
    def total(self) -> int:
        """How many have not been answered."""
        return self.waiting + self.running


def finish_requests(
    look: Callable[[], Flight | None],
    refuse: Callable[[], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until what is in flight now has ended; whether nothing is left.

    Requests that still come are served until all that were there at the beginning are through (the
    queue is first in, first out), for SERVE_S at most; then they are refused, and what runs gets
    until FINISH_S. `look` counts, and gives None where the server is gone.
    """
    start = clock()
    first = flight = look()
    while first is not None and flight is not None and clock() - start < SERVE_S:
        if flight.total == 0 or flight.ended - first.ended >= first.total:
            break
        sleep(LOOK_S)
        flight = look()
    refuse()
    idle = 0
    while flight is not None and clock() - start < FINISH_S:
        # Twice: a request is for a moment neither in the queue nor in the model.
        idle = idle + 1 if flight.total == 0 else 0
        if idle > 1:
            return True
        sleep(LOOK_S)
        flight = look()
    return flight is None

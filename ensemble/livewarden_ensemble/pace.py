"""Pace: which clips of a batch can no longer be answered in time, and so are not begun. Pure.

At three times its peak a server that begins every clip before its deadline answers hardly any: the
work on those that end too late is lost to those that could have been answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# A batch counts this much in the estimate when the next one has been seen.
_MEMORY: Final = 0.8
# Batches vary, and a clip that is late by a little is as lost as one that is late by much.
_MARGIN: Final = 1.2
# Of so many batches in a row that would begin nobody, one begins the clip with the most time: else
# an estimate that is too high for everyone would never be put right.
_PATIENCE: Final = 4


class Pace:
    """What an item, a frame or a text, costs of late in the batch that it is in."""

    def __init__(self) -> None:
        self._ms = self._items = 0.0
        self._idle_batches = 0

    def estimate(self, items: int) -> float:
        """Milliseconds in which a batch of `items` should be answered; 0 while nothing is known."""
        return _MARGIN * items * self._ms / self._items if self._items else 0.0

    def note(self, items: int, milliseconds: float) -> None:
        """Learn from a batch of which `items` were begun, answered after `milliseconds`."""
        if items:
            self._ms = _MEMORY * self._ms + milliseconds
            self._items = _MEMORY * self._items + items

    def find_hopeless(self, items: Sequence[int], left_ms: Sequence[float]) -> set[int]:
        """Find the clips that would be late: `items` of each, and the milliseconds that it has.

        All clips of a batch are answered together, so who is left out makes the others faster.
        """
        kept = sorted(range(len(items)), key=lambda clip: left_ms[clip], reverse=True)
        size = sum(items)
        hopeless: set[int] = set()
        while kept and left_ms[kept[-1]] <= self.estimate(size):
            size -= items[kept[-1]]
            hopeless.add(kept.pop())
        self._idle_batches = 0 if kept else self._idle_batches + 1
        if self._idle_batches >= _PATIENCE:
            best = max(hopeless, key=lambda clip: left_ms[clip], default=None)
            if best is not None and left_ms[best] > 0:
                self._idle_batches = 0
                hopeless.remove(best)
        return hopeless

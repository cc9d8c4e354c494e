"""Pace: which clips of a batch can no longer be answered in time, and so are not begun. Pure.

At three times its peak a server that begins every clip before its deadline answers hardly any: the
work on those that end too late is lost to those that could have been answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# The estimate is the fastest batch of late. It rises by this much a batch until it meets what
# batches take now, and falls by as much each time that it turned somebody away: it errs to the
# side of beginning a clip.
_DRIFT: Final = 1.05


class Pace:
    """What one item, a frame or a text, has cost of late in the batch that it was in."""

    def __init__(self) -> None:
        self._ms_per_item = 0.0

    def estimate(self, items: int) -> float:
        """Milliseconds that a batch of `items` takes at least; 0 while nothing is known."""
        return self._ms_per_item * items

    def note(self, items: int, milliseconds: float) -> None:
        """Learn from a batch of `items` that was answered after `milliseconds`."""
        if items:
            fresh = milliseconds / items
            raised = self._ms_per_item * _DRIFT
            self._ms_per_item = min(fresh, raised) if raised else fresh

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
        if hopeless:
            self._ms_per_item /= _DRIFT
        return hopeless

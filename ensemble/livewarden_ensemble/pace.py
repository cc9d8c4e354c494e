"""Pace: which clips of a batch can no longer be answered in time, and so are not begun. Pure.

At three times its peak a server that begins every clip before its deadline answers hardly any: the
work on those that end too late is lost to those that could have been answered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

# What a frame costs, in texts: decoding and two encoders against one (docs/performance.md).
_FRAME: Final = 4
# A batch counts this much in the estimate when the next one has been seen.
_MEMORY: Final = 0.8
# Batches vary, and a clip that is late by a little is as lost as one that is late by much.
_MARGIN: Final = 1.2
# Else an estimate that is too high would never be put right: a hopeless clip is begun all the same
# after so many batches that began nobody, and after so many clips that were turned away.
_IDLE_BATCHES: Final = 4
_TURNED_AWAY: Final = 64


def measure_size(frames: int, texts: int) -> int:
    """What a clip costs, in texts."""
    return _FRAME * frames + texts


class Pace:
    """What a clip costs of late for each text's worth of it, in the batch that it is in."""

    def __init__(self) -> None:
        self._ms = self._size = 0.0
        self._idle_batches = self._turned_away = 0

    def estimate(self, size: int) -> float:
        """Milliseconds in which a batch of `size` should be answered; 0 while nothing is known."""
        return _MARGIN * size * self._ms / self._size if self._size else 0.0

    def note(self, size: int, milliseconds: float, *, whole: bool = True) -> None:
        """Learn from a batch of which `size` was begun, and that took `milliseconds`.

        One that was not done as a `whole`, because clips expired, can only have cost more.
        """
        if size and (whole or milliseconds > self.estimate(size)):
            self._ms = _MEMORY * self._ms + milliseconds
            self._size = _MEMORY * self._size + size

    def find_hopeless(self, sizes: Sequence[int], left_ms: Sequence[float]) -> set[int]:
        """Find the clips that would be late: the size of each, and the milliseconds that it has.

        All clips of a batch are answered together, so who is left out makes the others faster. Out
        go those with the least time: a long clip that has it must not wait for ever for a batch of
        its own.
        """
        kept = sorted(range(len(sizes)), key=lambda clip: (-left_ms[clip], sizes[clip]))
        total = sum(sizes)
        hopeless: set[int] = set()
        while kept and left_ms[kept[-1]] <= self.estimate(total):
            total -= sizes[kept[-1]]
            hopeless.add(kept.pop())
        # Who has no deadline (the canary) goes through in any case, and says nothing.
        if any(left_ms[clip] < math.inf for clip in kept):
            self._idle_batches = 0
        elif hopeless:
            self._idle_batches += 1
        self._turned_away += len(hopeless)
        if self._idle_batches >= _IDLE_BATCHES or self._turned_away >= _TURNED_AWAY:
            best = max(hopeless, key=lambda clip: left_ms[clip], default=None)
            if best is not None and left_ms[best] > 0:
                self._idle_batches = self._turned_away = 0
                hopeless.remove(best)
        return hopeless

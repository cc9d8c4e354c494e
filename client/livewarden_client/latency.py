"""How long verdicts take: the 95th percentile of the last ones. Pure; no clock inside."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 256
# A percentile of fewer would be noise.
MIN_SAMPLES: Final = 32
_REFRESH: Final = 16


class Latency:
    """The time of the last 256 answers; `p95` is None until there are 32."""

    __slots__ = ("_seconds", "_seen", "p95")

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=WINDOW)
        self._seen = 0
        self.p95: float | None = None

    def add(self, seconds: float) -> None:
        """Count one answer; `p95` follows with every sixteenth."""
        self._seconds.append(seconds)
        self._seen += 1
        if self._seen >= MIN_SAMPLES and self._seen % _REFRESH == 0:
            ordered = sorted(self._seconds)
            self.p95 = ordered[(len(ordered) * 95 - 1) // 100]

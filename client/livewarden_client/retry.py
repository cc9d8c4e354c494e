"""Retries: how many a client may make, and how long it waits before one. Pure; no clock inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Attempts over all causes together: the first and at most two more.
MAX_ATTEMPTS: Final = 3
FIRST_BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 1.0

# Retries are at most this share of the calls, and a few more where there are few calls.
RETRY_RATIO: Final = 0.1
RETRIES_PER_SECOND: Final = 1.0
MAX_SAVED_RETRIES: Final = 10.0


@dataclass(slots=True)
class RetryBudget:
    """A token bucket for retries: calls and time fill it, each further attempt takes one.

    In any stretch of time there are at most 10 retries, 0.1 per call and 1 per second, so that a
    failing server does not get three times the load. After Finagle's RetryBudget and gRFC A6.
    """

    now: float
    balance: float = MAX_SAVED_RETRIES

    def deposit(self, now: float) -> None:
        """Count one new call."""
        self._earn(now, RETRY_RATIO)

    def withdraw(self, now: float) -> bool:
        """Take one retry; False where there is none left."""
        self._earn(now, 0.0)
        if self.balance < 1.0:
            return False
        self.balance -= 1.0
        return True

    def _earn(self, now: float, extra: float) -> None:
        passed = max(0.0, now - self.now)
        self.now = max(self.now, now)
        earned = self.balance + passed * RETRIES_PER_SECOND + extra
        self.balance = min(MAX_SAVED_RETRIES, earned)


def choose_backoff(failures: int, jitter: Callable[[], float]) -> float:
    """Give the pause, in seconds, after `failures` failed attempts (at least one).

    Full jitter: uniform from 0 to 50 ms times two to the power of earlier failures, at most 1 s.
    `jitter` gives numbers in [0, 1).
    """
    return jitter() * min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** (failures - 1))

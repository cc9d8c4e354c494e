"""Endpoints: which of several servers gets the next attempt. Pure; no clock and no network inside.

The least busy one gets it. An endpoint is set aside where it fails too often or is far slower than
the others; set aside, it gets single probes until one of them goes well.

    closed ──(half of 20 in 10 s failed, or 5 in a row and there is another)──> open, a probe per s
    closed ──(three times slower than the others)──────────> open, a probe after 1, 2, 4 .. 60 s
    open ────(a probe is answered, and not slowly)─────────> closed
    open ────(was slow, and now the others are as slow)────> closed
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

WINDOW_S: Final = 10
MIN_CALLS: Final = 20
FAILED_SHARE: Final = 0.5
FAILED_IN_A_ROW: Final = 5
PROBE_EVERY_S: Final = 1.0

SLOW_FACTOR: Final = 3.0
# Below this a slower endpoint is no trouble: 3 ms against 1 ms.
SLOW_MARGIN_S: Final = 0.02
MIN_ANSWERS: Final = 8
MAX_SLOW_PROBE_S: Final = 60.0
_WEIGHT: Final = 0.2

# Calls that nobody waits for any more; an endpoint that holds so many gets no new ones.
MAX_ABANDONED: Final = 64


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server, or one address of it, as this client sees it. Times are in seconds."""

    address: str
    outstanding: int = 0
    abandoned: int = 0
    quiet_until: float = -math.inf
    opened_at: float | None = None
    next_probe: float = 0.0
    probe_gap: float = PROBE_EVERY_S
    slow: bool = False
    failures_in_a_row: int = 0
    answers: int = 0
    mean_s: float = 0.0
    _seconds: deque[list[int]] = field(default_factory=deque)

    @property
    def is_open(self) -> bool:
        """Tell whether the endpoint is set aside and gets probes only."""
        return self.opened_at is not None

    @property
    def is_full(self) -> bool:
        """Tell whether too many calls that nobody waits for are still on it."""
        return self.abandoned >= MAX_ABANDONED

    def count(self, now: float, *, failed: bool) -> None:
        """Count one ended attempt in the window of the last ten whole seconds."""
        second = math.floor(now)
        if not self._seconds or self._seconds[-1][0] < second:
            self._seconds.append([second, 0, 0])
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += failed
        self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0

    def breaks(self, now: float) -> bool:
        """Tell whether half of at least 20 attempts in the last 10 s failed."""
        oldest = math.floor(now) - WINDOW_S
        while self._seconds and self._seconds[0][0] <= oldest:
            self._seconds.popleft()
        total = sum(entry[1] for entry in self._seconds)
        failed = sum(entry[2] for entry in self._seconds)
        return total >= MIN_CALLS and failed >= FAILED_SHARE * total

    def open(self, now: float, *, slow: bool) -> None:
        """Set the endpoint aside."""
        self.opened_at = now
        self.slow = slow
        self.probe_gap = PROBE_EVERY_S
        self.next_probe = now + self.probe_gap

    def close(self) -> None:
        """Take the endpoint back, with nothing held against it."""
        self.opened_at = None
        self.slow = False
        self.failures_in_a_row = 0
        self.answers = 0
        self._seconds.clear()

    def time(self, seconds: float) -> None:
        """Count one answer's time in the moving mean."""
        self.answers += 1
        weight = max(_WEIGHT, 1 / self.answers)
        self.mean_s += weight * (seconds - self.mean_s)


class Endpoints:
    """All endpoints of one client. Not safe for threads by itself; the fleet has the lock."""

    def __init__(self, addresses: Iterable[str], jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self.all: tuple[Endpoint, ...] = tuple(Endpoint(address) for address in addresses)

    def replace(self, addresses: Iterable[str]) -> None:
        """Take other addresses; what is known of those that stay is kept."""
        known = {endpoint.address: endpoint for endpoint in self.all}
        self.all = tuple(known.get(address) or Endpoint(address) for address in addresses)

    def pick(self, now: float, tried: Collection[Endpoint] = ()) -> Endpoint | None:
        """Pick the endpoint for an attempt at `now`; None where none may be asked.

        One that is due for a probe goes first, then the least busy; `tried` ones and those that
        asked for quiet come last. The caller must call `began` or the probe is lost.
        """
        due = [one for one in self.all if one.is_open and now >= one.next_probe and not one.is_full]
        fresh = [one for one in due if one not in tried]
        if fresh:
            return fresh[0]
        ready = [one for one in self.all if not one.is_full]
        # Where everything else fails, a slow endpoint is better than none.
        usable = [one for one in ready if not one.is_open] or [one for one in ready if one.slow]
        if not usable:
            return due[0] if due else None
        if len(usable) == 1:
            return usable[0]
        return min(
            usable,
            key=lambda one: (
                one in tried,
                now < one.quiet_until,
                one.outstanding,
                self._jitter(),
            ),
        )

    def began(self, endpoint: Endpoint, now: float) -> None:
        """Count an attempt that is sent."""
        endpoint.outstanding += 1
        if endpoint.is_open:
            endpoint.next_probe = now + endpoint.probe_gap

    def ended(self, endpoint: Endpoint, now: float, started: float, *, failed: bool) -> None:
        """Count the end of an attempt that was sent at `started`, however late it comes."""
        endpoint.outstanding -= 1
        if not failed:
            endpoint.time(now - started)
        if not endpoint.is_open:
            endpoint.count(now, failed=failed)
            self._judge(endpoint, now)
        elif endpoint.opened_at is not None and started >= endpoint.opened_at:
            self._judge_probe(endpoint, now, now - started, failed=failed)

    def strike(self, endpoint: Endpoint, now: float) -> None:
        """Count a failure that no ended attempt tells of: silence, or a foreign answer."""
        if not endpoint.is_open:
            endpoint.count(now, failed=True)
            self._judge(endpoint, now)

    def next_probe(self) -> float | None:
        """Give the time of the next probe where every endpoint is set aside, else None."""
        if not all(one.is_open for one in self.all):
            return None
        return min(one.next_probe for one in self.all)

    def _judge(self, endpoint: Endpoint, now: float) -> None:
        # A slow one counts as another: it answers.
        other = any(one is not endpoint and (one.slow or not one.is_open) for one in self.all)
        if endpoint.breaks(now) or (other and endpoint.failures_in_a_row >= FAILED_IN_A_ROW):
            endpoint.open(now, slow=False)
        elif endpoint.answers >= MIN_ANSWERS and self._is_slow(endpoint, endpoint.mean_s):
            endpoint.open(now, slow=True)
        for one in self.all:
            if one.slow and not self._is_slow(one, one.mean_s):
                one.close()

    def _judge_probe(self, endpoint: Endpoint, now: float, seconds: float, *, failed: bool) -> None:
        if not failed and not (endpoint.slow and self._is_slow(endpoint, seconds)):
            endpoint.close()
        elif endpoint.slow:
            endpoint.probe_gap = min(MAX_SLOW_PROBE_S, 2 * endpoint.probe_gap)
            endpoint.next_probe = now + endpoint.probe_gap

    def _is_slow(self, endpoint: Endpoint, seconds: float) -> bool:
        usual = [
            one.mean_s
            for one in self.all
            if one is not endpoint and not one.is_open and one.answers >= MIN_ANSWERS
        ]
        if not usual:
            return False
        middle = median(usual)
        return seconds > SLOW_FACTOR * middle and seconds > middle + SLOW_MARGIN_S

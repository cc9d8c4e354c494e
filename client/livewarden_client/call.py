"""One call as a state machine without I/O: what happened goes in, what to do next comes out.

    decide(now) ── Start(attempt)  send the clip to attempt.endpoint
                ── Wait(until)     nothing to do before `until`, unless an attempt ends
                ── End(outcome)    the verdict, or the error that the call ends in

Times are seconds of one monotonic clock, which the caller reads. The call's deadline is absolute
and shared by all attempts: with another endpoint to turn to, an attempt has its share of what is
left before the clip is sent there as well. It is never taken back: its answer still counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from livewarden_client.errors import (
    DeadlineExceeded,
    FarSideFailed,
    ModerationError,
    Overloaded,
    Unavailable,
    find_remedy,
)
from livewarden_client.retry import MAX_ATTEMPTS, RetryBudget, choose_backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_client.endpoint import Endpoint, Endpoints
    from livewarden_client.latency import Latency
    from livewarden_client.verdict import Verdict

# Seconds of silence that count against an endpoint while nothing is known of its answers.
USUAL_ANSWER: Final = 1.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What the calls of one client have in common."""

    endpoints: Endpoints
    budget: RetryBudget
    latency: Latency
    jitter: Callable[[], float]


@dataclass(slots=True, eq=False)
class Attempt:
    """One sending of the clip. `patience` is when the next endpoint is asked as well."""

    number: int
    endpoint: Endpoint
    started: float
    patience: float = math.inf
    hedge: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Send the clip."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for the end of an attempt, at most until then."""

    until: float


@dataclass(frozen=True, slots=True)
class End:
    """The call is over."""

    outcome: Verdict | ModerationError


class Call:
    """One call that began at `now` and ends by `deadline`, at most three attempts long.

    Not safe for threads: whoever drives it holds the lock of what it shares with other calls.
    """

    def __init__(self, shared: Shared, now: float, deadline: float, *, hedge: bool = False) -> None:
        self._shared = shared
        self._began = now
        self._deadline = deadline
        self._hedge = hedge
        self._due = now
        self._made = 0
        self._hedged = False
        self._is_hedge = False
        self._retries: dict[type[ModerationError], int] = {}
        self._tried: list[Endpoint] = []
        self._error: ModerationError | None = None
        self._end: End | None = None
        self.live: list[Attempt] = []
        shared.budget.deposit(now)

    @property
    def attempts(self) -> int:
        """Count the attempts that were started."""
        return self._made

    def decide(self, now: float) -> Start | Wait | End:
        """Say what to do at `now`; call it again after every event and at the end of a wait."""
        if self._end is not None:
            return self._end
        if now >= self._deadline:
            for attempt in self.live:
                self._blame(attempt, now)
            return self._conclude(self._expire())
        self._look_at_timers(now)
        if now >= self._due:
            return self._start(now)
        times = [self._deadline, self._due, *(attempt.patience for attempt in self.live)]
        return Wait(min(*times, self._hedge_at()))

    def succeed(self, attempt: Attempt, verdict: Verdict) -> None:
        """Take the verdict that `attempt` brought; the first one of a call is its outcome."""
        self.live.remove(attempt)
        self._conclude(verdict)

    def fail(self, attempt: Attempt, now: float, error: ModerationError) -> None:
        """Take the error that `attempt` ended in: send again, wait for others, or end."""
        self.live.remove(attempt)
        self._error = error
        if not isinstance(error, FarSideFailed):
            self._conclude(error)
        elif not self.live and self._due == math.inf:
            self._plan_retry(now, error)

    def _look_at_timers(self, now: float) -> None:
        for attempt in self.live:
            if now >= attempt.patience:
                attempt.patience = math.inf
                self._blame(attempt, now)
                if self._has_other() and self._may_retry(now, DeadlineExceeded):
                    self._due = now
        if now >= self._hedge_at():
            self._hedged = True
            if self._has_other() and self._shared.budget.withdraw(now):
                self._is_hedge, self._due = True, now

    def _blame(self, attempt: Attempt, now: float) -> None:
        """Count the silence of `attempt` against its endpoint, where most answers are quicker."""
        patience = self._shared.latency.p95 or USUAL_ANSWER
        if not attempt.silent and now - attempt.started >= patience:
            attempt.silent = True
            self._shared.endpoints.strike(attempt.endpoint, now)

    def _hedge_at(self) -> float:
        p95 = self._shared.latency.p95
        if not self._hedge or self._hedged or p95 is None or self._made != 1 or not self.live:
            return math.inf
        return self.live[0].started + p95

    def _start(self, now: float) -> Start | Wait | End:
        self._due = math.inf
        endpoint = self._shared.endpoints.pick(now, self._tried)
        if endpoint is None:
            if self.live:
                return self.decide(now)
            return self._conclude(self._error or self._refuse(now))
        self._made += 1
        attempt = Attempt(self._made, endpoint, now, hedge=self._is_hedge)
        self._is_hedge = False
        self._tried.append(endpoint)
        if self._has_other():
            attempt.patience = now + (self._deadline - now) / (MAX_ATTEMPTS - self._made + 1)
        self.live.append(attempt)
        self._shared.endpoints.began(endpoint, now)
        return Start(attempt)

    def _has_other(self) -> bool:
        """Tell whether one more attempt could go to an endpoint that this call has not asked."""
        return self._made < MAX_ATTEMPTS and any(
            one not in self._tried and not one.is_open and not one.is_full
            for one in self._shared.endpoints.all
        )

    def _plan_retry(self, now: float, error: FarSideFailed) -> None:
        pause = choose_backoff(self._made, self._shared.jitter)
        due = now + max(pause, error.retry_after or 0.0)
        if due < self._deadline and self._may_retry(now, type(error)):
            self._due = due
        else:
            self._conclude(error)

    def _may_retry(self, now: float, kind: type[ModerationError]) -> bool:
        done = self._retries.get(kind, 0)
        if self._made >= MAX_ATTEMPTS or done >= find_remedy(kind).retries:
            return False
        if not self._shared.budget.withdraw(now):
            return False
        self._retries[kind] = done + 1
        return True

    def _expire(self) -> DeadlineExceeded:
        seconds = self._deadline - self._began
        if not self.live and self._error is not None:
            error = DeadlineExceeded(
                f"no verdict within {seconds:g} s; the last of {self._made} attempts failed"
            )
            error.__cause__ = self._error
            return error
        return DeadlineExceeded(
            f"no verdict within {seconds:g} s; the server may still score the clip, "
            "and its answer will be thrown away"
        )

    def _refuse(self, now: float) -> FarSideFailed:
        endpoints = self._shared.endpoints
        probe = endpoints.next_probe()
        if probe is None:
            return Overloaded(
                "as many calls that ran out of time as this client leaves behind are still on "
                "the wire; wait, or give calls more time"
            )
        error = Unavailable(
            f"all {len(endpoints.all)} endpoints failed lately and are left alone for now; "
            "single calls are let through to see whether they are back"
        )
        error.retry_after = max(0.0, probe - now)
        return error

    def _conclude(self, outcome: Verdict | ModerationError) -> End:
        if self._end is None:
            self._end = End(outcome)
        self._due = math.inf
        return self._end

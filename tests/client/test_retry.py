from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.retry import (
    FIRST_BACKOFF,
    MAX_BACKOFF,
    MAX_SAVED_RETRIES,
    RETRIES_PER_SECOND,
    RETRY_RATIO,
    RetryBudget,
    choose_backoff,
)

STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "retry"]), st.sampled_from([0.0, 0.0, 0.01, 0.3, 20.0])),
    max_size=200,
)


@dataclass
class SlowBudget:
    """The same rule from the whole history: earn step by step, never more than the bucket holds."""

    start: float
    history: list[tuple[str, float]] = field(default_factory=list)

    def allows(self, now: float) -> bool:
        """Tell whether one more retry is allowed."""
        balance, last = self.start, 0.0
        for kind, at in [*self.history, ("now", now)]:
            balance += (at - last) * RETRIES_PER_SECOND + (RETRY_RATIO if kind == "call" else 0)
            balance = min(MAX_SAVED_RETRIES, balance)
            balance -= kind == "retry"
            last = at
        return balance >= 1.0


@given(STEPS, st.sampled_from([0.0, 1.0, 2.5, MAX_SAVED_RETRIES]))
def test_budget_is_that_of_its_whole_history(steps: list[tuple[str, float]], start: float) -> None:
    """The bucket allows exactly what adding up all that ever happened allows."""
    budget, slow, now = RetryBudget(0.0, start), SlowBudget(start), 0.0
    for kind, pause in steps:
        now += pause
        if kind == "call":
            budget.deposit(now)
            slow.history.append((kind, now))
        else:
            allowed = slow.allows(now)
            assert budget.withdraw(now) is allowed
            if allowed:
                slow.history.append((kind, now))


@given(STEPS, st.sampled_from([0.0, 1.0, MAX_SAVED_RETRIES]))
def test_retries_stay_a_small_share(steps: list[tuple[str, float]], start: float) -> None:
    """There are never more than 10 retries, a tenth of the calls and one per second."""
    budget, now, calls, retries = RetryBudget(0.0, start), 0.0, 0, 0
    for kind, pause in steps:
        now += pause
        if kind == "call":
            budget.deposit(now)
            calls += 1
        else:
            retries += budget.withdraw(now)
        assert retries <= start + RETRY_RATIO * calls + RETRIES_PER_SECOND * now + 1e-6


def test_clock_that_stands_earns_nothing() -> None:
    """Two threads may read the clock in one order and ask in the other; no time is earned twice."""
    budget = RetryBudget(10.0, balance=0.0)
    budget.deposit(5.0)
    assert budget.withdraw(10.0) is False
    assert budget.withdraw(10.9) is True


@pytest.mark.parametrize("failures", [1, 2, 3, 50])
def test_backoff_is_full_jitter(failures: int) -> None:
    """The pause is uniform from nothing to 50 ms, 100 ms, 200 ms and so on, to 1 s."""
    most = min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** (failures - 1))
    assert choose_backoff(failures, lambda: 0.0) == 0.0
    assert choose_backoff(failures, lambda: 0.5) == pytest.approx(most / 2)
    assert choose_backoff(failures, lambda: 1.0) == pytest.approx(most)

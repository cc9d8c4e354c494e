from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_ensemble.drain import FINISH_S, LOOK_S, SERVE_S, Flight, finish_requests


class World:
    """A queue with `slots` copies of a model; each request takes `cost_s`, `arrivals` a second."""

    def __init__(self, waiting: int, cost_s: float, arrivals: float = 0, slots: int = 2) -> None:
        self.now = 0.0
        self.queue: list[str] = ["old"] * waiting
        self.running: list[tuple[str, float]] = []
        self.answered: list[str] = []
        self.refused: list[str] = []
        self.closed_at: float | None = None
        self._cost_s, self._arrivals, self._slots, self._due = cost_s, arrivals, slots, 0.0
        self._fill()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self._due += seconds * self._arrivals
        while self._due >= 1:
            self._due -= 1
            self.queue.append("new")
        self.answered += [name for name, end in self.running if end <= self.now]
        self.running = [one for one in self.running if one[1] > self.now]
        self._fill()

    def refuse(self) -> None:
        """Close the model."""
        self.closed_at = self.now
        self._fill()

    def look(self) -> Flight:
        """Count, as the supervisor does."""
        ended = len(self.answered) + len(self.refused)
        return Flight(len(self.queue), len(self.running), ended)

    def finish(self) -> bool:
        """Drain it."""
        return finish_requests(self.look, self.refuse, clock=lambda: self.now, sleep=self.sleep)

    def _fill(self) -> None:
        while self.queue and self.closed_at is not None:
            self.refused.append(self.queue.pop(0))
        while self.queue and len(self.running) < self._slots:
            self.running.append((self.queue.pop(0), self.now + self._cost_s))


def test_idle_server_is_drained_at_once():
    """Nothing in flight: closed right away, and over after the second look."""
    world = World(waiting=0, cost_s=1)
    assert world.finish()
    assert world.now <= 2 * LOOK_S


@given(st.integers(0, 40), st.floats(0.01, 0.3), st.floats(0, 30))
def test_what_was_in_flight_is_answered(waiting: int, cost_s: float, arrivals: float):
    """Whatever keeps coming: all that was there is answered while time allows, the rest refused."""
    world = World(waiting, cost_s, arrivals)
    assert world.finish()
    assert world.refused.count("old") == 0
    assert world.answered.count("old") == waiting
    assert world.closed_at <= SERVE_S + LOOK_S


def test_queue_that_is_too_long_is_refused_in_time():
    """More than fits into the time: refused after SERVE_S, with an answer for every request."""
    world = World(waiting=500, cost_s=0.1)
    assert world.finish()
    assert world.now <= FINISH_S
    assert world.refused.count("old") + world.answered.count("old") == 500
    assert SERVE_S <= world.closed_at <= SERVE_S + LOOK_S


def test_hung_request_is_not_waited_for_for_ever():
    """A request that never ends costs FINISH_S, and the caller hears that something is left."""
    world = World(waiting=1, cost_s=600)
    assert not world.finish()
    assert FINISH_S <= world.now <= FINISH_S + LOOK_S


@pytest.mark.parametrize("after", [0, 1, 5])
def test_server_that_dies_meanwhile_ends_the_drain(after: int):
    """With the server gone there is nothing to wait for."""
    looks = iter([Flight(1, 1, 0)] * after)
    closed = []
    assert finish_requests(
        lambda: next(looks, None), lambda: closed.append(1), sleep=lambda _: None
    )
    assert closed == [1]

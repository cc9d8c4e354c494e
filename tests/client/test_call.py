from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.call import Attempt, Call, End, Shared, Start, Wait
from livewarden_client.endpoint import Endpoints
from livewarden_client.errors import (
    REMEDIES,
    CrossedReply,
    DeadlineExceeded,
    FarSideFailed,
    InvalidRequest,
    ModerationError,
    Overloaded,
    ServerError,
    Unavailable,
)
from livewarden_client.latency import MIN_SAMPLES, Latency
from livewarden_client.retry import FIRST_BACKOFF, MAX_ATTEMPTS, RetryBudget

VERDICT: Any = "the verdict"
FAILURES = [Unavailable, Overloaded, CrossedReply, ServerError, InvalidRequest]


@dataclass
class World:
    """Drives one call in virtual time: attempt number n takes and ends as `script[n]` says."""

    script: list[tuple[float, type[ModerationError] | None]]
    endpoints: int = 1
    jitter: float = 0.5
    deadline: float = 10.0
    tokens: float = 10.0
    hedge: bool = False
    p95: float | None = None
    retry_after: float | None = None
    now: float = 0.0
    starts: list[Attempt] = field(default_factory=list)

    def run(self) -> Any:
        """Run the call to its end and give the outcome."""
        latency = Latency()
        latency.p95 = self.p95
        self.shared = Shared(
            Endpoints([f"e{n}" for n in range(self.endpoints)], lambda: 0.0),
            RetryBudget(0.0, self.tokens),
            latency,
            lambda: self.jitter,
        )
        call = Call(self.shared, 0.0, self.deadline, hedge=self.hedge)
        landings: list[tuple[float, int, Attempt, type[ModerationError] | None]] = []
        for _ in range(100):
            match call.decide(self.now):
                case End(outcome):
                    return outcome
                case Start(attempt):
                    seconds, kind = self.script[len(self.starts)]
                    self.starts.append(attempt)
                    heapq.heappush(landings, (self.now + seconds, len(self.starts), attempt, kind))
                case Wait(until):
                    assert until > self.now
                    if landings and landings[0][0] <= until:
                        self.now, _, attempt, kind = heapq.heappop(landings)
                        self._land(call, attempt, kind)
                    else:
                        self.now = until
        pytest.fail("the call never ends")

    def _land(self, call: Call, attempt: Attempt, kind: type[ModerationError] | None) -> None:
        failed = kind is not None and REMEDIES[kind].strike
        self.shared.endpoints.ended(attempt.endpoint, self.now, attempt.started, failed=failed)
        if kind is None:
            call.succeed(attempt, VERDICT)
            return
        error = kind("failed")
        if isinstance(error, FarSideFailed):
            error.retry_after = self.retry_after
        call.fail(attempt, self.now, error)


SCRIPTS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 1.0, 3.0, 30.0]), st.sampled_from([None, *FAILURES])),
    min_size=MAX_ATTEMPTS,
    max_size=MAX_ATTEMPTS,
)


def judge_slowly(world: World) -> tuple[Any, list[float]]:
    """Say how a call to one endpoint must end, attempt after attempt, as a person would reckon."""
    now, tokens, starts, causes = 0.0, min(10.0, world.tokens + 0.1), [], []
    while True:
        starts.append(now)
        seconds, kind = world.script[len(starts) - 1]
        earned = tokens + now
        now += seconds
        if now > world.deadline:
            return DeadlineExceeded, starts
        if kind is None:
            return VERDICT, starts
        causes.append(kind)
        allowed = {Unavailable: 2, Overloaded: 1, CrossedReply: 1}.get(kind, 0)
        pause = world.jitter * FIRST_BACKOFF * 2 ** (len(starts) - 1)
        tokens_now = min(10.0, earned + seconds)
        if (
            len(starts) == MAX_ATTEMPTS
            or causes.count(kind) > allowed
            or now + pause >= world.deadline
            or tokens_now < 1
        ):
            return kind, starts
        tokens = tokens_now - 1 - now
        now += pause


@given(SCRIPTS, st.sampled_from([0.0, 0.5, 0.9, 1.5, 10.0]), st.sampled_from([0.5, 2.0, 10.0]))
def test_call_to_one_endpoint_ends_as_reckoned(script: Any, tokens: float, deadline: float) -> None:
    """Outcome and times of all attempts are those of the slow reference."""
    world = World(script, tokens=tokens, deadline=deadline)
    outcome = world.run()
    expected, starts = judge_slowly(world)
    assert (outcome if outcome is VERDICT else type(outcome)) == expected
    assert [attempt.started for attempt in world.starts] == pytest.approx(starts)


@given(
    script=SCRIPTS,
    endpoints=st.integers(1, 4),
    hedge=st.booleans(),
    tokens=st.sampled_from([0.0, 2.0, 10.0]),
)
def test_every_call_ends_once_and_in_time(
    script: Any, endpoints: int, *, hedge: bool, tokens: float
) -> None:
    """Any number of endpoints: one outcome by the deadline, the first verdict wins, budget kept."""
    world = World(script, endpoints=endpoints, hedge=hedge, tokens=tokens, p95=0.5, deadline=5.0)
    outcome = world.run()
    assert world.now <= 5.0
    assert len(world.starts) <= min(MAX_ATTEMPTS, 1 + tokens + 0.1 + 5.0)
    ends = [
        (attempt.started + seconds, kind)
        for attempt, (seconds, kind) in zip(world.starts, script, strict=False)
    ]
    if outcome is VERDICT:
        assert world.now == min(at for at, kind in ends if kind is None)
    elif type(outcome) is not DeadlineExceeded:
        assert type(outcome) in {kind for at, kind in ends if at <= world.now}
    asked = [attempt.endpoint for attempt in world.starts]
    assert len(set(asked)) == min(len(asked), endpoints)


@pytest.mark.parametrize(
    ("kind", "attempts"),
    [
        (Unavailable, 3),
        (Overloaded, 2),
        (CrossedReply, 2),
        (ServerError, 1),
        (InvalidRequest, 1),
    ],
)
def test_only_what_helps_is_sent_again(kind: type[ModerationError], attempts: int) -> None:
    """The table says how often each error is tried again, and it is."""
    world = World([(0.0, kind)] * 3)
    assert type(world.run()) is kind
    assert len(world.starts) == attempts


def test_pushback_is_honoured() -> None:
    """The far side's pause is kept where it is longer; where the deadline is nearer, that is it."""
    world = World([(0.0, Overloaded), (0.0, None)], retry_after=2.0)
    assert world.run() is VERDICT
    assert world.starts[1].started == 2.0
    for pause in (10.0, math.inf):
        world = World([(0.0, Overloaded)], retry_after=pause)
        error = world.run()
        assert (type(error), error.retry_after, world.now) == (Overloaded, pause, 0.0)


def test_silent_endpoint_has_its_share_of_the_deadline() -> None:
    """With another endpoint, a third of the time is its; then that is asked, and either may win."""
    world = World([(30.0, None), (0.5, None)], endpoints=2, deadline=6.0)
    assert world.run() is VERDICT
    assert [attempt.started for attempt in world.starts] == [0.0, 2.0]
    assert world.starts[0].endpoint is not world.starts[1].endpoint
    late = World([(2.2, None), (30.0, None)], endpoints=2, deadline=6.0)
    assert late.run() is VERDICT
    assert late.now == 2.2


def test_silent_lone_endpoint_has_the_whole_deadline() -> None:
    """What is only slow is not asked twice: that would make it slower."""
    world = World([(30.0, None)] * 3, deadline=6.0)
    assert type(world.run()) is DeadlineExceeded
    assert (len(world.starts), world.now) == (1, 6.0)


@pytest.mark.parametrize(
    ("deadline", "p95", "counted"), [(0.5, None, 0), (1.0, None, 1), (0.5, 0.4, 1), (0.3, 0.4, 0)]
)
def test_silence_counts_where_most_answers_are_quicker(
    deadline: float, p95: float | None, counted: int
) -> None:
    """A caller in a hurry does not make a server look broken."""
    world = World([(30.0, None)], deadline=deadline, p95=p95)
    world.run()
    assert world.shared.endpoints.all[0].failures_in_a_row == counted


def test_hedge_goes_elsewhere_after_the_95th_percentile() -> None:
    """One more attempt at another endpoint, once, within the budget; the first answer wins."""
    usual: dict[str, Any] = {"endpoints": 3, "hedge": True, "p95": 0.2}
    world = World([(3.0, None), (0.1, None)], **usual)
    assert world.run() is VERDICT
    assert [(a.started, a.hedge) for a in world.starts] == [(0.0, False), (0.2, True)]
    assert world.now == pytest.approx(0.3)
    for change in ({"hedge": False}, {"p95": None}, {"endpoints": 1}, {"tokens": 0.0}):
        world = World([(0.9, None)], **{**usual, **change})
        assert world.run() is VERDICT
        assert len(world.starts) == 1


def test_failed_hedge_does_not_end_the_call() -> None:
    """While another attempt is on the wire, an error is not the outcome."""
    world = World([(1.0, None), (0.1, ServerError)], endpoints=2, hedge=True, p95=0.2)
    assert world.run() is VERDICT
    assert world.now == 1.0


def test_nobody_to_ask_ends_the_call_at_once() -> None:
    """All set aside: Unavailable, with the time of the next probe. All full: Overloaded."""
    world = World([(0.0, None)])
    world.run()
    (one,) = world.shared.endpoints.all
    one.open(1.0, slow=False)
    outcome = Call(world.shared, 1.25, 9.0).decide(1.25)
    assert isinstance(outcome, End)
    assert isinstance(outcome.outcome, Unavailable)
    assert outcome.outcome.retry_after == 0.75
    one.close()
    one.abandoned = 64
    outcome = Call(world.shared, 1.25, 9.0).decide(1.25)
    assert isinstance(outcome, End)
    assert isinstance(outcome.outcome, Overloaded)


def test_p95_is_that_of_the_last_answers() -> None:
    """None at first; then the 95th percentile, within the last 256."""
    latency = Latency()
    for _ in range(MIN_SAMPLES - 1):
        latency.add(1.0)
    assert latency.p95 is None
    latency.add(1.0)
    assert latency.p95 == 1.0
    for n in range(256):
        latency.add(float(n))
    assert latency.p95 == 243.0

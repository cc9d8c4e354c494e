"""What `Client` promises, `AsyncClient` does too: their code is one. Here is what only one has."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from livewarden_client import (
    AsyncClient,
    Client,
    Clip,
    FakeTransport,
    Text,
    Verdict,
    verdict_to_json,
)
from livewarden_client.errors import (
    ClientClosed,
    DeadlineExceeded,
    InvalidRequest,
    Unavailable,
    WrongPlace,
)
from livewarden_client.request import Request

ROOT = Path(__file__).parents[2]


def answer_later(verdict: Verdict, seconds: float) -> Any:
    """Make an answer that comes from another thread, as gRPC's do."""

    def answer(request: Request) -> Future[bytes]:
        future: Future[bytes] = Future()
        own = replace(verdict, nonce=request.nonce, request_id=request.request_id)
        threading.Timer(seconds, future.set_result, [verdict_to_json(own).encode()]).start()
        return future

    return answer


def test_generated_client_is_up_to_date() -> None:
    """`client` and `stream` are what scripts/unasync.py writes now."""
    command = [sys.executable, str(ROOT / "scripts" / "unasync.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_many_calls_share_one_loop(verdict: Verdict) -> None:
    """A hundred calls at a time in one thread, each with its own verdict."""

    async def run() -> list[str]:
        transport = FakeTransport(answer_later(verdict, 0.01))
        async with AsyncClient(transport=transport, on_failure="raise") as client:
            calls = [client.moderate(Clip(request_id=f"r{n}")) for n in range(100)]
            return [done.request_id for done in await asyncio.gather(*calls)]

    assert asyncio.run(run()) == [f"r{n}" for n in range(100)]


def test_loop_is_never_blocked(verdict: Verdict) -> None:
    """While a call waits, other tasks of the loop go on."""

    async def run() -> int:
        beats = 0
        async with AsyncClient(transport=FakeTransport(answer_later(verdict, 0.2))) as client:
            call = asyncio.create_task(client.moderate(Clip()))
            while not call.done():
                await asyncio.sleep(0.01)
                beats += 1
            assert call.result().action == verdict.action
        return beats

    assert asyncio.run(run()) > 3


def test_call_ends_at_its_deadline() -> None:
    """Nobody answers: DeadlineExceeded, and close() ends after its grace."""

    async def run() -> None:
        pending: Future[bytes] = Future()
        client = AsyncClient(transport=FakeTransport(lambda _: pending), on_failure="raise")
        with pytest.raises(DeadlineExceeded):
            await client.moderate(Clip(), timeout=0.02)
        pending.set_exception(Unavailable("late"))
        await client.close()
        with pytest.raises(ClientClosed):
            await client.moderate(Clip())

    asyncio.run(run())


def test_cancelled_task_leaves_its_rpc_alone() -> None:
    """A cancelled task counts its call as abandoned, and cancels nothing on the wire."""

    async def run() -> None:
        pending: Future[bytes] = Future()
        client = AsyncClient(transport=FakeTransport(lambda _: pending))
        task = asyncio.create_task(client.moderate(Clip()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (endpoint,) = client._fleet.endpoints
        assert (endpoint.abandoned, pending.cancelled()) == (1, False)
        pending.set_result(b"")
        assert endpoint.abandoned == 0
        await client.close()

    asyncio.run(run())


def test_answer_after_the_loop_has_gone_harms_nobody() -> None:
    """An answer that comes when its loop is closed is dropped, without a warning."""
    pending: Future[bytes] = Future()

    async def run() -> None:
        client = AsyncClient(transport=FakeTransport(lambda _: pending))
        assert (await client.moderate(Clip(), timeout=0.01)).action == "review"

    asyncio.run(run())
    pending.set_result(b"")


def test_one_client_serves_one_loop(verdict: Verdict) -> None:
    """In a second loop the client is refused as misuse, whatever it is asked for."""
    client = AsyncClient(transport=FakeTransport(lambda _: verdict))
    asyncio.run(client.moderate(Clip()))  # type: ignore[arg-type]  # mypy: any coroutine
    for ask in (
        lambda: client.moderate(Clip()),
        client.is_ready,
        lambda: client.open_stream("s").moderate(Clip()),
    ):
        with pytest.raises(WrongPlace, match="another event loop"):
            asyncio.run(ask())


def test_call_goes_through_grpc(kserve: Any) -> None:
    """The same transport serves both clients; readiness does not block the loop."""

    async def run() -> Verdict:
        async with AsyncClient(kserve.address, on_failure="raise") as client:
            await client.wait_for_ready(10)
            assert await client.is_ready()
            return await client.moderate(Clip(texts=[Text("chat", "a")], request_id="r1"))

    assert asyncio.run(run()).request_id == "r1"


def test_moderate_many_yields_as_they_come(verdict: Verdict) -> None:
    """Each clip's number comes with its own verdict, the quick ones first."""

    def answer(request: Request) -> Any:
        slow = request.request_id == "r0"
        return answer_later(verdict, 0.2)(request) if slow else verdict

    async def run() -> list[tuple[int, Any]]:
        async with AsyncClient(transport=FakeTransport(answer)) as client:
            clips = (Clip(request_id=f"r{n}") for n in range(20))
            return [pair async for pair in client.moderate_many(clips, concurrency=4)]

    got = asyncio.run(run())
    assert [index for index, _ in got] == [*range(1, 20), 0]
    assert all(done.request_id == f"r{index}" for index, done in got)


def test_moderate_many_reads_no_further_than_it_must(verdict: Verdict) -> None:
    """At most `concurrency` calls run, and the source is read no further ahead: memory is flat."""
    running, most, read = 0, 0, 0
    lock = threading.Lock()

    def answer(request: Request) -> Future[bytes]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)

        def ended(_: object) -> None:
            nonlocal running
            with lock:
                running -= 1

        future: Future[bytes] = answer_later(verdict, 0.02)(request)
        future.add_done_callback(ended)
        return future

    def source() -> Any:
        nonlocal read
        for _ in range(50):
            read += 1
            yield Clip()

    with Client(transport=FakeTransport(answer)) as client:
        for done, _ in enumerate(client.moderate_many(source(), concurrency=5), start=1):
            assert read <= done + 5
    assert 2 <= most <= 5
    assert read == 50


def test_moderate_many_gives_errors_in_the_verdicts_place(verdict: Verdict) -> None:
    """One clip that the server refuses ends none of the others."""

    def answer(request: Request) -> Verdict:
        if request.request_id == "r3":
            raise InvalidRequest("refused")
        if request.request_id == "r4":
            raise Unavailable("gone")
        return verdict

    clips = [Clip(request_id=f"r{n}") for n in range(6)]
    clips[5] = Clip(pass_through="x" * 70_000)
    with Client(transport=FakeTransport(answer), on_failure="raise") as client:
        got = dict(client.moderate_many(clips))
    kinds = [type(got[n]).__name__ for n in range(6)]
    assert kinds == [*["Verdict"] * 3, "InvalidRequest", "Unavailable", "InvalidClip"]
    with Client(transport=FakeTransport(answer)) as client:
        assert dict(client.moderate_many(clips))[4].action == "review"


def test_left_moderate_many_abandons_what_is_on_the_wire(verdict: Verdict) -> None:
    """Who breaks out of the loop leaves the other calls, and they are counted."""
    futures: list[Future[bytes]] = []

    def answer(request: Request) -> Any:
        if request.request_id == "r0":
            return verdict
        futures.append(Future())
        return futures[-1]

    client = Client(transport=FakeTransport(answer))
    calls = client.moderate_many([Clip(request_id=f"r{n}") for n in range(4)], concurrency=3)
    assert next(calls)[0] == 0
    calls.close()
    (endpoint,) = client._fleet.endpoints
    assert endpoint.abandoned == len(futures) == 2
    for future in futures:
        future.set_result(b"")
    client.close()


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, 257, "8"])
def test_wrong_concurrency_is_refused(concurrency: Any) -> None:
    """Concurrency is a number of calls."""
    with (
        Client(transport=FakeTransport(lambda _: b"")) as client,
        pytest.raises(InvalidRequest, match="concurrency"),
    ):
        next(client.moderate_many([], concurrency=concurrency))


def test_dawdling_consumer_costs_no_verdict(verdict: Verdict) -> None:
    """What came in time counts, although the caller was away when the deadline passed."""
    with Client(transport=FakeTransport(answer_later(verdict, 0.05)), on_failure="raise") as client:
        clips = [Clip(), Clip(), Clip()]
        outcomes = []
        for _, outcome in client.moderate_many(clips, concurrency=3, timeout=0.3):
            outcomes.append(outcome)
            time.sleep(0.4)
    assert [outcome.action for outcome in outcomes] == [verdict.action] * 3


def test_each_attempt_has_its_own_nonce(verdict: Verdict) -> None:
    """A retry keeps the request id and gets a new nonce; the first one's late answer may win."""
    fake = FakeTransport(lambda _: _fail_first(fake, verdict))
    with Client(transport=fake, on_failure="raise") as client:
        assert client.moderate(Clip(request_id="r1")).request_id == "r1"
    first, second = fake.requests
    assert first.request_id == second.request_id == "r1"
    assert first.nonce != second.nonce
    deadlines = [json.loads(request.context)["deadline_ms"] for request in fake.requests]
    assert abs(deadlines[0] - deadlines[1]) <= 2


def _fail_first(fake: FakeTransport, verdict: Verdict) -> Verdict:
    if len(fake.requests) == 1:
        raise Unavailable("gone")
    return verdict


def test_late_answer_of_an_earlier_attempt_wins_by_its_own_nonce(verdict: Verdict) -> None:
    """The clip went to a second server; the first one's answer comes, and is taken as its own."""
    slow = FakeTransport(answer_later(verdict, 0.6))
    deaf = FakeTransport(lambda _: Future())
    with Client(transport=[slow, deaf], on_failure="raise", timeout=1.5) as client:
        for endpoint in client._fleet.endpoints[1:]:
            endpoint.outstanding += 1  # so that the slow one is asked first
        got = client.moderate(Clip(request_id="r1"))
        assert got.nonce == slow.requests[0].nonce
        assert len(deaf.requests) == 1
        client._fleet._pending.clear()  # nothing to wait for: the deaf one never answers

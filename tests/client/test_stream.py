from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client import AsyncClient, Client, Clip, FakeTransport, Verdict, verdict_to_json
from livewarden_client.errors import InvalidRequest, Unavailable
from livewarden_client.lane import Lane, StreamCounts, Ticket
from livewarden_client.request import Request


def read_contexts(fake: FakeTransport) -> list[dict[str, Any]]:
    return [json.loads(request.context) for request in fake.requests]


def count_up(verdict: Verdict) -> Any:
    """Answer with the token `state-N` for the clip N."""
    return lambda request: replace(
        verdict, state=f"state-{json.loads(request.context).get('clip_seq', 0)}"
    )


def test_stream_numbers_its_clips_and_carries_the_state(verdict: Verdict) -> None:
    """Each clip goes with the stream's name, the next number, and the last verdict's token."""
    fake = FakeTransport(count_up(verdict))
    with Client(transport=fake) as client:
        stream = client.open_stream("s1", region="DE", room="kids", state="saved")
        for _ in range(3):
            assert stream.moderate(Clip(region="")) is not None
        stream.moderate(Clip(region="AT"))
        assert stream.state == "state-3"
    sent = read_contexts(fake)
    assert [context["stream_id"] for context in sent] == ["s1"] * 4
    assert [context.get("clip_seq", 0) for context in sent] == [0, 1, 2, 3]
    assert [context["state"] for context in sent] == ["saved", "state-0", "state-1", "state-2"]
    assert [context["region"] for context in sent] == ["DE", "DE", "DE", "AT"]
    assert sent[0]["room"] == "kids"
    assert stream.counts == StreamCounts(judged=4)


def test_failed_call_keeps_the_state(verdict: Verdict) -> None:
    """A review of the client's own changes nothing in the stream's memory, nor does an error."""
    answers: list[Any] = [Unavailable, verdict]

    def answer(request: Request) -> Verdict:
        if json.loads(request.context).get("clip_seq") == 1:
            raise Unavailable("gone")
        return count_up(verdict)(request)

    for on_failure in ("review", "raise"):
        fake = FakeTransport(answer)
        with Client(transport=fake, on_failure=on_failure) as client:  # type: ignore[arg-type]
            stream = client.open_stream("s1")
            stream.moderate(Clip())
            if on_failure == "raise":
                with pytest.raises(Unavailable):
                    stream.moderate(Clip())
            else:
                own = stream.moderate(Clip())
                assert own is not None
                assert (own.action, own.state, own.clip_seq) == ("review", "state-0", 1)
            stream.moderate(Clip())
        assert read_contexts(fake)[-1]["state"] == "state-0"
        assert stream.counts.judged == 3
    assert answers


@pytest.mark.parametrize(
    ("numbers", "sent", "counts"),
    [
        ([5, 5, 4, 6], [5, 6], StreamCounts(judged=2, duplicate=1, reordered=1)),
        ([0, 0, 0], [0, 1, 2], StreamCounts(judged=3)),
        ([7, 0, 9, 8], [7, 8, 9], StreamCounts(judged=3, reordered=1)),
    ],
)
def test_order_and_duplicates(
    verdict: Verdict, numbers: list[int], sent: list[int], counts: StreamCounts
) -> None:
    """A clip whose number is not above the last one's is dropped and counted, not sent."""
    fake = FakeTransport(lambda _: verdict)
    with Client(transport=fake) as client:
        stream = client.open_stream("s1")
        got = [stream.moderate(Clip(clip_seq=number)) for number in numbers]
    assert [context.get("clip_seq", 0) for context in read_contexts(fake)] == sent
    assert sum(one is None for one in got) == counts.dropped
    assert stream.counts == counts


def test_old_clips_are_dropped(verdict: Verdict) -> None:
    """A clip captured longer ago than `max_age` is stale; one without a time is not."""
    fake = FakeTransport(lambda _: verdict)
    now_ms = int(time.time() * 1000)
    with Client(transport=fake) as client:
        stream = client.open_stream("s1", max_age=5)
        assert stream.moderate(Clip(captured_at_ms=now_ms - 60_000)) is None
        assert stream.moderate(Clip(captured_at_ms=now_ms)) is not None
        assert stream.moderate(Clip()) is not None
    assert stream.counts == StreamCounts(judged=2, stale=1)


def test_newest_clip_takes_the_waiting_ones_place(verdict: Verdict) -> None:
    """One is under way, one waits; a newer one sends the waiting one home, counted."""
    hold: Future[bytes] = Future()
    fake = FakeTransport(lambda _: hold if len(fake.requests) == 1 else verdict)

    async def run() -> tuple[list[Any], StreamCounts]:
        async with AsyncClient(transport=fake, on_failure="raise") as client:
            stream = client.open_stream("s1")
            calls = []
            for n in range(5):
                calls.append(asyncio.create_task(stream.moderate(Clip(request_id=f"r{n}"))))
                await asyncio.sleep(0)
            assert len(fake.requests) == 1
            own = replace(verdict, nonce=fake.requests[0].nonce, request_id="r0", state="t")
            hold.set_result(verdict_to_json(own).encode())
            return await asyncio.gather(*calls), stream.counts

    got, counts = asyncio.run(run())
    assert [one and one.request_id for one in got] == ["r0", None, None, None, "r4"]
    assert counts == StreamCounts(judged=2, superseded=3)
    assert read_contexts(fake)[1]["state"] == "t"


def test_waiting_has_the_deadline_too() -> None:
    """A clip that waits in vain ends as any failed call; the one before it is left alone."""
    hold: Future[bytes] = Future()
    fake = FakeTransport(lambda _: hold)
    with Client(transport=fake) as client, ThreadPoolExecutor(1) as pool:
        stream = client.open_stream("s1", state="t")
        first = pool.submit(stream.moderate, Clip(), 0.5)
        while not fake.requests:
            time.sleep(0.001)
        own = stream.moderate(Clip(), timeout=0.05)
        assert own is not None
        assert own.reasons[0].code == "client_deadline_exceeded"
        assert (own.stream_id, own.clip_seq, own.state) == ("s1", 1, "t")
        assert first.result() is not None
        hold.set_exception(Unavailable("late"))
    assert len(fake.requests) == 1


def test_cancelled_task_gives_the_lane_on(verdict: Verdict) -> None:
    """Cancelling the call under way lets the waiting one go; cancelling a waiting one too."""
    fake = FakeTransport(lambda _: Future() if len(fake.requests) == 1 else verdict)

    async def run() -> None:
        client = AsyncClient(transport=fake)
        stream = client.open_stream("s1")
        first = asyncio.create_task(stream.moderate(Clip()))
        await asyncio.sleep(0)
        second = asyncio.create_task(stream.moderate(Clip()))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second) is not None
        assert (await stream.moderate(Clip())) is not None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"stream_id": ""}, "stream_id"),
        ({"stream_id": 7}, "stream_id"),
        ({"stream_id": "s", "max_age": 0}, "max_age"),
        ({"stream_id": "s", "timeout": -1}, "timeout"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], field: str) -> None:
    """A stream has a name, and times are above 0."""
    with Client(transport=FakeTransport(lambda _: b"")) as client:
        with pytest.raises(InvalidRequest) as caught:
            client.open_stream(**arguments)
        assert caught.value.field == field


def test_clip_of_another_stream_is_refused() -> None:
    """A clip that names another stream is a mistake of the caller's."""
    with Client(transport=FakeTransport(lambda _: b"")) as client:
        stream = client.open_stream("s1")
        with pytest.raises(InvalidRequest, match="another stream"):
            stream.moderate(Clip(stream_id="s2"))


@given(st.lists(st.sampled_from(["enter", "leave", "give up"]), max_size=40))
def test_lane_holds_one_and_keeps_the_newest(steps: list[str]) -> None:
    """Whatever comes: one has the lane, the newest other waits, and every ticket is called once."""
    lane = Lane(
        "s1", None, None, dict.fromkeys(("region", "surface", "audience", "room", "policy"), "")
    )
    heard: dict[int, list[bool]] = {}
    tickets: dict[int, Ticket] = {}
    active: int | None = None
    waiting: int | None = None
    superseded = judged = 0
    for number, step in enumerate(steps):
        if step == "enter":
            heard[number] = []
            ticket = lane.enter(Clip(), heard[number].append, 0)
            assert ticket is not None
            tickets[number] = ticket
            if active is None:
                active = number
            else:
                superseded += waiting is not None
                waiting = number
        elif step == "leave" and active is not None:
            lane.leave(tickets[active], None)
            judged += 1
            active, waiting = waiting, None
        elif step == "give up" and waiting is not None:
            lane.leave(tickets[waiting], None)
            waiting = None
        assert all(len(calls) <= 1 for calls in heard.values())
        assert active is None or heard[active] == [True]
        assert waiting is None or heard[waiting] == []
    assert lane.counts == StreamCounts(judged=judged, superseded=superseded)


def test_threads_share_a_stream(verdict: Verdict) -> None:
    """Eight threads push clips: never two on the wire, and every call ends in one way."""
    busy, most, lock = 0, 0, threading.Lock()

    def answer(request: Request) -> Future[bytes]:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        future: Future[bytes] = Future()
        own = replace(verdict, nonce=request.nonce, request_id=request.request_id)

        def end() -> None:
            nonlocal busy
            with lock:
                busy -= 1
            future.set_result(verdict_to_json(own).encode())

        threading.Timer(0.001, end).start()
        return future

    with Client(transport=FakeTransport(answer)) as client, ThreadPoolExecutor(8) as pool:
        stream = client.open_stream("s1")
        got = list(pool.map(lambda _: stream.moderate(Clip()), range(200)))
    assert most == 1
    assert stream.counts.judged == sum(one is not None for one in got)
    assert stream.counts.judged + stream.counts.dropped == 200

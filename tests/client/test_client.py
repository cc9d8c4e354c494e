from __future__ import annotations

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from livewarden_client import Client, Clip, FakeTransport, Text, Verdict, verdict_to_json
from livewarden_client import client as client_module
from livewarden_client.endpoint import MAX_ABANDONED
from livewarden_client.errors import (
    ClientClosed,
    CrossedReply,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    ServerError,
    Unavailable,
)

if TYPE_CHECKING:
    from livewarden_client.request import Request


def never(_request: Request) -> Future[bytes]:
    return Future()


def fail(_request: Request) -> Verdict:
    raise Unavailable("gone")


def test_verdict_comes_back_under_the_callers_id(verdict: Verdict) -> None:
    """One call gives one verdict, with the request id that the clip has."""
    fake = FakeTransport(lambda _: verdict)
    with Client(transport=fake, on_failure="raise") as client:
        got = client.moderate(Clip([b"jpeg"], [Text("chat", "hello")], request_id="mine"))
    (request,) = fake.requests
    assert got == replace(verdict, request_id="mine", nonce=request.nonce)
    assert (request.frames, request.texts, request.timeout) == ((b"jpeg",), (b"hello",), 5.0)


@pytest.mark.parametrize("nonce", ["", "0" * 16])
def test_foreign_nonce_is_a_crossed_reply(verdict: Verdict, nonce: str) -> None:
    """An answer without the nonce of this very call is thrown away, whatever it says."""
    foreign = verdict_to_json(replace(verdict, nonce=nonce)).encode()
    with (
        Client(transport=FakeTransport(lambda _: foreign), on_failure="raise") as client,
        pytest.raises(CrossedReply) as caught,
    ):
        client.moderate(Clip(request_id="r1"))
    assert caught.value.request_id == "r1"


def test_answer_that_is_no_verdict_is_a_server_error() -> None:
    """Bytes that do not decode end the call as ServerError with the request id."""
    with (
        Client(transport=FakeTransport(lambda _: b"{}"), on_failure="raise") as client,
        pytest.raises(ServerError) as caught,
    ):
        client.moderate(Clip(request_id="r1"))
    assert caught.value.request_id == "r1"


def test_failure_of_the_transport_reaches_the_caller() -> None:
    """The transport's typed error is the call's error."""
    with (
        Client(transport=FakeTransport(fail), on_failure="raise") as client,
        pytest.raises(Unavailable, match="gone"),
    ):
        client.moderate(Clip())


def test_call_ends_at_its_timeout_and_its_rpc_is_left_alone() -> None:
    """The caller gets DeadlineExceeded; nobody cancels what is on the wire."""
    pending: Future[bytes] = Future()
    client = Client(transport=FakeTransport(lambda _: pending), on_failure="raise")
    with pytest.raises(DeadlineExceeded, match=r"within 0\.01 s"):
        client.moderate(Clip(), timeout=0.01)
    assert not pending.cancelled()
    pending.set_result(b"late")
    client.close()


def test_abandoned_calls_are_capped(verdict: Verdict) -> None:
    """After 64 unfinished calls new ones end as Overloaded, unsent, until one of them ends."""
    answers: list[Any] = [Future() for _ in range(MAX_ABANDONED)] + [verdict]
    fake = FakeTransport(lambda _: answers[len(fake.requests) - 1])
    client = Client(transport=fake, on_failure="raise")
    while len(fake.requests) < MAX_ABANDONED:
        with pytest.raises(DeadlineExceeded):
            client.moderate(Clip(), timeout=0.001)
    with pytest.raises(Overloaded):
        client.moderate(Clip())
    assert client.is_ready() is False
    assert len(fake.requests) == MAX_ABANDONED
    answers[0].set_result(b"late")
    assert client.moderate(Clip()).action == verdict.action
    for answer in answers[1:-1]:
        answer.set_exception(Unavailable("gone"))
    client.close()


def test_late_answer_reaches_nobody(verdict: Verdict) -> None:
    """A second call does not get the late answer of the first."""
    late: Future[bytes] = Future()
    answers: list[Any] = [late, verdict]
    fake = FakeTransport(lambda _: answers.pop(0))
    with Client(transport=fake, on_failure="raise") as client:
        with pytest.raises(DeadlineExceeded):
            client.moderate(Clip(request_id="first"), timeout=0.001)
        own = replace(verdict, request_id="first", nonce=fake.requests[0].nonce)
        late.set_result(verdict_to_json(own).encode())
        assert client.moderate(Clip(request_id="second")).request_id == "second"


def test_deadline_counts_from_the_call(verdict: Verdict) -> None:
    """The call's own timeout wins over the client's, and reaches the server as a deadline."""
    fake = FakeTransport(lambda _: verdict)
    with Client(transport=fake, timeout=3, on_failure="raise") as client:
        client.moderate(Clip())
        client.moderate(Clip(), timeout=60)
    short, long = (json.loads(request.context)["deadline_ms"] for request in fake.requests)
    assert [request.timeout for request in fake.requests] == [3.0, 60.0]
    assert long - short >= 57_000


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 3601, True, "5"])
def test_wrong_timeout_is_refused(timeout: Any) -> None:
    """A timeout is a number of seconds above 0; there is no endless call."""
    with pytest.raises(InvalidRequest) as caught:
        Client(transport=FakeTransport(never), timeout=timeout, on_failure="raise")
    assert caught.value.field == "timeout"
    with (
        Client(transport=FakeTransport(never), on_failure="raise") as client,
        pytest.raises(InvalidRequest, match="timeout"),
    ):
        client.moderate(Clip(), timeout=timeout)


def test_only_clips_are_moderated() -> None:
    """Anything but a Clip is refused before it is looked at."""
    with (
        Client(transport=FakeTransport(never), on_failure="raise") as client,
        pytest.raises(InvalidRequest, match="clip: got str"),
    ):
        client.moderate("secret")  # type: ignore[arg-type]  # the misuse under test


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://localhost:8000", "https:8000", "a b:1", 8001, "host:port"]
)
def test_wrong_url_is_refused(url: Any) -> None:
    """What is no HOST:PORT is refused at once, instead of a connection that never comes."""
    with pytest.raises(InvalidRequest) as caught:
        Client(url)
    assert caught.value.field == "url"


@pytest.mark.parametrize(
    "url", ["localhost:8001", "[::1]:8001", "dns:///triton.internal:8001", "ipv4:10.0.0.1:8001"]
)
def test_right_url_is_taken(url: str) -> None:
    """Hosts, addresses and gRPC's own target names are accepted; nothing connects yet."""
    Client(url).close()


def test_closed_client_refuses_calls(verdict: Verdict) -> None:
    """After close() every call is ClientClosed, the transport is closed, closing twice is fine."""
    fake = FakeTransport(lambda _: verdict)
    client = Client(transport=fake, on_failure="raise")
    assert client.is_ready() is True
    client.close()
    client.close()
    assert fake.closed
    with pytest.raises(ClientClosed):
        client.moderate(Clip())
    with pytest.raises(ClientClosed):
        client.is_ready()


def test_close_waits_for_calls_on_the_wire(verdict: Verdict) -> None:
    """A call that is under way when another thread closes still gets its verdict."""
    answer: Future[bytes] = Future()
    sent = threading.Event()

    def hold(_request: Request) -> Future[bytes]:
        sent.set()
        return answer

    fake = FakeTransport(hold)
    client = Client(transport=fake, on_failure="raise")
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(client.moderate, Clip(), 60)
        sent.wait()
        while not client._fleet._pending:
            pass
        closing = pool.submit(client.close)
        while not client._fleet._closed:
            pass
        assert not fake.closed
        own = replace(verdict, nonce=fake.requests[0].nonce)
        answer.set_result(verdict_to_json(own).encode())
        assert call.result().action == verdict.action
        closing.result()
    assert fake.closed


def test_close_gives_hanging_calls_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """close() comes back although a call never ends."""
    monkeypatch.setattr(client_module, "CLOSE_GRACE", 0.01)
    fake = FakeTransport(never)
    client = Client(transport=fake, on_failure="raise")
    with pytest.raises(DeadlineExceeded):
        client.moderate(Clip(), timeout=0.001)
    client.close()
    assert fake.closed


def test_interrupted_wait_counts_as_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a call leaves its RPC on the wire, and it is counted."""
    pending: Future[bytes] = Future()

    def interrupt(_mailbox: Any, _until: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client_module.Mailbox, "get", interrupt)
    client = Client(transport=FakeTransport(lambda _: pending))
    with pytest.raises(KeyboardInterrupt):
        client.moderate(Clip())
    monkeypatch.undo()
    (endpoint,) = client._fleet.endpoints
    assert endpoint.abandoned == 1
    pending.set_result(b"")
    assert (endpoint.abandoned, endpoint.outstanding) == (0, 0)
    client.close()


def test_one_client_serves_many_threads(verdict: Verdict) -> None:
    """16 threads share one client; each gets its own answer, and nothing stays behind."""

    def later(request: Request) -> Future[bytes]:
        answer: Future[bytes] = Future()
        own = replace(verdict, nonce=request.nonce, request_id=request.request_id)
        threading.Timer(0.001, answer.set_result, [verdict_to_json(own).encode()]).start()
        return answer

    ids = [f"r{index}" for index in range(320)]
    with (
        Client(transport=FakeTransport(later), on_failure="raise") as client,
        ThreadPoolExecutor(16) as pool,
    ):
        got = list(pool.map(lambda name: client.moderate(Clip(request_id=name)).request_id, ids))
        assert got == ids
    assert not client._fleet._pending
    assert client._fleet.in_flight == 0

"""The client before a real server, with a network between them that does harm."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from proxy import Faults, Proxy

from livewarden_client import Client, Clip, Hook, Text, Verdict
from livewarden_client.endpoint import MAX_ABANDONED, MIN_CALLS
from livewarden_client.errors import DeadlineExceeded, Misuse, Overloaded, Unavailable
from livewarden_client.hook import AttemptEnded
from livewarden_ensemble.server import Server

pytestmark = pytest.mark.integration

CLIP = Clip(texts=[Text("chat", "hello")])
# 2 MB that no server has to decode for long: eight times the 256 KiB of gRPC's retry buffer.
BIG = Clip(frames=[os.urandom(2_000_000)])
# The client owes 50 ms; this is far above, since the machine may be busy with other things.
SLACK = 1.0


class Attempts(Hook):
    """Notes every attempt."""

    def __init__(self) -> None:
        self.seen: list[AttemptEnded] = []

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """Note it."""
        self.seen.append(attempt)

    def codes(self) -> list[str]:
        """List how they ended."""
        return [attempt.error for attempt in self.seen]


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.fixture
def proxy(make_proxy: Callable[[], Proxy]) -> Proxy:
    return make_proxy()


@pytest.fixture
def client(proxy: Proxy, attempts: Attempts) -> Iterator[Client]:
    """A client behind the proxy, connected and warm, that raises."""
    with Client(proxy.address, timeout=5.0, on_failure="raise", hooks=[attempts]) as client:
        client.wait_for_ready(30)
        client.moderate(CLIP)
        attempts.seen.clear()
        yield client


def is_server(verdict: Verdict) -> bool:
    return verdict.provenance.bundle != ""


def test_reset_connection_is_retried(client: Client, proxy: Proxy, attempts: Attempts) -> None:
    """A connection cut in the middle of the 2 MB request: the request is really sent again."""
    proxy.faults.cut_after = 1_000_000
    verdict = client.moderate(BIG)
    assert is_server(verdict)
    assert verdict.coverage.frames.sent == 1
    assert attempts.codes() == ["unavailable", ""]
    assert proxy.faults.cut_after is None


def test_reset_of_idle_connection_costs_no_call(client: Client, proxy: Proxy) -> None:
    """After a reset between two calls the next one gets its verdict."""
    proxy.reset()
    assert is_server(client.moderate(CLIP))
    assert proxy.accepted == 2


def test_refused_connection_is_unavailable_and_comes_back(
    client: Client, proxy: Proxy, attempts: Attempts
) -> None:
    """Nobody listens: three quick attempts, Unavailable; with the listener the calls go on."""
    proxy.refuse()
    begin = time.monotonic()
    with pytest.raises(Unavailable):
        client.moderate(CLIP)
    assert time.monotonic() - begin < 2.0
    assert attempts.codes() == ["unavailable"] * 3
    assert client.is_ready() is False
    proxy.accept()
    client.wait_for_ready(30)
    assert is_server(client.moderate(CLIP))


def test_black_hole_ends_at_the_deadline(client: Client, proxy: Proxy) -> None:
    """Where bytes vanish the caller is back at its deadline, and nothing was sent twice."""
    proxy.faults.black_hole = True
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.moderate(CLIP, timeout=0.5)
    assert 0.5 <= time.monotonic() - begin < 0.5 + SLACK
    proxy.faults.black_hole = False
    assert is_server(client.moderate(CLIP))


def test_failure_is_review_by_default(proxy: Proxy) -> None:
    """The default client gives its own verdict, review and degraded, with the reason."""
    with Client(proxy.address, timeout=0.5) as client:
        proxy.refuse()
        verdict = client.moderate(CLIP)
    assert (verdict.action, verdict.coverage.degraded) == ("review", True)
    assert verdict.reasons[0].code == "client_unavailable"
    assert not is_server(verdict)


def test_breaker_opens_and_lets_probes_through(client: Client, proxy: Proxy) -> None:
    """Twenty failures: calls end without the network, within ms; a probe finds it well again."""
    proxy.refuse()
    for _ in range(MIN_CALLS):
        with pytest.raises(Unavailable):
            client.moderate(CLIP)
    (endpoint,) = client._fleet.endpoints
    assert endpoint.is_open
    before = endpoint.outstanding
    with pytest.raises(Unavailable, match="left alone") as caught:
        client.moderate(CLIP)
    assert caught.value.retry_after is not None
    assert endpoint.outstanding == before
    proxy.accept()
    give_up = time.monotonic() + 30
    while endpoint.is_open and time.monotonic() < give_up:
        time.sleep(0.1)
        try:
            client.moderate(CLIP)
        except Unavailable:
            continue
    assert is_server(client.moderate(CLIP))


def test_short_deadlines_cancel_nothing(client: Client, real_server: Server) -> None:
    """Hundreds of calls with 1 to 5 ms: every one ends in time, and the server lives on."""
    ended = 0
    for index in range(300):
        begin = time.monotonic()
        timeout = 0.001 * (1 + index % 5)
        try:
            client.moderate(CLIP, timeout=timeout)
        except (DeadlineExceeded, Overloaded):
            ended += 1
        assert time.monotonic() - begin < timeout + SLACK
    assert ended > 100
    (endpoint,) = client._fleet.endpoints
    assert endpoint.abandoned <= MAX_ABANDONED
    with Client(real_server.grpc_url, on_failure="raise") as fresh:
        assert is_server(fresh.moderate(CLIP, timeout=30))


def test_slow_line_is_waited_for(client: Client, proxy: Proxy) -> None:
    """2 MB through 2 MB/s take their second, and are no failure."""
    proxy.faults.bytes_per_s = 2_000_000
    begin = time.monotonic()
    assert is_server(client.moderate(BIG, timeout=20))
    assert time.monotonic() - begin > 0.9


def test_dead_replica_costs_no_call(make_proxy: Callable[[], Proxy], attempts: Attempts) -> None:
    """One of two replicas refuses in mid-load: every call ends in a server's verdict."""
    near, far = make_proxy(), make_proxy()
    with (
        Client([near.address, far.address], on_failure="raise", hooks=[attempts]) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        client.wait_for_ready(30)
        calls = [pool.submit(client.moderate, CLIP, 10) for _ in range(60)]
        far.refuse()
        calls += [pool.submit(client.moderate, CLIP, 10) for _ in range(100)]
        assert all(is_server(call.result()) for call in calls)
    assert {attempt.endpoint for attempt in attempts.seen} == {near.address, far.address}


def test_hung_replica_is_left_after_its_share(make_proxy: Callable[[], Proxy]) -> None:
    """One of two replicas swallows everything: calls succeed, and soon only the other is asked."""
    near, far = make_proxy(), make_proxy()
    with Client([near.address, far.address], on_failure="raise", timeout=3) as client:
        client.wait_for_ready(30)
        for _ in range(8):
            client.moderate(CLIP)
        far.faults.black_hole = True
        took = []
        for _ in range(40):
            begin = time.monotonic()
            assert is_server(client.moderate(CLIP))
            took.append(time.monotonic() - begin)
        assert max(took) < 3
        assert statistics.median(took[10:]) < 0.9


def test_slow_replica_is_ejected(make_proxy: Callable[[], Proxy]) -> None:
    """One of two replicas is ten times slower: it is set aside, and the calls are quick again."""
    near, far = make_proxy(), make_proxy()
    with Client([near.address, far.address], on_failure="raise") as client:
        client.wait_for_ready(30)
        for _ in range(30):
            client.moderate(CLIP)
        far.faults.latency_s = 0.3
        for _ in range(60):
            client.moderate(CLIP)
        slow = [one for one in client._fleet.endpoints if one.address == far.address]
        assert [one.is_open and one.slow for one in slow] == [True]


def test_hedge_answers_for_a_stalled_replica(make_proxy: Callable[[], Proxy]) -> None:
    """With hedging, a clip whose replica stalls is answered by the other, long before the share."""
    near, far = make_proxy(), make_proxy()
    with Client([near.address, far.address], on_failure="raise", hedge=True, timeout=9) as client:
        client.wait_for_ready(30)
        for _ in range(64):
            client.moderate(CLIP)
        far.faults.black_hole = True
        took = []
        for _ in range(6):
            begin = time.monotonic()
            client.moderate(CLIP)
            took.append(time.monotonic() - begin)
        assert max(took) < 3.0


def test_compression_is_understood(real_server: Server) -> None:
    """Gzip and deflate requests give the verdict that plain ones give."""
    verdicts = []
    for compression in (None, "gzip", "deflate"):
        with Client(real_server.grpc_url, on_failure="raise", compression=compression) as client:
            verdicts.append(client.moderate(CLIP, timeout=30))
    assert len({(v.action, v.coverage.texts.scored) for v in verdicts}) == 1


def test_wait_for_ready_waits(proxy: Proxy) -> None:
    """It comes back when the server does, and is Unavailable where none does in time."""
    proxy.refuse()
    with Client(proxy.address) as client:
        with pytest.raises(Unavailable, match="no server was ready"):
            client.wait_for_ready(0.3)
        threading.Timer(0.3, proxy.accept).start()
        client.wait_for_ready(30)
        assert client.is_ready()


def test_close_is_clean(proxy: Proxy) -> None:
    """close() takes no longer than its grace although the line is dead, and calls are refused."""
    client = Client(proxy.address)
    client.wait_for_ready(30)
    proxy.faults = Faults(black_hole=True)
    client.moderate(CLIP, timeout=0.1)
    begin = time.monotonic()
    client.close()
    assert time.monotonic() - begin < 3
    with pytest.raises(Misuse):
        client.moderate(CLIP)

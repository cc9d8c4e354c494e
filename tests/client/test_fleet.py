from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from livewarden_client import Client, Clip, FakeTransport, Verdict
from livewarden_client.address import parse_addresses
from livewarden_client.errors import DeadlineExceeded, Overloaded
from livewarden_client.fleet import Fleet


def client_of(fleet: Fleet, **options: Any) -> Client:
    client = Client(transport=FakeTransport(lambda _: b""), on_failure="raise", **options)
    client._fleet = fleet
    return client


def test_probe_past_a_silent_connection_gets_a_new_one(verdict: Verdict) -> None:
    """Where a connection swallows everything, the probe does not go down the same hole."""
    made: list[FakeTransport] = []
    silent: list[Future[bytes]] = []

    def swallow(_request: object) -> Future[bytes]:
        silent.append(Future())
        return silent[-1]

    def connect(_target: str, _address: object) -> FakeTransport:
        made.append(FakeTransport((lambda _: verdict) if made else swallow))
        return made[-1]

    client = client_of(Fleet(parse_addresses("127.0.0.1:1"), connect))
    (endpoint,) = client._fleet.endpoints
    with pytest.raises(DeadlineExceeded):
        client.moderate(Clip(), timeout=0.01)
    endpoint.open(0.0, slow=False)
    endpoint.opened_at = float("inf")  # after every connection that there is
    assert client.moderate(Clip()).action == verdict.action
    assert len(made) == 2
    assert not made[0].closed
    silent[0].set_result(b"late")
    endpoint.close()
    client.moderate(Clip())
    assert made[0].closed
    client.close()
    assert made[1].closed


def test_full_endpoint_leaves_the_others_their_calls(verdict: Verdict) -> None:
    """64 abandoned calls fill one server, and only that one."""
    fake = [FakeTransport(lambda _: verdict), FakeTransport(lambda _: verdict)]
    with Client(transport=fake, on_failure="raise") as client:
        first, second = client._fleet.endpoints
        first.abandoned = 64
        for _ in range(10):
            client.moderate(Clip())
        assert (len(fake[0].requests), len(fake[1].requests)) == (0, 10)
        second.abandoned = 64
        with pytest.raises(Overloaded, match="ran out of time"):
            client.moderate(Clip())


def test_overloaded_server_is_spared_while_it_asks_for_it(verdict: Verdict) -> None:
    """After retry-after the other server gets the calls, and nobody waits."""

    def refuse(_request: object) -> Verdict:
        error = Overloaded("full")
        error.retry_after = 0.01
        raise error

    busy, idle = FakeTransport(refuse), FakeTransport(lambda _: verdict)
    with Client(transport=[busy, idle], on_failure="raise") as client:
        client._fleet.endpoints[1].outstanding += 1
        client.moderate(Clip())
        first, second = client._fleet.endpoints
        assert len(busy.requests) == 1
        first.quiet_until = float("inf")
        for _ in range(5):
            client.moderate(Clip())
        assert len(busy.requests) == 1
        second.outstanding -= 1

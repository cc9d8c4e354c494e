from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from livewarden_client import Client, Clip, FakeTransport, Verdict
from livewarden_client import fleet as fleet_module
from livewarden_client.address import parse_addresses, resolve_name
from livewarden_client.errors import InvalidRequest
from livewarden_client.fleet import Fleet


def stub_lookup(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let every name stand for `hosts`."""
    families = {False: socket.AF_INET, True: socket.AF_INET6}

    def look_up(_host: str, port: int, **_: Any) -> Any:
        return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("url", "host", "is_name", "is_loopback"),
    [
        ("triton:8001", "triton", True, False),
        ("dns:///triton.internal:8001", "triton.internal", True, False),
        ("dns://10.0.0.2/triton:8001", "triton", False, False),
        ("localhost:1", "localhost", False, True),
        ("127.0.0.9:8001", "127.0.0.9", False, True),
        ("[::1]:8001", "::1", False, True),
        ("ipv6:[2001:db8::1]:8001", "2001:db8::1", False, False),
    ],
)
def test_address_is_understood(url: str, host: str, is_name: bool, is_loopback: bool) -> None:  # noqa: FBT001 - a table
    """Names, addresses and gRPC's own targets; a name with a resolver of its own is gRPC's."""
    (address,) = parse_addresses(url)
    assert (address.host, address.is_name, address.is_loopback) == (host, is_name, is_loopback)


@pytest.mark.parametrize("url", [[], b"a:1", ["a:1", "b"], "a:65536", None, 7, [7]])
def test_wrong_urls_are_refused(url: Any) -> None:
    """One or several of HOST:PORT, and nothing else."""
    with pytest.raises(InvalidRequest):
        parse_addresses(url)


@pytest.mark.parametrize(
    ("hosts", "targets"),
    [
        (["10.0.0.2", "10.0.0.1"], ("10.0.0.1:8001", "10.0.0.2:8001")),
        (["10.0.0.1"], ("triton:8001",)),
        (["::1", "127.0.0.1"], ("triton:8001",)),
        (["fe80::2", "fe80::1"], ("[fe80::1]:8001", "[fe80::2]:8001")),
        ([], ()),
    ],
)
def test_name_with_several_addresses_is_several_servers(
    monkeypatch: pytest.MonkeyPatch, hosts: list[str], targets: tuple[str, ...]
) -> None:
    """Several of one family are servers; one of each family are two ways to one server."""
    stub_lookup(monkeypatch, *hosts)
    assert resolve_name(parse_addresses("triton:8001")[0]) == targets


def test_name_is_looked_up_again(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    """New addresses are asked, old ones not and closed; a failed look-up changes nothing."""
    made: dict[str, FakeTransport] = {}

    def connect(target: str, _address: object) -> FakeTransport:
        made[target] = FakeTransport(lambda _: verdict)
        return made[target]

    monkeypatch.setattr(fleet_module, "REFRESH_S", 0.0)
    client = Client(transport=FakeTransport(lambda _: verdict))
    client._fleet = Fleet(parse_addresses("triton:8001"), connect)

    def ask_until(*targets: str) -> None:
        give_up = time.monotonic() + 10
        while tuple(one.address for one in client._fleet.endpoints) != targets:
            assert time.monotonic() < give_up
            client.moderate(Clip())

    stub_lookup(monkeypatch, "10.0.0.1", "10.0.0.2")
    ask_until("10.0.0.1:8001", "10.0.0.2:8001")
    for _ in range(20):
        client.moderate(Clip())
    assert made["10.0.0.1:8001"].requests
    assert made["10.0.0.2:8001"].requests
    assert made["triton:8001"].closed
    stub_lookup(monkeypatch, "10.0.0.2", "10.0.0.3")
    ask_until("10.0.0.2:8001", "10.0.0.3:8001")
    stub_lookup(monkeypatch)
    for _ in range(5):
        client.moderate(Clip())
    assert len(client._fleet.endpoints) == 2
    client.close()
    assert all(transport.closed for transport in made.values())

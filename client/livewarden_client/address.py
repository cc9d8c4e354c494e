"""Addresses: what a caller may name as a server, and which addresses a name stands for now."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_URL: Final = "127.0.0.1:8001"
REFRESH_S: Final = 30.0

_URL: Final = re.compile(
    r"(?!https?:)(?P<scheme>dns:(//(?P<resolver>[^/]*)/)?|ipv[46]:)?"
    r"(?P<host>\[[^\]\s/]+\]|[^\s/]+):(?P<port>\d{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """One server as the caller names it; `url` is a target that gRPC understands."""

    url: str
    host: str
    port: int
    resolver: str = ""

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an IP address, None where it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        """Tell whether what is sent there stays on this machine."""
        return self.host == "localhost" if self.ip is None else self.ip.is_loopback

    @property
    def is_name(self) -> bool:
        """Tell whether the name may stand for several servers, and is ours to resolve."""
        return self.ip is None and self.host != "localhost" and not self.resolver


def parse_addresses(url: str | Sequence[str]) -> tuple[Address, ...]:
    """Parse one "HOST:PORT" or several; raises InvalidRequest."""
    urls = [url] if isinstance(url, str) else url
    if isinstance(urls, bytes) or not hasattr(urls, "__iter__"):
        raise _refuse()
    addresses = tuple(dict.fromkeys(_parse_address(one) for one in urls))
    if not addresses:
        raise _refuse()
    return addresses


def resolve_name(address: Address) -> tuple[str, ...]:
    """List the targets that the name of `address` stands for now; the name itself if only one.

    Several addresses of one family are several servers. One of each family is one server with two
    ways to it, and gRPC finds out by itself which of them works.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    families = {
        socket.AF_INET: "{}:{}",
        socket.AF_INET6: "[{}]:{}",
    }
    for family, form in families.items():
        own = sorted({_host_of(info) for info in found if info[0] is family})
        if len(own) > 1:
            return tuple(form.format(host, address.port) for host in own)
    return (address.url,) if found else ()


def _host_of(info: tuple[Any, ...]) -> str:
    return str(info[4][0])


def _parse_address(url: object) -> Address:
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match is None or int(match["port"]) > 65_535:  # noqa: PLR2004 - the highest TCP port
        raise _refuse()
    return Address(
        match.string, match["host"].strip("[]"), int(match["port"]), match["resolver"] or ""
    )


def _refuse() -> InvalidRequest:
    return InvalidRequest(
        "url: accepted: HOST:PORT of the server's gRPC port, or several of them, for example "
        f"{DEFAULT_URL}, without http://",
        "url",
    )

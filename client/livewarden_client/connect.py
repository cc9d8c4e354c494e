"""What a client is made of, checked: servers, credentials, timeout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, get_args

from livewarden_client.address import DEFAULT_URL, Address, parse_addresses
from livewarden_client.credentials import Credentials
from livewarden_client.errors import InvalidRequest
from livewarden_client.fleet import Fleet
from livewarden_client.flight import OnFailure
from livewarden_client.hook import Hook, Hooks

if TYPE_CHECKING:
    from livewarden_client.transport import Transport

DEFAULT_TIMEOUT: Final = 5.0
MAX_TIMEOUT: Final = 3600.0
MAX_CONCURRENCY: Final = 256

Compression = Literal["gzip", "deflate"]


def connect_fleet(
    url: str | Sequence[str],
    credentials: Credentials | None,
    compression: Compression | None,
    shared_memory_key: str,
    transport: Transport | Sequence[Transport] | None,
) -> Fleet:
    """Make the fleet for the servers at `url`, or for `transport` instead; raises Misuse."""
    if transport is not None:
        return _take_transports(transport)
    addresses = parse_addresses(url)
    if credentials is not None and not isinstance(credentials, Credentials):
        raise InvalidRequest("credentials: accepted: Credentials(...), or None", "credentials")
    if compression is not None and compression not in get_args(Compression):
        raise InvalidRequest("compression: accepted: 'gzip', 'deflate' or None", "compression")
    if credentials is not None and credentials.token and not credentials.tls:
        for address in addresses:
            if not address.is_loopback:
                raise InvalidRequest(
                    f"credentials: a token must not go to {address.host} in plain text; leave "
                    "tls=False out, or name a server on this machine",
                    "credentials",
                )
    # Imported here, because importing the package must stay cheap.
    from livewarden_client.grpc_transport import GrpcTransport

    return Fleet(
        addresses,
        partial(
            GrpcTransport,
            credentials=credentials,
            compression=compression,
            shared_memory_key=check_key(shared_memory_key),
        ),
    )


def _take_transports(transport: Transport | Sequence[Transport]) -> Fleet:
    given = transport if isinstance(transport, Sequence) else [transport]
    if not given:
        raise InvalidRequest("transport: accepted: one, or several, one for each server")
    places = {
        Address(f"transport[{number}]", "127.0.0.1", port=0): one
        for number, one in enumerate(given)
    }
    return Fleet(tuple(places), lambda _target, address: places[address])


def check_key(key: str) -> str:
    """Give `key`; raises InvalidRequest where gRPC could not carry it as a header."""
    if isinstance(key, str) and key.isascii() and key.isprintable():
        return key
    raise InvalidRequest(
        "shared_memory_key: accepted: printable ASCII, as `livewarden serve --shared-memory` reads",
        "shared_memory_key",
    )


def check_timeout(timeout: float) -> float:
    """Give `timeout` as a float; raises InvalidRequest where a call could not have it."""
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        seconds = float(timeout)
        if math.isfinite(seconds) and 0 < seconds <= MAX_TIMEOUT:
            return seconds
    given = timeout if isinstance(timeout, int | float) else type(timeout).__name__
    raise InvalidRequest(
        f"timeout: got {given}; accepted: seconds above 0, at most {MAX_TIMEOUT:g}", "timeout"
    )


def check_on_failure(on_failure: OnFailure) -> OnFailure:
    """Give `on_failure`; raises InvalidRequest where it is neither of the two."""
    if on_failure not in get_args(OnFailure):
        raise InvalidRequest("on_failure: accepted: 'review' or 'raise'", "on_failure")
    return on_failure


def check_concurrency(concurrency: int) -> int:
    """Give `concurrency`; raises InvalidRequest where it is no number of calls."""
    if type(concurrency) is int and 1 <= concurrency <= MAX_CONCURRENCY:
        return concurrency
    raise InvalidRequest(
        f"concurrency: accepted: an int from 1 to {MAX_CONCURRENCY}", "concurrency"
    )


def check_hooks(hooks: Sequence[Hook]) -> Hooks:
    """Give `hooks` as one; raises InvalidRequest where one is no Hook."""
    if not all(isinstance(hook, Hook) for hook in hooks):
        raise InvalidRequest("hooks: accepted: a sequence of objects of class Hook", "hooks")
    return Hooks(hooks)


__all__ = [
    "DEFAULT_TIMEOUT",
    "DEFAULT_URL",
    "MAX_TIMEOUT",
    "Compression",
    "check_concurrency",
    "check_hooks",
    "check_key",
    "check_on_failure",
    "check_timeout",
    "connect_fleet",
]

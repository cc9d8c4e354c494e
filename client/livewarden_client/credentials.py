"""Credentials: how the client and the server prove to each other who they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from livewarden_client.errors import InvalidRequest

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """TLS, mutual TLS and a bearer token; all bytes are PEM.

    `ca` holds the authorities to trust instead of the system's. `certificate` (the whole chain)
    and `key` identify the caller, and come together. `token` goes as `authorization: Bearer`.
    `tls=False` is for a server on this machine: elsewhere a token never travels in plain text.
    Raises Misuse.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    token: str = ""
    tls: bool = True

    def __post_init__(self) -> None:
        for name in ("ca", "certificate", "key"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, bytes) and b"-----BEGIN" in value):
                raise InvalidRequest(f"{name}: accepted: the bytes of a PEM file, or None", name)
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("key: certificate and key come together, or neither", "key")
        if not isinstance(self.token, str) or not _TOKEN.fullmatch(self.token or "-"):
            raise InvalidRequest("token: accepted: a bearer token as RFC 6750 writes it", "token")
        if not self.tls and (self.ca or self.certificate):
            raise InvalidRequest("tls: certificates mean nothing with tls=False", "tls")

    def __repr__(self) -> str:
        given = [name for name in ("ca", "certificate", "key", "token") if getattr(self, name)]
        return f"Credentials(tls={self.tls}, <{', '.join(given) or 'nothing else'}>)"

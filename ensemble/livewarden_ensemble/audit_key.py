"""Keys of the audit log: one secret per key id, and what is derived from it.

A key file has one key per line, `id:hex` as the keys of state tokens, the one to write with first.
Retired keys stay below it for as long as anything that they sealed is kept.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.errors import AuditInvalid
from livewarden_ensemble.secret_key import KeyInvalid, read_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# As many bytes as SHA-256 gives: a shorter key is weaker than the hash (RFC 2104, section 3).
MIN_SECRET_BYTES: Final = 32

_MAX_ID: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class AuditKey:
    """One key, as the two keys derived from it.

    `chain` seals the lines of the log, `content` hides what they stand for. Apart, so that an
    auditor who checks the chain need not be able to test guesses about the content.
    """

    id: str
    chain: bytes
    content: bytes

    def __repr__(self) -> str:
        return f"AuditKey({self.id!r})"


@dataclass(frozen=True, slots=True, repr=False)
class AuditKeys:
    """All keys of a log: `current` seals new lines, the others only check old ones."""

    current: AuditKey
    all: dict[str, AuditKey]

    def __repr__(self) -> str:
        return f"AuditKeys({', '.join(self.all)})"


def derive_key(key_id: str, secret: bytes) -> AuditKey:
    """Derive the key `key_id` from `secret`, at least 32 bytes."""
    if len(secret) < MIN_SECRET_BYTES:
        raise AuditInvalid(
            f"audit key {key_id!r} has {len(secret)} bytes; at least {MIN_SECRET_BYTES} are needed"
        )
    chain, content = (
        hmac.digest(secret, b"livewarden.audit/v1 " + purpose, "sha256")
        for purpose in (b"chain", b"content")
    )
    return AuditKey(key_id, chain, content)


def gather_keys(keys: Iterable[AuditKey]) -> AuditKeys:
    """Gather `keys`, the current one first."""
    listed = list(keys)
    return AuditKeys(listed[0], {key.id: key for key in listed})


def read_audit_keys(environment: Mapping[str, str]) -> AuditKeys | None:
    """Read the keys that LIVEWARDEN_AUDIT_KEYS_FILE names or LIVEWARDEN_AUDIT_KEYS holds."""
    if name := environment.get("LIVEWARDEN_AUDIT_KEYS_FILE"):
        return load_keys(Path(name))
    text = environment.get("LIVEWARDEN_AUDIT_KEYS")
    return parse_keys(text, "LIVEWARDEN_AUDIT_KEYS") if text else None


def load_keys(path: Path) -> AuditKeys:
    """Load the key file at `path`. Raises AuditInvalid, which names the place and never a key."""
    try:
        return parse_keys(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise AuditInvalid(f"audit keys: {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AuditInvalid(f"audit keys: {path}: is not UTF-8") from None


def parse_keys(text: str, source: str) -> AuditKeys:
    """Parse keys `id:hex`, with lines, blanks or commas between them; `#` starts a comment."""
    try:
        keys = read_keys(text, max_id=_MAX_ID, min_bytes=MIN_SECRET_BYTES)
    except KeyInvalid as error:
        raise AuditInvalid(f"audit keys: {source}: {error}") from None
    return gather_keys(derive_key(key_id, secret) for key_id, secret in keys.items())

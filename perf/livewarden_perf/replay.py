"""Requests that can be sent any number of times, as no call of the client's own can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livewarden_client.request import encode_context
from livewarden_client.wire import MAX_MS

if TYPE_CHECKING:
    from livewarden_client.clip import Clip


def encode_replay_context(clip: Clip, request_id: str) -> bytes:
    """Encode the `context` input of `clip`: no nonce, and a deadline that never passes."""
    return encode_context(clip, request_id, nonce="", deadline_ms=MAX_MS)

"""The request: one clip as it goes over the wire, with its nonce and its deadline."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.clip import Clip, encode_json
from livewarden_client.errors import InvalidClip
from livewarden_client.wire import MAX_CONTEXT_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from livewarden_client.clip import Text

# The clip's fields that stand in the context under their own name, with their defaults.
_COPIED: Final = {
    field.name: field.default
    for field in fields(Clip)
    if field.name not in {"frames", "frames_rgb", "texts", "request_id"}
}


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Request:
    """What a transport sends for one call: the inputs of the model `moderation`, batch axis off.

    `context` is the JSON. `timeout` is how many seconds the caller waits; a transport must not
    cancel the RPC then, because cancelled RPCs can kill a Triton 2.51. `headers` is gRPC metadata.
    """

    request_id: str
    nonce: str
    timeout: float
    context: bytes
    frames: tuple[bytes, ...] = ()
    texts: tuple[bytes, ...] = ()
    frames_rgb: NDArray[np.uint8] | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Request(request_id={self.request_id!r}, timeout={self.timeout:g})"


def build_request(
    clip: Clip,
    timeout: float,
    request_id: str = "",
    headers: tuple[tuple[str, str], ...] = (),
) -> Request:
    """Build the request for `clip`, with a fresh nonce and a deadline `timeout` seconds from now.

    An empty `request_id` means the clip's own, or a fresh one. Raises InvalidClip where the
    context is over 64 KiB.
    """
    request_id = request_id or clip.request_id or str(uuid.uuid4())
    nonce = secrets.token_hex(8)
    deadline_ms = int((time.time() + timeout) * 1000)
    return Request(
        request_id=request_id,
        nonce=nonce,
        timeout=timeout,
        context=encode_context(clip, request_id, nonce, deadline_ms),
        frames=tuple(clip.frames),
        texts=tuple(text.encode() for text in clip.texts),
        frames_rgb=clip.frames_rgb,
        headers=headers,
    )


def encode_context(clip: Clip, request_id: str, nonce: str, deadline_ms: int) -> bytes:
    """Encode the `context` input: JSON in UTF-8, fields at their default left out."""
    context: dict[str, Any] = {
        "request_id": request_id,
        "nonce": nonce,
        "deadline_ms": deadline_ms,
    }
    for name, default in _COPIED.items():
        value = getattr(clip, name)
        if value != default:
            context[name] = value
    if clip.texts:
        context["texts"] = [_describe_text(text) for text in clip.texts]
    raw = encode_json(context, "pass_through")
    if len(raw) > MAX_CONTEXT_BYTES:
        raise InvalidClip(
            f"context: got {len(raw)} bytes of JSON; accepted: at most {MAX_CONTEXT_BYTES}; "
            "shorten pass_through, state or the texts' author_ref",
            "context",
        )
    return raw


def _describe_text(text: Text) -> dict[str, Any]:
    info: dict[str, Any] = {"kind": text.kind}
    if text.ts_ms is not None:
        info["ts_ms"] = text.ts_ms
    if text.author_ref is not None:
        info["author_ref"] = text.author_ref
    if text.lang:
        info["lang"] = text.lang
    return info

"""The body of a request to a baseline over HTTP: one line of JSON, then the JPEGs one by one.

Nothing in it is encoded twice or searched for a boundary: it costs both sides less than multipart
or base64 would.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ClipBody:
    """JPEG files, texts, and the code of each text's kind."""

    frames: Sequence[bytes]
    texts: Sequence[str]
    kinds: Sequence[int]


def write_clip(clip: ClipBody) -> bytes:
    """Write `clip` as a request's body."""
    head = {
        "frames": [len(frame) for frame in clip.frames],
        "texts": list(clip.texts),
        "kinds": list(clip.kinds),
    }
    return b"".join([json.dumps(head).encode(), b"\n", *clip.frames])


def read_clip(body: bytes) -> ClipBody:
    """Read what `write_clip` wrote; ValueError where the frames' lengths do not add up."""
    end = body.index(b"\n")
    head = json.loads(body[:end])
    borders = [end + 1]
    for length in head["frames"]:
        borders.append(borders[-1] + length)
    if borders[-1] != len(body):
        raise ValueError(f"the frames end at byte {borders[-1]} of {len(body)}")
    frames = [body[start:stop] for start, stop in pairwise(borders)]
    return ClipBody(frames, head["texts"], head["kinds"])

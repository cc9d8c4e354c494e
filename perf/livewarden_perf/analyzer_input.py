"""Clips as perf_analyzer reads them: one JSON file, every tensor as base64 with its shape.

A BYTES tensor is its elements one after the other, each behind its length (4 bytes, little
endian). The file names a shape for every tensor, so one run can mix clips of any sizes; an
optional input that a clip does not have is left out.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.utils import (
    serialize_byte_tensor,
)

from livewarden_perf.replay import encode_replay_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from livewarden_client.clip import Clip


def write_input(path: Path, clips: Sequence[Clip]) -> None:
    """Write `clips` to `path`; perf_analyzer sends them in turn, over and over."""
    data = [describe_clip(clip, f"perf-{number}") for number, clip in enumerate(clips)]
    path.write_text(json.dumps({"data": data}), encoding="utf-8")


def describe_clip(clip: Clip, request_id: str) -> dict[str, Any]:
    """Describe one request for `clip`: its inputs by name, those that it has."""
    tensors = {
        "frames": list(clip.frames),
        "texts": [text.encode() for text in clip.texts],
        "context": [encode_replay_context(clip, request_id)],
    }
    return {name: _describe_tensor(items) for name, items in tensors.items() if items}


def _describe_tensor(items: list[bytes]) -> dict[str, Any]:
    serialised = serialize_byte_tensor(np.array(items, np.object_)).item()
    return {"b64": base64.b64encode(serialised).decode(), "shape": [len(items)]}

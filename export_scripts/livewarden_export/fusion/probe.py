"""Which encoders a head belongs to: their answers to a few fixed inputs, kept beside its weights.

A head reads other encoders' numbers without an error and talks nonsense about them, so an export
asks before it builds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import NSFW_ENCODER, TEXT_ENCODER, VISION_ENCODER, Model
from livewarden_export.sample import load_frames, tokenize_texts

Arrays = Mapping[str, NDArray[Any]]
Ask = Callable[[Model, dict[str, NDArray[Any]]], Arrays]

# Of tensors that are trained on; a precision's rounding stays far below 0.02.
PROBED: Final = ("vision_embedding", "nsfw_features", "text_embedding")
_LEAST_COSINE: Final = 0.98
_SENTENCES: Final = ("good evening everyone", "i will find you", "the soup needs salt")
_PICTURES: Final = 2


def probe_encoders(ask: Ask, tokenizer: Path) -> dict[str, NDArray[np.float32]]:
    """What the encoders say of the fixed inputs, by the name of the tensor: [N, D] each."""
    frames: dict[str, NDArray[Any]] = {
        "frame": load_frames()[-_PICTURES:],
        "nonce": np.zeros((_PICTURES, 1), np.int64),
    }
    answers = {
        **ask(VISION_ENCODER, frames),
        **ask(NSFW_ENCODER, frames),
        **ask(TEXT_ENCODER, tokenize_texts(_SENTENCES, tokenizer)),
    }
    return {name: np.ascontiguousarray(answers[name], np.float32) for name in PROBED}


def find_strangers(known: Arrays, found: Arrays) -> list[str]:
    """The tensors of which `found` is not what the head was trained on."""
    return [name for name in PROBED if not _agree(known[name], found[name])]


def _agree(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return False
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosines = (one * other).sum(axis=-1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return bool((cosines >= _LEAST_COSINE).all())

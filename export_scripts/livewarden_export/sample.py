"""Real pictures and sentences, as the encoders' inputs: what parity is measured on."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
import tokenizers
from numpy.typing import NDArray
from PIL import Image

from livewarden_client.wire import (
    FUSION_CLASSIFIER,
    IMAGE_SIDE,
    MAX_FRAMES,
    MAX_TEXTS,
    MODALITIES,
    TOKEN_LENGTHS,
)
from livewarden_export.prototype import BENIGN, PROTOTYPES
from livewarden_export.recipe import Range, Tensors

# Pictures that scikit-image carries: text, tissue, space, machines, objects, animals, people. Small
# batches take the last ones, which are in colour: on a grey picture, swapped channels do not show.
PICTURES: Final = (
    "camera.png",
    "page.png",
    "grass.png",
    "coins.png",
    "color.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "rocket.jpg",
    "motorcycle_left.png",
    "coffee.png",
    "chelsea.png",
    "astronaut.png",
)

# Texts of different lengths that are in no table of the fusion head.
SENTENCES: Final = (
    "gg",
    "hello everyone, great play!",
    "what a match",
    "drop your favourite song in the chat and i will play it next, requests are open all night",
    "buy cheap crypto, send me your seed phrase",
    "i will find you and kill you",
    (
        "tonight we are trying the recipe that my grandmother brought from Naples: tomatoes, "
        "basil, garlic, a little chilli and the best olive oil that you can find, and while it "
        "simmers i will read your questions and tell you how we met"
    ),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One batch that a leaf and its source both answer; `name` says what is particular about it."""

    name: str
    inputs: Tensors


@functools.cache
def load_frames() -> NDArray[np.uint8]:
    """The pictures, uint8 [N, 224, 224, 3] RGB, scaled to the square by area."""
    package = distribution("scikit-image")
    frames = []
    for name in PICTURES:
        with Image.open(str(package.locate_file(f"skimage/data/{name}"))) as picture:
            scaled = picture.convert("RGB").resize((IMAGE_SIDE,) * 2, Image.Resampling.BOX)
        frames.append(np.asarray(scaled))
    return np.stack(frames)


def tokenize_texts(
    texts: Sequence[str], tokenizer: Path, length: int = TOKEN_LENGTHS[1]
) -> dict[str, NDArray[Any]]:
    """Inputs of the text encoder: ids and mask int32 [N, length], nonce int64 [N, 1].

    Longer texts are cut, shorter ones padded.
    """
    cutter = tokenizers.Tokenizer.from_file(str(tokenizer))
    cutter.enable_truncation(length)
    cutter.enable_padding(length=length)
    encoded = cutter.encode_batch(list(texts))
    return {
        "input_ids": np.array([item.ids for item in encoded], np.int32),
        "attention_mask": np.array([item.attention_mask for item in encoded], np.int32),
        "nonce": draw_nonce(len(texts)),
    }


def draw_nonce(rows: int) -> NDArray[np.int64]:
    """[rows, 1] numbers that need all 64 bits, the negative ones included."""
    generator = np.random.default_rng(rows)
    return generator.integers(-(2**63), 2**63 - 1, (rows, 1), np.int64)


def frame_cases(batch: Range) -> list[Case]:
    """Cases for an encoder of frames: the profile's corners, and all pictures last.

    A batch larger than there are pictures is filled with them mirrored and turned.
    """
    frames = load_frames()
    variants = np.concatenate(
        [frames[:, ::down, ::across] for down in (1, -1) for across in (-1, 1)] + [frames]
    )
    rows = sorted({batch.min, batch.opt, min(batch.max, len(variants))} - {len(frames)})
    return [
        Case(f"{n} frames", {"frame": variants[-n:], "nonce": draw_nonce(n)})
        for n in (*rows, len(frames))
    ]


def text_cases(tokenizer: Path, batch: Range, tokens: Range) -> list[Case]:
    """Cases for the text encoder: the profile's corners, every length; SENTENCES come last."""
    known = [*BENIGN, *(text for texts in PROTOTYPES.values() for text in texts), *SENTENCES]
    many = [known[i % len(known)] for i in range(batch.max)]
    longest = [" ".join(known[i % 9 :]) for i in range(batch.max)]
    corners = [
        (SENTENCES[-1:], tokens.min),
        (many, tokens.opt),
        (many[: batch.min], tokens.max),
        (longest, tokens.max),
        (many, TOKEN_LENGTHS[0]),
        *((SENTENCES, length) for length in TOKEN_LENGTHS),
    ]
    return [
        Case(f"{len(texts)} texts of {length} tokens", tokenize_texts(texts, tokenizer, length))
        for texts, length in corners
    ]


def fusion_cases(
    vision: Mapping[str, NDArray[Any]],
    nsfw: Mapping[str, NDArray[Any]],
    text: Mapping[str, NDArray[Any]],
) -> list[Case]:
    """Cases for the fusion head from what the encoders said of real items (N rows, M rows).

    Clips of one item, of many with unequal padding, one with nothing but padding, and the largest
    batch of the longest clips.
    """
    shapes = (
        ((1, 1),),
        ((3, 0), (5, 2)),
        ((0, 0),),
        ((13, 7), (1, 0), (0, 3), (8, 5)),
        ((MAX_FRAMES, MAX_TEXTS), *[(3, 4)] * (FUSION_CLASSIFIER.max_batch - 1)),
    )
    cases = []
    for clips in shapes:
        frames, texts = (max(1, *sizes) for sizes in zip(*clips, strict=True))
        sources = {
            name: vision[name] if name in vision else nsfw[name]
            for name in ("vision_embedding", "vision_logits", "nsfw_features", "nsfw_probability")
        }
        inputs: dict[str, NDArray[Any]] = {
            name: np.zeros((len(clips), frames, rows.shape[1]), np.float32)
            for name, rows in sources.items()
        }
        inputs["frame_mask"] = np.zeros((len(clips), frames), np.int32)
        width = text["text_embedding"].shape[1]
        inputs["text_embedding"] = np.zeros((len(clips), texts, width), np.float32)
        inputs["text_kind"] = np.zeros((len(clips), texts), np.int32)
        for row, (seen, read) in enumerate(clips):
            for name, rows in sources.items():
                inputs[name][row, :seen] = np.resize(rows, (seen, rows.shape[1]))
            inputs["frame_mask"][row, :seen] = 1
            inputs["text_embedding"][row, :read] = np.resize(text["text_embedding"], (read, width))
            inputs["text_kind"][row, :read] = 1 + np.arange(read) % (len(MODALITIES) - 1)
        inputs["nonce"] = draw_nonce(len(clips))
        named = ", ".join(f"{f}+{t}" for f, t in dict.fromkeys(clips))
        cases.append(Case(f"clips of {named} frames+texts", inputs))
    return cases

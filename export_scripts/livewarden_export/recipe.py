"""How each leaf is made, as data: where its weights come from and how exact its artefacts must be.

`models.yaml` is read into these types by `model_file.py`. Nothing heavy is imported here, so that
an export with nothing to do never loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from livewarden_client import wire

# What a leaf computes in. int8 means quantised weights and activations around a float core.
Precision = Literal["f32", "bf16", "f16", "int8"]
Tensors: TypeAlias = Mapping[str, NDArray[Any]]

# The name of each varying axis but the batch's; inputs that share a name share the length.
AXES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        wire.VISION_ENCODER.name: {},
        wire.NSFW_ENCODER.name: {},
        wire.TEXT_ENCODER.name: {"input_ids": "tokens", "attention_mask": "tokens"},
        wire.FUSION_CLASSIFIER.name: {
            "vision_embedding": "frames",
            "vision_logits": "frames",
            "nsfw_features": "frames",
            "nsfw_probability": "frames",
            "frame_mask": "frames",
            "text_embedding": "texts",
            "text_kind": "texts",
        },
    }
)

NUMPY_DTYPES: Final[Mapping[wire.DType, np.dtype[Any]]] = MappingProxyType(
    {
        "UINT8": np.dtype(np.uint8),
        "INT32": np.dtype(np.int32),
        "INT64": np.dtype(np.int64),
        "FP32": np.dtype(np.float32),
    }
)


class WriteOnnx(Protocol):
    """Writes a model as ONNX of the given opset, the exporter's own choice without one."""

    def __call__(self, path: Path, *, opset: int | None = None) -> None:
        """Write the file; GraphInvalid where it is not what the wire says."""


@dataclass(frozen=True, slots=True)
class Source:
    """One leaf's model, loaded: it can write itself as ONNX, and it can answer by itself.

    `reference` computes the outputs from the same inputs on a way that shares neither the exported
    graph nor its normalisation, so that an error in either shows as a difference. `tokenizer` is
    the file that belongs to a text encoder. `calibration` says what a fusion head's scores mean,
    and becomes the bundle's calibration.json: its `id`, and the labels `supported` by modality.
    """

    write_onnx: WriteOnnx
    reference: Callable[[Tensors], dict[str, NDArray[Any]]]
    tokenizer: Path | None = None
    calibration: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The most that one output may differ: smallest row cosine, largest and p99 difference."""

    max_abs: float
    p99_abs: float
    min_cosine: float = -1.0  # a single number has no direction


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a network was trained on: (pixel - mean) / std of 0..255, per channel in its order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"


@dataclass(frozen=True, slots=True)
class Range:
    """The sizes of one axis that an artefact must take, and the one that it is fastest at."""

    min: int
    opt: int
    max: int


@dataclass(frozen=True, slots=True)
class Package:
    """Weights in an installed distribution: the file that ends in `file`, or all of it."""

    name: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class FactorySource:
    """A Python function "module:function" that takes (recipe, sources) and gives a Source."""

    call: str
    packages: tuple[str, ...] = ()
    checkpoint: Path | None = None


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """A folder in the layout of transformers: config.json, model.safetensors, tokenizer.json."""

    folder: Path


@dataclass(frozen=True, slots=True)
class OnnxOutput:
    """A tensor inside an ONNX file; `column` picks one number of its last axis."""

    tensor: str
    column: int | None = None


@dataclass(frozen=True, slots=True)
class OnnxSource:
    """An ONNX file that takes float pixels: it is wrapped, its own nodes stay untouched."""

    file: Path | Package
    input: str
    outputs: Mapping[str, OnnxOutput]


ModelSource: TypeAlias = FactorySource | HuggingFaceSource | OnnxSource


@dataclass(frozen=True, slots=True)
class Target:
    """One runtime's precisions: what is built, and what a search tries besides it."""

    precision: Precision
    search: tuple[Precision, ...] = ()
    opset: int | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one leaf is made.

    `profile` gives the range of "batch" and of every axis in AXES. `tolerances` bounds every float
    output in every precision that any target names.
    """

    model: wire.Model
    source: ModelSource
    profile: Mapping[str, Range]
    openvino: Target
    tensorrt: Target
    tolerances: Mapping[Precision, Mapping[str, Tolerance]]
    pixels: Pixels | None = None
    tokenizer: Path | Package | None = None
    calibration: Literal["pictures", "sentences", "encoders"] = "pictures"
    axes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecisionBudget:
    """How far verdicts of the evaluation clips may move: flipped actions, and score difference."""

    policy: Path
    max_flips: int = 0
    max_shift: float = 1.0


@dataclass(frozen=True, slots=True)
class Models:
    """A whole models.yaml: one recipe per leaf in the wire's order, and what decisions may move."""

    path: Path
    recipes: tuple[Recipe, ...]
    decisions: DecisionBudget

    def find(self, leaf: str) -> Recipe:
        """The recipe of the leaf called `leaf`; KeyError names what exists."""
        for recipe in self.recipes:
            if recipe.model.name == leaf:
                return recipe
        known = ", ".join(recipe.model.name for recipe in self.recipes)
        raise KeyError(f"there is no recipe for {leaf!r}; known: {known}")

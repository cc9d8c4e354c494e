"""An ONNX file of somebody else as a leaf: wrapped so that it takes frames and answers by name.

The weights stay untouched; the wrapping nodes are channel order and normalisation in front, and
names for the outputs behind.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from livewarden_client import wire
from livewarden_export.errors import SourceInvalid
from livewarden_export.onnx import ONNX_TYPES, check_graph, convert_opset
from livewarden_export.recipe import OnnxSource, Recipe, Source, Tensors
from livewarden_export.source import locate


def open_onnx(recipe: Recipe) -> Source:
    """The file that `recipe.source` names; SourceInvalid where it lacks a tensor named there."""
    source, pixels = recipe.source, recipe.pixels
    if not isinstance(source, OnnxSource) or pixels is None:
        raise SourceInvalid(f"{recipe.model.name}: only a leaf that takes frames can wrap ONNX")
    path = locate(source.file)
    try:
        published = onnx.load(path)
    except Exception as error:
        # protobuf's DecodeError has no public base but Exception.
        raise SourceInvalid(f"{path}: is no ONNX file ({type(error).__name__})") from error
    _check_names(path, published, source)
    wanted = [output.tensor for output in source.outputs.values()]
    session = _open_session(published, wanted, recipe)

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        frame = inputs["frame"][..., ::-1] if pixels.channels == "bgr" else inputs["frame"]
        values = (frame.astype(np.float32) - np.array(pixels.mean, np.float32)) / np.array(
            pixels.std, np.float32
        )
        if pixels.layout == "nchw":
            values = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        answers = dict(zip(wanted, session.run(wanted, {source.input: values}), strict=True))
        outputs = {}
        for name, output in source.outputs.items():
            columns = slice(None)
            if output.column is not None:
                columns = slice(output.column, output.column + 1)
            outputs[name] = answers[output.tensor][:, columns]
        return {**outputs, wire.ECHO.name: inputs[wire.NONCE.name]}

    return Source(functools.partial(write_wrapped, published, recipe), reference)


def write_wrapped(
    published: onnx.ModelProto, recipe: Recipe, path: Path, *, opset: int | None = None
) -> None:
    """Write `published` (float pixels in) to `path` with the inputs and outputs of the wire."""
    source, pixels = recipe.source, recipe.pixels
    assert isinstance(source, OnnxSource)
    assert pixels is not None
    model = onnx.ModelProto()
    model.CopyFrom(published)
    graph = model.graph
    columns = {name: out.column for name, out in source.outputs.items() if out.column is not None}
    constants: dict[str, NDArray[Any]] = {
        "channel_order": np.array([2, 1, 0] if pixels.channels == "bgr" else [0, 1, 2], np.int64),
        "channel_mean": np.array(pixels.mean, np.float32),
        "channel_std": np.array(pixels.std, np.float32),
        **{f"column_of_{name}": np.array([column], np.int64) for name, column in columns.items()},
    }
    graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
    transpose = pixels.layout == "nchw"
    scaled = "pixels_nhwc" if transpose else source.input
    nodes = [
        # Cast first: TensorRT lets a uint8 input into nothing but a Cast.
        helper.make_node("Cast", ["frame"], ["rgb"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["rgb", "channel_order"], ["ordered"], axis=3),
        helper.make_node("Sub", ["ordered", "channel_mean"], ["centred"]),
        helper.make_node("Div", ["centred", "channel_std"], [scaled]),
    ]
    if transpose:
        nodes.append(helper.make_node("Transpose", [scaled], [source.input], perm=[0, 3, 1, 2]))
    nodes += graph.node
    for name, output in source.outputs.items():
        nodes.append(
            helper.make_node("Gather", [output.tensor, f"column_of_{name}"], [name], axis=1)
            if name in columns
            else helper.make_node("Identity", [output.tensor], [name])
        )
    nodes.append(helper.make_node("Identity", [wire.NONCE.name], [wire.ECHO.name]))
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.extend(_declare(tensor) for tensor in recipe.model.inputs)
    graph.output.extend(_declare(tensor) for tensor in recipe.model.outputs)
    if opset is not None:
        model = convert_opset(model, opset)
    onnx.save(model, path)
    check_graph(path, recipe)


def _declare(tensor: wire.Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        tensor.name, ONNX_TYPES[tensor.dtype], ["batch", *tensor.dims]
    )


def _check_names(path: Path, published: onnx.ModelProto, source: OnnxSource) -> None:
    constants = {item.name for item in published.graph.initializer}
    inputs = [value.name for value in published.graph.input if value.name not in constants]
    if inputs != [source.input]:
        raise SourceInvalid(f"{path}: has the inputs {inputs}; models.yaml says {source.input!r}")
    made = {name for node in published.graph.node for name in node.output}
    for output in source.outputs.values():
        if output.tensor not in made:
            raise SourceInvalid(
                f"{path}: holds no tensor {output.tensor!r}; its outputs are: "
                f"{', '.join(value.name for value in published.graph.output)}"
            )


def _open_session(
    published: onnx.ModelProto, wanted: list[str], recipe: Recipe
) -> onnxruntime.InferenceSession:
    """A session of the untouched graph that also gives the inner tensors in `wanted`."""
    model = onnx.ModelProto()
    model.CopyFrom(published)
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in wanted
        if name not in known
    )
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # ONNX Runtime's errors share no public base class.
        raise SourceInvalid(f"{recipe.model.name}: ONNX Runtime refuses it: {error}") from error

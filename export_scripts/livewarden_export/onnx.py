"""PyTorch to ONNX, and the check that the graph is what the tensor contract says."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
import onnx.version_converter
import torch
from onnx import TensorProto
from torch import nn

from livewarden_client import wire
from livewarden_export.errors import GraphInvalid
from livewarden_export.recipe import NUMPY_DTYPES, Recipe

# Above this many bytes of weights the file could pass protobuf's 2 GiB with its graph.
_INLINE_LIMIT: Final = 1_500_000_000

# Tracing sizes: all different and none 0, 1 or the end of a range, so that no axis can be mistaken
# for another one or for a constant.
_TRACE_BATCH: Final = 3
_TRACE_SIZE: Final[Mapping[str, int]] = {"tokens": 7, "frames": 5, "texts": 4}

ONNX_TYPES: Final[Mapping[wire.DType, int]] = {
    "UINT8": TensorProto.UINT8,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP32": TensorProto.FLOAT,
}


# The first opset with one node for attention, which TensorRT 10.14 and later fuse as a whole.
FUSED_ATTENTION: Final = 23


def export_torch(
    module: nn.Module, recipe: Recipe, path: Path, *, opset: int | None = None
) -> None:
    """Write `module` to `path`; its forward() takes the wire's inputs in the wire's order.

    Every axis of `recipe.profile` stays dynamic over its whole range. From opset 23 on, attention
    of transformers' models becomes one node. Raises GraphInvalid where the graph is not what the
    wire says.
    """
    model = recipe.model
    axes = {
        axis: torch.export.Dim(axis, min=sizes.min, max=sizes.max)
        for axis, sizes in recipe.profile.items()
    }
    shapes = {
        tensor.name: {0: axes["batch"]}
        | ({1: axes[recipe.axes[tensor.name]]} if tensor.name in recipe.axes else {})
        for tensor in model.inputs
    }
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    # The exporter reports on itself, on missing torchvision and on shared axis names; what matters
    # is checked below.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    fused = opset is not None and opset >= FUSED_ATTENTION
    with warnings.catch_warnings(), torch.no_grad(), _attention("sdpa" if fused else None, module):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module.eval(),
                _make_example(recipe),
                dynamo=True,
                input_names=[tensor.name for tensor in model.inputs],
                output_names=[tensor.name for tensor in model.outputs],
                dynamic_shapes=shapes,
                opset_version=opset,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise GraphInvalid(
                f"{model.name}: torch.onnx.export refuses the module: {error.__cause__ or error}"
            ) from error
    if program is None:
        raise GraphInvalid(f"{model.name}: torch.onnx.export gave no program")
    program.save(str(path), external_data=size > _INLINE_LIMIT)
    check_graph(path, recipe)


@contextlib.contextmanager
def _attention(kind: str | None, module: nn.Module) -> Iterator[None]:
    """Let transformers' models inside `module` compute attention as `kind` for the while."""
    inner: list[Any] = [p for p in module.modules() if hasattr(p, "set_attn_implementation")]
    before = [part.config._attn_implementation for part in inner]  # noqa: SLF001 - no public reader
    if kind is not None:
        for part in inner:
            part.set_attn_implementation(kind)
    try:
        yield
    finally:
        if kind is not None:
            for part, name in zip(inner, before, strict=True):
                part.set_attn_implementation(name)


def convert_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """`model` in another opset; GraphInvalid where ONNX has no way there."""
    try:
        return onnx.version_converter.convert_version(model, opset)
    except RuntimeError as error:
        raise GraphInvalid(f"cannot be written in opset {opset}: {error}") from error


def check_graph(path: Path, recipe: Recipe) -> None:
    """Raise GraphInvalid unless the file's inputs and outputs are the wire's.

    Compared are names in order, types, fixed sizes, and that what varies has a symbolic size: the
    same symbol for the same axis, another one for another axis.
    """
    name = recipe.model.name
    try:
        onnx.checker.check_model(str(path), full_check=True)  # by path: finds external data, too
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphInvalid(f"{name}: the graph is not valid ONNX: {error}") from error
    model = onnx.load(str(path), load_external_data=False)
    _check_side(f"{name}: inputs", model.graph.input, recipe.model.inputs)
    _check_side(f"{name}: outputs", model.graph.output, recipe.model.outputs)
    symbols: dict[str, str] = {}
    for value in model.graph.input:
        sizes = value.type.tensor_type.shape.dim
        named = {"batch": sizes[0]}
        if value.name in recipe.axes:
            named[recipe.axes[value.name]] = sizes[1]
        for axis, size in named.items():
            if symbols.setdefault(axis, size.dim_param) != size.dim_param:
                raise GraphInvalid(
                    f"{name}: input {value.name!r} calls the axis {axis!r} {size.dim_param!r}, "
                    f"another input {symbols[axis]!r}; they must share one length"
                )
    if len(set(symbols.values())) != len(symbols):
        raise GraphInvalid(f"{name}: independent axes were tied together: {symbols}")


def _check_side(
    where: str, values: Sequence[onnx.ValueInfoProto], tensors: Sequence[wire.Tensor]
) -> None:
    found = [value.name for value in values]
    wanted = [tensor.name for tensor in tensors]
    if found != wanted:
        raise GraphInvalid(f"{where} are {found}; the contract says {wanted}")
    for value, tensor in zip(values, tensors, strict=True):
        kind = value.type.tensor_type
        if kind.elem_type != ONNX_TYPES[tensor.dtype]:
            raise GraphInvalid(
                f"{where}: {tensor.name!r} is {TensorProto.DataType.Name(kind.elem_type)}; "
                f"the contract says {tensor.dtype}"
            )
        sizes = [size.dim_value if not size.dim_param else -1 for size in kind.shape.dim]
        if sizes != [-1, *tensor.dims]:
            raise GraphInvalid(
                f"{where}: {tensor.name!r} has shape {sizes}; the contract says "
                f"{[-1, *tensor.dims]} (-1 varies; a number in its place was fixed by tracing)"
            )


def _make_example(recipe: Recipe) -> tuple[torch.Tensor, ...]:
    def size(tensor: wire.Tensor) -> list[int]:
        varying = _TRACE_SIZE[recipe.axes[tensor.name]] if tensor.name in recipe.axes else 0
        return [_TRACE_BATCH, *(varying if dim == -1 else dim for dim in tensor.dims)]

    return tuple(
        torch.ones(size(tensor), dtype=getattr(torch, str(NUMPY_DTYPES[tensor.dtype])))
        for tensor in recipe.model.inputs
    )

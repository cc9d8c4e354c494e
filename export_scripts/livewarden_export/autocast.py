"""Precision baked into an ONNX graph, for a builder that takes it from nowhere else.

f16 and bf16: matrix products and convolutions compute in 16 bits, and what lies between two of them
follows, so that activations stay 16 bits wide; normalisations, exponentials, reductions and every
output stay f32, as does a node that a range measured on real data or a constant would overflow.
int8: Q/DQ pairs around the same products, symmetric and without quantised biases, because the
TensorRT parser takes no others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from livewarden_export.errors import GraphInvalid
from livewarden_export.recipe import Precision, Tensors

_PRODUCTS: Final = ("Conv", "Gemm", "MatMul", "Attention")
# Compute in whatever their inputs are; worth 16 bits only between two products.
_FOLLOWERS: Final = frozenset(
    (
        *("Add", "Sub", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish"),
        *("Gelu", "Erf", "Tanh", "Identity", "Transpose", "Reshape", "Flatten", "Squeeze"),
        *("Unsqueeze", "Concat", "Split", "Slice", "Gather", "Pad", "MaxPool", "Expand"),
    )
)
_MOST_F16: Final = 65504.0
# A measured range may be exceeded by other data; half of what fits is left free.
_HEADROOM: Final = 0.5

_TYPE: Final = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
# The first opset in which every product takes bf16.
_BF16_OPSET: Final = 22
# The first opset whose Q/DQ pairs can have a scale per channel.
_PER_CHANNEL_OPSET: Final = 13


def write_precision(
    source: Path,
    target: Path,
    precision: Precision,
    calibration: Sequence[Tensors],
    keep: Sequence[str] = (),
) -> int:
    """Write the f32 graph at `source` in `precision` to `target`; gives the graph's opset.

    `calibration` are real inputs; `keep` are operators or nodes that stay f32.
    """
    model = onnx.load(source)
    if precision in {"f16", "bf16"}:
        kind: Literal["f16", "bf16"] = "f16" if precision == "f16" else "bf16"
        wide = find_wide(model, calibration) if kind == "f16" else frozenset()
        model = cast_graph(model, kind, frozenset(keep) | wide)
    elif precision == "int8":
        model = quantize_graph(model, calibration, keep)
    onnx.save(model, target)
    return _find_opset(model)


def cast_graph(
    model: onnx.ModelProto, kind: Literal["f16", "bf16"], keep: frozenset[str] = frozenset()
) -> onnx.ModelProto:
    """A copy of the f32 `model` whose products compute in `kind`; inputs and outputs stay.

    `keep` holds operators and names of nodes that stay f32. Raises GraphInvalid where types cannot
    be inferred.
    """
    if kind == "bf16" and _find_opset(model) < _BF16_OPSET:
        model = onnx.version_converter.convert_version(model, _BF16_OPSET)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise GraphInvalid(f"types of the graph cannot be inferred: {error}") from error
    return _Caster(inferred, kind, keep).cast()


def find_wide(model: onnx.ModelProto, calibration: Sequence[Tensors]) -> frozenset[str]:
    """Names of the nodes whose outputs leave half the range of f16 on `calibration`."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    _name_nodes(watched)
    floats = _find_floats(onnx.shape_inference.infer_shapes(watched))
    outputs = {
        output: node.name
        for node in watched.graph.node
        for output in node.output
        if output in floats and node.op_type not in {"Constant", "Cast"}
    }
    known = {value.name for value in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in outputs
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wide: set[str] = set()
    for inputs in calibration:
        # A few rows are enough for ranges, and every inner tensor is held at once.
        few = {name: array[:4] for name, array in inputs.items()}
        for name, array in zip(outputs, session.run(list(outputs), few), strict=True):
            if array.size and np.abs(array).max() > _MOST_F16 * _HEADROOM:
                wide.add(outputs[name])
    return frozenset(wide)


def quantize_graph(
    model: onnx.ModelProto, calibration: Sequence[Tensors], keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """A copy of `model` with symmetric int8 Q/DQ around its products, calibrated on real inputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if _find_opset(copy) < _PER_CHANNEL_OPSET:
        copy = onnx.version_converter.convert_version(copy, _PER_CHANNEL_OPSET)
    _name_nodes(copy)
    with tempfile.TemporaryDirectory(prefix="livewarden-int8-") as scratch:
        path = Path(scratch) / "int8.onnx"
        quantize_static(
            copy,
            path,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[kind for kind in ("Conv", "Gemm", "MatMul") if kind not in keep],
            nodes_to_exclude=[node.name for node in copy.graph.node if node.name in keep],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        )
        return onnx.load(path)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    def __init__(self, calibration: Sequence[Tensors]) -> None:
        self._rows: Iterator[dict[str, NDArray[Any]]] = (
            {name: array[row : row + 1] for name, array in inputs.items()}
            for inputs in calibration
            for row in range(len(next(iter(inputs.values()))))
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """One row at a time; None ends it."""
        return next(self._rows, None)


class _Caster:
    """One pass over a graph in its order: which nodes go low, and casts where the border runs."""

    def __init__(
        self, model: onnx.ModelProto, kind: Literal["f16", "bf16"], keep: frozenset[str]
    ) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        _name_nodes(self._model)
        self._kind = kind
        self._keep = keep
        self._floats = _find_floats(self._model)
        self._constants = {item.name: item for item in self._model.graph.initializer}
        self._casts: dict[tuple[str, bool], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def cast(self) -> onnx.ModelProto:
        graph = self._model.graph
        low = self._choose()
        # The outputs of low nodes live under another name; the f32 one is made where it is read.
        lowered = {
            output
            for node in graph.node
            if node.name in low
            for output in node.output
            if output in self._floats
        }
        self._lowered = lowered
        outputs = {value.name for value in graph.output}
        for node in graph.node:
            goes_low = node.name in low
            for index, name in enumerate(node.input):
                if name in self._floats and self._must_cast(name, goes_low):
                    node.input[index] = self._bring(name, to_low=goes_low)
            self._nodes.append(node)
            if goes_low:
                for index, name in enumerate(node.output):
                    if name in lowered:
                        node.output[index] = _rename(name)
                        if name in outputs:
                            self._bring(name, to_low=False)
        nodes = list(self._nodes)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        left = [item for item in graph.initializer if item.name in used]
        del graph.initializer[:]
        graph.initializer.extend(left)
        onnx.checker.check_model(self._model, full_check=True)
        return self._model

    def _choose(self) -> set[str]:
        """The nodes that go low: products, and what lies between them."""
        made = {o: n for n in self._model.graph.node for o in n.output}
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self._model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        products = {
            n.name for n in self._model.graph.node if n.op_type in _PRODUCTS and self._may(n)
        }
        after: set[str] = set()
        for node in self._model.graph.node:
            if node.op_type in _FOLLOWERS and self._may(node):
                sources = [made[name] for name in node.input if name in made]
                floats = [s for s in sources if any(o in self._floats for o in s.output)]
                if floats and all(
                    s.name in products or s.name in after or s.op_type == "Constant" for s in floats
                ):
                    after.add(node.name)
        before: set[str] = set()
        for node in reversed(self._model.graph.node):
            nexts = [reader for name in node.output for reader in readers.get(name, [])]
            if node.name in after and any(r.name in products or r.name in before for r in nexts):
                before.add(node.name)
        return products | before

    def _may(self, node: onnx.NodeProto) -> bool:
        """Whether the node computes floats, is not kept, and no constant of it would overflow."""
        if node.op_type in self._keep or node.name in self._keep:
            return False
        if not any(name in self._floats for name in node.output):
            return False
        if self._kind == "bf16":
            return True
        constants = [self._constants[name] for name in node.input if name in self._constants]
        return all(
            item.data_type != TensorProto.FLOAT
            or np.abs(numpy_helper.to_array(item)).max(initial=0) <= _MOST_F16
            for item in constants
        )

    def _must_cast(self, name: str, goes_low: bool) -> bool:  # noqa: FBT001 - one of two sides
        return goes_low or name in self._lowered

    def _bring(self, name: str, *, to_low: bool) -> str:
        """The name under which `name` stands in the wanted type; casts it once."""
        is_low = name in self._lowered
        if is_low == to_low:
            return _rename(name) if is_low else name
        known = self._casts.get((name, to_low))
        if known is not None:
            return known
        target = _rename(name) if to_low else name
        self._casts[name, to_low] = target
        if name in self._constants and to_low:
            self._model.graph.initializer.append(
                _convert(self._constants[name], target, self._kind)
            )
            return target
        source = name if to_low else _rename(name)
        kind = _TYPE[self._kind] if to_low else TensorProto.FLOAT
        self._nodes.append(
            helper.make_node("Cast", [source], [target], name=f"cast {source}", to=kind)
        )
        return target


def _rename(name: str) -> str:
    return f"{name}__low"


def _convert(item: TensorProto, name: str, kind: Literal["f16", "bf16"]) -> TensorProto:
    values = numpy_helper.to_array(item)
    if kind == "f16":
        return numpy_helper.from_array(values.astype(np.float16), name)
    words = values.astype(np.float32).view(np.uint32)
    # To the nearest, ties to even, as the hardware does.
    rounded = ((words + 0x7FFF + ((words >> 16) & 1)) >> 16).astype(np.uint16)
    return helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, rounded.tobytes(), raw=True)


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own: nodes are told apart by it."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)


def _find_floats(model: onnx.ModelProto) -> set[str]:
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    named = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return named | {i.name for i in graph.initializer if i.data_type == TensorProto.FLOAT}


def _find_opset(model: onnx.ModelProto) -> int:
    return next(int(item.version) for item in model.opset_import if item.domain in {"", "ai.onnx"})

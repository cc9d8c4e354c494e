"""ONNX to OpenVINO IR, for the embedded target.

Weights stay f32: stored as fp16 they would shift the f32 parity figures by a hundred times and
save only disk, since the executor packs them for its own precision at load.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from livewarden_client import wire
from livewarden_ensemble import leaf
from livewarden_ensemble.leaf import IR_FILE, PROVEN
from livewarden_export.recipe import Precision, Tensors

# Two INT32 words per INT64 element, as the executor in `livewarden_ensemble.leaf` expects.
_WORDS: Final = 2


# Rows of calibration data that the quantiser looks at, one by one.
_CALIBRATION_ROWS: Final = 192


def convert_onnx(
    source: Path,
    model: wire.Model,
    target: Path,
    precision: Precision,
    calibration: Sequence[Tensors] = (),
) -> None:
    """Write the IR of the ONNX file `source` into the folder `target` (model.xml, model.bin).

    `precision` is the fastest one that parity has proven or is about to prove. What the executor
    computes in travels inside the file, and it never goes below that by itself: an int8 graph has
    its 8-bit parts in the graph and says bf16 for the rest. int8 needs `calibration`, real inputs.
    OpenVINO's CPU plugin computes INT64 as INT32, which would cut a nonce in half, so INT64 passes
    through as pairs of INT32.
    """
    converted = ov.Core().read_model(source)
    for tensor in model.inputs:
        if tensor.dtype == "INT64":
            parameter = converted.input(tensor.name).get_node()
            parameter.set_element_type(ov.Type.i32)
            words = [-1, *tensor.dims[:-1], tensor.dims[-1] * _WORDS]
            parameter.set_partial_shape(ov.PartialShape(words))
    converted.validate_nodes_and_infer_types()
    _name_ports(converted, model)
    if precision == "int8":
        converted = _quantize(converted, model, calibration)
        _name_ports(converted, model)
    for position, node in enumerate(converted.get_ordered_ops()):
        # A name that OpenVINO made up counts the process's nodes, which would change the digest.
        if node.get_friendly_name().startswith(f"{node.get_type_name()}_"):
            node.set_friendly_name(f"{node.get_type_name()}_{position}")
    converted.set_rt_info(compute_precision(precision), list(PROVEN))
    target.mkdir(parents=True, exist_ok=True)
    ov.save_model(converted, target / IR_FILE, compress_to_fp16=False)


def compute_precision(precision: Precision) -> leaf.Precision:
    """What the executor is told for an artefact of `precision`."""
    return "f32" if precision == "f32" else "bf16"


def run_precision(precision: Precision) -> leaf.Precision:
    """The same on this machine: f32 where the CPU has no bf16 and the graph is int8 anyway."""
    if precision == "int8" and not leaf.supports_bf16():
        return "f32"
    return compute_precision(precision)


def _name_ports(graph: ov.Model, model: wire.Model) -> None:
    """Drop the names of the graph behind the wire's."""
    for tensor in (*model.inputs, *model.outputs):
        ports = graph.outputs if tensor in model.outputs else graph.inputs
        port = next(port for port in ports if tensor.name in port.get_names())
        port.get_tensor().set_names({tensor.name})


def _quantize(graph: ov.Model, model: wire.Model, calibration: Sequence[Tensors]) -> ov.Model:
    """Post-training int8 of weights and activations; sensitive patterns of attention stay float."""
    rows = [
        {name: _to_words(array[row : row + 1]) for name, array in inputs.items()}
        for inputs in calibration
        for row in range(len(inputs[model.inputs[0].name]))
    ]
    if not rows:
        raise ValueError(f"{model.name}: int8 needs calibration data")
    rows = rows[:: max(1, len(rows) // _CALIBRATION_ROWS)]
    nncf.set_log_level(logging.ERROR)
    kind = nncf.ModelType.TRANSFORMER if model is wire.TEXT_ENCODER else None
    # It draws progress bars of its own; ours is the export's.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return nncf.quantize(graph, nncf.Dataset(rows), model_type=kind, subset_size=len(rows))


def _to_words(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(np.int32) if array.dtype == np.int64 else array

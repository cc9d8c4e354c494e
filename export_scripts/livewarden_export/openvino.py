"""ONNX to OpenVINO IR, for the embedded target.

Weights stay f32: stored as fp16 they would shift the f32 parity figures by a hundred times and
save only disk, since the executor packs them for its own precision at load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import openvino as ov

from livewarden_client import wire
from livewarden_ensemble.leaf import IR_FILE, PROVEN
from livewarden_export.recipe import Precision

# Two INT32 words per INT64 element, as the executor in `livewarden_ensemble.leaf` expects.
_WORDS: Final = 2


def convert_onnx(source: Path, model: wire.Model, target: Path, precision: Precision) -> None:
    """Write the IR of the ONNX file `source` into the folder `target` (model.xml, model.bin).

    `precision` is the fastest one that parity has proven or is about to prove; it travels inside
    the file, and the executor never goes below it by itself. OpenVINO's CPU plugin computes INT64
    as INT32, which would cut a nonce in half, so INT64 passes through as pairs of INT32.
    """
    converted = ov.Core().read_model(source)
    for tensor in model.inputs:
        if tensor.dtype == "INT64":
            parameter = converted.input(tensor.name).get_node()
            parameter.set_element_type(ov.Type.i32)
            words = [-1, *tensor.dims[:-1], tensor.dims[-1] * _WORDS]
            parameter.set_partial_shape(ov.PartialShape(words))
    converted.validate_nodes_and_infer_types()
    for tensor in (*model.inputs, *model.outputs):  # drop the names of the graph behind the wire's
        ports = converted.outputs if tensor in model.outputs else converted.inputs
        port = next(port for port in ports if tensor.name in port.get_names())
        port.get_tensor().set_names({tensor.name})
    for position, node in enumerate(converted.get_ordered_ops()):
        # A name that OpenVINO made up counts the process's nodes, which would change the digest.
        if node.get_friendly_name().startswith(f"{node.get_type_name()}_"):
            node.set_friendly_name(f"{node.get_type_name()}_{position}")
    converted.set_rt_info(precision, list(PROVEN))
    target.mkdir(parents=True, exist_ok=True)
    ov.save_model(converted, target / IR_FILE, compress_to_fp16=False)

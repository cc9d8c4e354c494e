"""The executor of the embedded target: one leaf on OpenVINO, CPU, one stream.

Measured on two AVX512-BF16 cores, one thread, bf16: a batch cut into slices of 8 frames that run on
a model compiled for exactly 8, with the rest on one compiled for any number, is 7 to 9 percent
faster than one dynamic model for the whole batch (smaller activations, shapes known ahead), and
the second compilation costs 0.15 s. Models with other varying axes gained nothing and run whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from livewarden_client.wire import TOKEN_LENGTHS, DType, Model, Tensor
from livewarden_ensemble.errors import BundleInvalid

IR_FILE: Final = "model.xml"
# Where the IR carries the fastest precision that its export has proven.
PROVEN: Final = ("livewarden", "precision")

Precision: TypeAlias = Literal["f32", "bf16"]
Tensors: TypeAlias = Mapping[str, NDArray[Any]]

_SLICE: Final = 8
_NUMPY: Final[Mapping[DType, type[np.generic]]] = {
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
}
# INT64 crosses as pairs of INT32: OpenVINO's CPU plugin would cut it to its lower half.
_ELEMENT: Final[Mapping[DType, ov.Type]] = {
    "UINT8": ov.Type.u8,
    "INT32": ov.Type.i32,
    "INT64": ov.Type.i32,
    "FP32": ov.Type.f32,
}


class OpenVinoExecutor:
    """One compiled leaf. Not safe to call from two threads at once.

    `folder` holds model.xml and model.bin. `precision` "auto" is bf16 where the artefact was proven
    in it and the CPU has it, else f32; asking for bf16 that the CPU lacks is a ValueError. `cache`
    is a folder for compiled models. Raises BundleInvalid where the artefact is missing, broken or
    of another contract than `model`.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        precision: Literal["auto"] | Precision = "auto",
        threads: int = 1,
        cache: Path | None = None,
    ) -> None:
        core = ov.Core()
        if cache is not None:
            core.set_property({"CACHE_DIR": str(cache)})
        path = folder / IR_FILE
        try:
            graph = core.read_model(path)
        except RuntimeError as error:
            raise BundleInvalid(
                f"{path}: OpenVINO cannot read it; run `livewarden export` again"
            ) from error
        _check_contract(path, graph, model)
        self._model = model
        self._precision = _choose_precision(graph, precision)
        config = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self._any = core.compile_model(graph, "CPU", config).create_infer_request()
        self._slice: ov.InferRequest | None = None
        if all(-1 not in tensor.dims for tensor in model.inputs):
            graph.reshape({t.name: ov.PartialShape([_SLICE, *_lay_out(t)]) for t in model.inputs})
            self._slice = core.compile_model(graph, "CPU", config).create_infer_request()

    @property
    def precision(self) -> Precision:
        """The precision that inference is pinned to."""
        return self._precision

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """The outputs for `inputs`, both by wire name and as the wire's types, N rows each.

        The arrays are the caller's to keep. KeyError names an input that is missing.
        """
        batch = {
            tensor.name: _to_words(inputs[tensor.name], tensor) for tensor in self._model.inputs
        }
        rows = len(inputs[self._model.inputs[0].name])
        if self._slice is None:
            return self._collect([self._run(self._any, batch)])
        parts = []
        for start in range(0, rows, _SLICE):
            part = {name: array[start : start + _SLICE] for name, array in batch.items()}
            full = rows - start >= _SLICE
            parts.append(self._run(self._slice if full else self._any, part))
        return self._collect(parts)

    def warm_up(self) -> None:
        """Run once with every shape that is worth having kernels for, on zeros."""
        if self._slice is not None:
            self.infer(self._make_zeros(_SLICE + 1, 0))
            return
        for length in TOKEN_LENGTHS:
            self.infer(self._make_zeros(1, length))

    def _make_zeros(self, rows: int, length: int) -> dict[str, NDArray[Any]]:
        return {
            tensor.name: np.zeros(
                [rows, *(length if dim == -1 else dim for dim in tensor.dims)],
                _NUMPY[tensor.dtype],
            )
            for tensor in self._model.inputs
        }

    def _run(self, request: ov.InferRequest, batch: Tensors) -> dict[str, NDArray[Any]]:
        # Inputs are read in place: they are ours until infer() returns. Outputs are copied by
        # OpenVINO, because the next infer() writes over its own.
        result = request.infer(batch, share_inputs=True, share_outputs=False)
        return {tensor.name: result[tensor.name] for tensor in self._model.outputs}

    def _collect(self, parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        outputs = {}
        for tensor in self._model.outputs:
            arrays = [part[tensor.name] for part in parts]
            joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            outputs[tensor.name] = joined.view(_NUMPY[tensor.dtype])
        return outputs


def supports_bf16() -> bool:
    """Whether this CPU computes bf16 natively (AVX512-BF16, AMX)."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _to_words(array: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    array = np.ascontiguousarray(array, _NUMPY[tensor.dtype])
    return array.view(np.int32) if tensor.dtype == "INT64" else array


def _lay_out(tensor: Tensor) -> tuple[int, ...]:
    if tensor.dtype != "INT64":
        return tensor.dims
    return (*tensor.dims[:-1], tensor.dims[-1] * 2)


def _choose_precision(graph: ov.Model, wanted: Literal["auto"] | Precision) -> Precision:
    native = supports_bf16()
    if wanted == "f32":
        return "f32"
    if wanted == "bf16":
        if not native:
            raise ValueError("this CPU has no bf16; use precision 'f32' or 'auto'")
        return "bf16"
    proven = graph.has_rt_info(list(PROVEN)) and graph.get_rt_info(list(PROVEN)).astype(str)
    return "bf16" if native and proven == "bf16" else "f32"


def _check_contract(path: Path, graph: ov.Model, model: Model) -> None:
    for side, ports, tensors in (
        ("input", graph.inputs, model.inputs),
        ("output", graph.outputs, model.outputs),
    ):
        for tensor in tensors:
            # A port that only passes through carries the names of both its ends.
            ours = [_describe(port) for port in ports if tensor.name in port.get_names()]
            wanted = f"{_ELEMENT[tensor.dtype].get_type_name()} {[-1, *_lay_out(tensor)]}"
            found = ours[0] if ours else "absent"
            if found != wanted:
                raise BundleInvalid(
                    f"{path}: {side} {tensor.name!r} of {model.name} is {found}, "
                    f"the contract says {wanted}; export it again"
                )
        if len(ports) != len(tensors):
            raise BundleInvalid(
                f"{path}: {model.name} has {len(ports)} {side}s, the contract says "
                f"{', '.join(tensor.name for tensor in tensors)}; export it again"
            )


def _describe(port: ov.Output) -> str:
    shape = [-1 if dim.is_dynamic else dim.get_length() for dim in port.partial_shape]
    return f"{port.element_type.get_type_name()} {shape}"

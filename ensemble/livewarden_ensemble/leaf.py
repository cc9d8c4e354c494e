"""The executor of the embedded target: one leaf on OpenVINO, CPU, one thread for each inference.

A batch of frames is cut into slices of four that run side by side, each on a thread of its own, on
a model compiled for exactly four; the rest runs on one compiled for any number. Threads that share
one inference wait for each other at every layer, and where the machine is full they wait for
somebody who has no core. docs/performance.md has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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

# Frames of one inference: small enough that activations stay in a core's own cache, and two
# threads share a clip of eight evenly.
_SLICE: Final = 4
# Rows that a thread gets at least, of models that have no slices: fewer cost more than they save.
_LEAST_ROWS: Final = 4
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


@dataclass(slots=True, eq=False)
class _Part:
    """Rows of one inference: inputs, and outputs once it has ended."""

    inputs: Tensors
    outputs: dict[str, NDArray[Any]] = field(default_factory=dict)


class OpenVinoExecutor:
    """One compiled leaf. Not safe to call from two threads at once.

    `folder` holds model.xml and model.bin. `precision` "auto" is bf16 where the artefact was proven
    in it and the CPU has it, else f32; asking for bf16 that the CPU lacks is a ValueError. `cache`
    is a folder for compiled models; `threads` inferences run side by side. Raises BundleInvalid
    where the artefact is missing, broken or of another contract than `model`.
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
        self._threads = threads
        config = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            # Leaves share the cores: a thread that is bound to one waits there for another leaf's.
            "ENABLE_CPU_PINNING": False,
        }
        self._any = ov.AsyncInferQueue(core.compile_model(graph, "CPU", config), threads)
        self._slice: ov.AsyncInferQueue | None = None
        if all(-1 not in tensor.dims for tensor in model.inputs):
            graph.reshape({t.name: ov.PartialShape([_SLICE, *_lay_out(t)]) for t in model.inputs})
            self._slice = ov.AsyncInferQueue(core.compile_model(graph, "CPU", config), threads)
        for queue in filter(None, (self._any, self._slice)):
            queue.set_callback(self._keep)

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
        step = _SLICE if self._slice else max(_LEAST_ROWS, -(-rows // self._threads))
        parts: list[_Part] = []
        for start in range(0, rows, step):
            part = _Part({name: array[start : start + step] for name, array in batch.items()})
            parts.append(part)
            queue = self._slice if self._slice and rows - start >= step else self._any
            # Read in place: they are ours until infer() returns.
            queue.start_async(part.inputs, part, share_inputs=True)
        for queue in filter(None, (self._slice, self._any)):
            queue.wait_all()
        return self._collect([part.outputs for part in parts])

    def warm_up(self) -> None:
        """Run once with every shape that is worth having kernels for, on zeros."""
        if self._slice is not None:
            self.infer(self._make_zeros(_SLICE * self._threads + 1, 0))
            return
        for length in TOKEN_LENGTHS:
            self.infer(self._make_zeros(_LEAST_ROWS * self._threads, length))

    def _make_zeros(self, rows: int, length: int) -> dict[str, NDArray[Any]]:
        return {
            tensor.name: np.zeros(
                [rows, *(length if dim == -1 else dim for dim in tensor.dims)],
                _NUMPY[tensor.dtype],
            )
            for tensor in self._model.inputs
        }

    def _keep(self, request: ov.InferRequest, part: _Part) -> None:
        # Copies: the request's next inference writes over its outputs.
        for tensor in self._model.outputs:
            part.outputs[tensor.name] = request.get_tensor(tensor.name).data.copy()

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

"""ONNX to a TensorRT plan: one strongly typed builder for TensorRT 10.12+, 11 and TensorRT-RTX.

Precision stands in the graph (see `autocast.py`), never in builder flags: TensorRT 11 has none, and
10.x silently built f32 where one was forgotten. The module is given as `trt`, because the two
packages carry the same names; tests check every name used here against the real bindings.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import onnx

from livewarden_client import wire
from livewarden_export.errors import ExportCancelled, PlanFailed
from livewarden_export.recipe import NUMPY_DTYPES, Range, Recipe

Progress = Callable[[str, float], None]

_WORKSPACE: Final = 4 << 30
# How long the main thread sleeps between two looks for Ctrl-C.
_POLL_S: Final = 0.1

_TYPES: Final[Mapping[wire.DType, str]] = {
    "UINT8": "UINT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "FP32": "FLOAT",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A built plan and how it was built; `seconds` are parse and build together."""

    content: bytes
    seconds: float
    layers: int


def import_tensorrt(package: Literal["tensorrt", "tensorrt_rtx"]) -> Any:
    """The bindings; PlanFailed says how to get them."""
    extra = "tensorrt-check" if package == "tensorrt_rtx" else "tensorrt"
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise PlanFailed(
            f"the package {package!r} cannot be imported ({error}); "
            f"see docs/gpu.md, or run: pip install 'livewarden[{extra}]'"
        ) from error


def build_plan(
    trt: Any, path: Path, recipe: Recipe, progress: Progress, cache: Path | None = None
) -> Plan:
    """Build the ONNX file at `path` for the shapes in `recipe.profile`.

    `cache` is a folder for timing caches, one file per GPU and version. `progress` hears of each
    phase and how much of it is done, from 0 to 1. Raises PlanFailed naming the node, tensor or
    profile at fault, and ExportCancelled on Ctrl-C.
    """
    logger = _open_logger(trt)
    start = time.perf_counter()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(trt.OnnxParser(network, logger), network, path, recipe)
    _check_network(trt, network, recipe)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # The reference is computed without it, and a plan in f32 must mean f32.
    config.clear_flag(trt.BuilderFlag.TF32)
    _add_profile(builder, config, recipe)
    timing = _load_timing(trt, config, cache)
    cancelled = threading.Event()
    # It must outlive the build: the builder keeps no reference of its own.
    monitor = _make_monitor(trt, progress, cancelled)
    config.progress_monitor = monitor
    logger.messages.clear()
    content = _build(lambda: builder.build_serialized_network(network, config), cancelled)
    if content is None:
        raise PlanFailed(f"{recipe.model.name}: TensorRT built nothing: {logger.explain()}")
    if timing is not None:
        _store_timing(config, timing)
    return Plan(bytes(content), time.perf_counter() - start, int(network.num_layers))


def list_shapes(recipe: Recipe) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Each input's smallest, usual and largest shape, batch included, out of the profile."""

    def shape(tensor: wire.Tensor, pick: Callable[[Range], int]) -> tuple[int, ...]:
        return (
            pick(recipe.profile["batch"]),
            *(
                pick(recipe.profile[recipe.axes[tensor.name]]) if dim == -1 else dim
                for dim in tensor.dims
            ),
        )

    picks: tuple[Callable[[Range], int], ...] = (
        lambda sizes: sizes.min,
        lambda sizes: sizes.opt,
        lambda sizes: sizes.max,
    )
    return {
        tensor.name: tuple(shape(tensor, pick) for pick in picks) for tensor in recipe.model.inputs
    }


def check_engine(trt: Any, engine: Any, recipe: Recipe, marks: Sequence[str]) -> None:
    """Raise PlanFailed unless a deserialised engine is what was asked for.

    Its tensors must be the wire's, and at least one layer must compute in the type that the
    inspector calls one of `marks`.
    """
    name = recipe.model.name
    for tensor in (*recipe.model.inputs, *recipe.model.outputs):
        found = engine.get_tensor_dtype(tensor.name)
        if found != getattr(trt.DataType, _TYPES[tensor.dtype]):
            raise PlanFailed(
                f"{name}: {tensor.name!r} of the plan is {found}, the wire says {tensor.dtype}"
            )
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    layers = json.dumps(json.loads(text).get("Layers", []))
    if not any(mark in layers for mark in marks):
        raise PlanFailed(
            f"{name}: no layer of the plan computes in {marks[0]}; it has another precision"
        )


class PlanExecutor:
    """A plan on the GPU, with torch's memory: the same `infer` as the other executors have.

    One execution context and one stream; not safe to call from two threads at once. Raises
    PlanFailed where the plan does not load on this GPU and version.
    """

    def __init__(self, trt: Any, content: bytes, recipe: Recipe) -> None:
        import torch  # noqa: PLC0415 - only a GPU machine comes here

        if not torch.cuda.is_available():
            raise PlanFailed(
                f"{recipe.model.name}: a plan can only be checked on a GPU, and torch sees none; "
                "see docs/gpu.md"
            )
        self._torch = torch
        self.gpu = torch.cuda.get_device_name()
        self._trt = trt
        self._model = recipe.model
        logger = _open_logger(trt)
        self._runtime = trt.Runtime(logger)
        self.engine = self._runtime.deserialize_cuda_engine(content)
        if self.engine is None:
            raise PlanFailed(f"{recipe.model.name}: the plan does not load: {logger.explain()}")
        self._context = self.engine.create_execution_context()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # untyped there
        if not self._context.set_optimization_profile_async(0, self._stream.cuda_stream):
            raise PlanFailed(f"{recipe.model.name}: the plan has no optimisation profile 0")

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs for `inputs`, numpy in and out, by wire name and type."""
        torch = self._torch
        with torch.cuda.stream(self._stream):
            held = {}
            for tensor in self._model.inputs:
                array = torch.from_numpy(inputs[tensor.name].astype(NUMPY_DTYPES[tensor.dtype]))
                held[tensor.name] = array.contiguous().cuda()
                shape = tuple(held[tensor.name].shape)
                if not self._context.set_input_shape(tensor.name, shape):
                    raise PlanFailed(f"{self._model.name}: {tensor.name!r} cannot be {shape}")
            missing = self._context.infer_shapes()
            if missing:
                raise PlanFailed(f"{self._model.name}: no shape for {', '.join(missing)}")
            for tensor in self._model.outputs:
                kind = getattr(torch, str(NUMPY_DTYPES[tensor.dtype]))
                sizes = tuple(self._context.get_tensor_shape(tensor.name))
                held[f"out {tensor.name}"] = torch.empty(sizes, dtype=kind, device="cuda")
            for tensor in self._model.inputs:
                self._context.set_tensor_address(tensor.name, held[tensor.name].data_ptr())
            for tensor in self._model.outputs:
                pointer = held[f"out {tensor.name}"].data_ptr()
                self._context.set_tensor_address(tensor.name, pointer)
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise PlanFailed(f"{self._model.name}: the plan does not run")
        self._stream.synchronize()
        return {t.name: held[f"out {t.name}"].cpu().numpy() for t in self._model.outputs}


def _parse(parser: Any, network: Any, path: Path, recipe: Recipe) -> None:
    name = recipe.model.name
    # The parser takes any bytes for an empty graph.
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise PlanFailed(f"{name}: the graph is not valid ONNX: {error}") from error
    if not parser.parse_from_file(str(path)):
        faults = [parser.get_error(index) for index in range(parser.num_errors)]
        told = "; ".join(
            f"node {fault.node_name() or fault.node()!r} ({fault.node_operator()}): "
            f"{_shorten(fault.desc())}"
            for fault in faults
        )
        raise PlanFailed(f"{name}: TensorRT cannot read the graph: {told or 'no reason given'}")
    if network.num_outputs == 0:
        raise PlanFailed(f"{name}: TensorRT found no output in the graph")


def _check_network(trt: Any, network: Any, recipe: Recipe) -> None:
    for side, tensors, count, get in (
        ("input", recipe.model.inputs, network.num_inputs, network.get_input),
        ("output", recipe.model.outputs, network.num_outputs, network.get_output),
    ):
        found = {get(index).name: get(index) for index in range(count)}
        wanted = {tensor.name: tensor for tensor in tensors}
        if found.keys() != wanted.keys():
            raise PlanFailed(
                f"{recipe.model.name}: TensorRT sees the {side}s {sorted(found)}; "
                f"the wire has {sorted(wanted)}"
            )
        for tensor in tensors:
            kind = getattr(trt.DataType, _TYPES[tensor.dtype])
            given = found[tensor.name]
            if given.dtype != kind or tuple(given.shape) != (-1, *tensor.dims):
                raise PlanFailed(
                    f"{recipe.model.name}: {side} {tensor.name!r} is {given.dtype} "
                    f"{tuple(given.shape)} to TensorRT; the wire says {tensor.dtype} "
                    f"{(-1, *tensor.dims)}"
                )


def _add_profile(builder: Any, config: Any, recipe: Recipe) -> None:
    profile = builder.create_optimization_profile()
    for name, shapes in list_shapes(recipe).items():
        try:
            profile.set_shape(name, *shapes)
        except ValueError as error:
            raise PlanFailed(f"{recipe.model.name}: profile of {name!r}: {error}") from error
    if not profile or config.add_optimization_profile(profile) < 0:
        raise PlanFailed(f"{recipe.model.name}: the profile {list_shapes(recipe)} is refused")


def _build(build: Callable[[], Any], cancelled: threading.Event) -> Any:
    """Run `build` beside this thread, so that Ctrl-C is heard while TensorRT works."""
    result: list[Any] = []
    worker = threading.Thread(target=lambda: result.append(build()), name="tensorrt-build")
    worker.start()
    stopped = False
    while worker.is_alive():
        try:
            worker.join(_POLL_S)
        except KeyboardInterrupt:
            stopped = True
            cancelled.set()
    if stopped:
        raise ExportCancelled("the build was stopped; nothing was kept")
    return result[0] if result else None


def _make_monitor(trt: Any, progress: Progress, cancelled: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the bindings are not typed
        """TensorRT calls it from threads of its own."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent: str | None, num_steps: int) -> None:
            self._steps[phase_name] = max(1, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, min(1.0, (step + 1) / self._steps.get(phase_name, 1)))
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


_LOGGERS: Final[dict[str, Any]] = {}


def _open_logger(trt: Any) -> Any:
    """The one logger of the process: TensorRT ignores a second."""
    if trt.__name__ not in _LOGGERS:

        class Logger(trt.ILogger):  # type: ignore[misc]  # the bindings are not typed
            """Keeps errors for the exception that will be raised; prints nothing."""

            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.messages: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                    self.messages.append(message)

            def explain(self) -> str:
                return "; ".join(_shorten(text) for text in self.messages) or "no reason given"

        _LOGGERS[trt.__name__] = Logger()
    return _LOGGERS[trt.__name__]


def _load_timing(trt: Any, config: Any, cache: Path | None) -> Path | None:
    """Use the timing cache of this GPU and version, if there is a folder for it and a GPU."""
    gpu = _name_gpu()
    if cache is None or gpu is None:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(f"{gpu} {trt.__version__}".encode()).hexdigest()[:16]
    path = cache / f"timing-{key}.bin"
    blob = path.read_bytes() if path.is_file() else b""
    timing = config.create_timing_cache(blob)
    if not config.set_timing_cache(timing, ignore_mismatch=False):
        # Of another driver, or damaged: measure anew.
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return path


def _store_timing(config: Any, path: Path) -> None:
    staged = path.with_suffix(".new")
    staged.write_bytes(bytes(config.get_timing_cache().serialize()))
    staged.replace(path)


def _name_gpu() -> str | None:
    import torch  # noqa: PLC0415 - heavy, and only a build asks

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _shorten(text: str) -> str:
    """The lines that say something, without the builder's own source lines."""
    return " ".join(line.strip() for line in text.splitlines() if "cudaError 35" not in line)


def list_names() -> Iterator[tuple[str, Sequence[str]]]:
    """Every name of the bindings that this module uses, by class; "" is the module itself."""
    yield "", ("Builder", "ILogger", "IProgressMonitor", "OnnxParser", "Runtime", "__version__")
    yield "NetworkDefinitionCreationFlag", ("STRONGLY_TYPED",)
    yield "MemoryPoolType", ("WORKSPACE",)
    yield "ProfilingVerbosity", ("DETAILED",)
    yield "BuilderFlag", ("TF32",)
    yield "LayerInformationFormat", ("JSON",)
    yield "DataType", tuple(_TYPES.values())
    yield "ILogger", ("ERROR", "INTERNAL_ERROR", "log")

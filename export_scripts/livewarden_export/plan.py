"""`--target tensorrt`: a plan per leaf, run against its source before it counts as built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from livewarden_ensemble.integrity import PLAN_FILE, TENSORRT_FOLDER
from livewarden_export.autocast import write_precision
from livewarden_export.bundle import ONNX_FILE
from livewarden_export.errors import PlanFailed
from livewarden_export.leaf_work import LeafWork, Report, open_onnx
from livewarden_export.parity import Artefact, Infer, Parity, check_parity, measure_parity
from livewarden_export.recipe import Precision
from livewarden_export.tensorrt import PlanExecutor, build_plan, check_engine

# How the engine inspector of one or the other version calls a layer's type.
_MARKS: Final[Mapping[Precision, tuple[str, ...]]] = MappingProxyType(
    {
        "f32": ("Float", "FP32"),
        "f16": ("Half", "FP16"),
        "bf16": ("BFloat16", "BF16"),
        "int8": ("Int8", "INT8"),
    }
)
# A plan holds its weights once, and little else: above this many times its graph, and a MB of
# kernels per layer kind, it was built in another precision.
_MOST_GROWTH: Final = 1.6
_KERNELS: Final = 16_000_000


@dataclass(frozen=True, slots=True, eq=False)
class ProvenPlan:
    """A plan that answered as its source does; `facts` go into the manifest."""

    infer: Infer
    parity: Sequence[Parity]
    facts: Mapping[str, Any]


def prove_plan(trt: Any, work: LeafWork, folder: Path, cache: Path, report: Report) -> ProvenPlan:
    """Build the leaf's plan into `folder`/tensorrt and measure it on this machine's GPU.

    Raises PlanFailed and ParityBreach; ExportCancelled on Ctrl-C.
    """
    precision = work.recipe.tensorrt.precision
    target = folder / TENSORRT_FOLDER
    path = target / ONNX_FILE
    opset = write_graph(work, path, precision)
    check_parity(prove_graph(work, path, precision))
    title = f"{work.name}: tensorrt {precision}"
    plan = build_plan(
        trt, path, work.recipe, lambda phase, done: report(f"{title}: {phase} {done:.0%}"), cache
    )
    size = len(plan.content)
    if size > path.stat().st_size * _MOST_GROWTH + _KERNELS:
        raise PlanFailed(
            f"{work.name}: the plan is {size / 1e6:.1f} MB and its graph "
            f"{path.stat().st_size / 1e6:.1f} MB; it was built in another precision"
        )
    executor = PlanExecutor(trt, plan.content, work.recipe)
    check_engine(trt, executor.engine, work.recipe, _MARKS[precision])
    artefact = Artefact("tensorrt", precision, executor.infer)
    bounds = work.recipe.tolerances[precision]
    rows = measure_parity(work.name, artefact, work.cases, work.answers, bounds)
    (target / PLAN_FILE).write_bytes(plan.content)
    facts = {
        "precision": precision,
        "opset": opset,
        "bytes": size,
        "seconds": round(plan.seconds, 2),
        "layers": plan.layers,
        "tensorrt": trt.__version__,
        "gpu": executor.gpu,
    }
    (target / "build.json").write_text(json.dumps(facts, indent=2) + "\n")
    return ProvenPlan(executor.infer, rows, facts)


def write_graph(work: LeafWork, path: Path, precision: Precision) -> int:
    """Write the leaf's ONNX for TensorRT in `precision` to `path`; gives its opset."""
    path.parent.mkdir(parents=True)
    target = work.recipe.tensorrt
    source = work.folder / ONNX_FILE
    own = path.with_name("f32.onnx")
    if target.opset is not None:
        work.source.write_onnx(own, opset=target.opset)
        source = own
    opset = write_precision(source, path, precision, work.calibration, target.keep)
    own.unlink(missing_ok=True)
    return opset


def prove_graph(work: LeafWork, path: Path, precision: Precision) -> list[Parity]:
    """Parity of the graph on ONNX Runtime's CPU; none for bf16, which that cannot compute."""
    if precision == "bf16":
        return []
    artefact = open_onnx(work.recipe, path, precision)
    bounds = work.recipe.tolerances[precision]
    return measure_parity(work.name, artefact, work.cases, work.answers, bounds)

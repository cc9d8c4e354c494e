"""`--target tensorrt-rtx-check`: every leaf through TensorRT-RTX's builder, without a GPU.

Its parser, type rules, profile checks and builder are TensorRT's; its plans are not. They run on no
data-centre GPU and are thrown away.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from livewarden_client.wire import ECHO
from livewarden_export.bundle import ONNX_FILE
from livewarden_export.leaf_work import Report, prepare_leaves
from livewarden_export.parity import Parity, check_parity
from livewarden_export.plan import prove_graph, write_graph
from livewarden_export.recipe import Models, Precision
from livewarden_export.table import format_rows
from livewarden_export.tensorrt import Progress, build_plan, import_tensorrt


@dataclass(frozen=True, slots=True)
class Build:
    """One leaf built in one precision; sizes in MB. `parity` is the worst row on ONNX Runtime.

    None where ONNX Runtime's CPU provider cannot compute the graph (bf16).
    """

    leaf: str
    precision: Precision
    opset: int
    onnx_mb: float
    plan_mb: float
    seconds: float
    layers: int
    parity: Parity | None


def check_plans(models: Models, report: Report, *, search: bool = True) -> list[Build]:
    """Build every leaf in every precision that its recipe names for TensorRT.

    Raises PlanFailed naming the node, tensor or profile, and ParityBreach where the precision that
    would be served breaches; the other ones are only reported.
    """
    trt = import_tensorrt("tensorrt_rtx")
    builds = []
    with tempfile.TemporaryDirectory(prefix="livewarden-rtx-") as scratch:
        works, _ = prepare_leaves(models, Path(scratch), report)
        for work in works:
            target = work.recipe.tensorrt
            others = target.search if search else ()
            for precision in dict.fromkeys([target.precision, *others]):
                path = Path(scratch) / work.name / precision / ONNX_FILE
                opset = write_graph(work, path, precision)
                rows = prove_graph(work, path, precision)
                if precision == target.precision:
                    check_parity(rows)
                report(f"{work.name} {precision}: build")
                plan = build_plan(trt, path, work.recipe, _forward(report, work.name, precision))
                builds.append(
                    Build(
                        work.name,
                        precision,
                        opset,
                        path.stat().st_size / 1e6,
                        len(plan.content) / 1e6,
                        plan.seconds,
                        plan.layers,
                        _find_worst(rows),
                    )
                )
    return builds


def _forward(report: Report, leaf: str, precision: Precision) -> Progress:
    return lambda phase, done: report(f"{leaf} {precision}: {phase} {done:.0%}")


def _find_worst(rows: Iterable[Parity]) -> Parity | None:
    floats = (row for row in rows if row.output != ECHO.name)
    return min(floats, key=lambda row: (row.passed, row.min_cosine), default=None)


def format_builds(builds: Iterable[Build]) -> str:
    """The builds as a text table."""
    return format_rows(
        (
            "leaf",
            "precision",
            "opset",
            "ONNX MB",
            "plan MB",
            "build s",
            "layers",
            "worst cosine",
            "max abs",
            "parity",
        ),
        [
            (
                build.leaf,
                build.precision,
                str(build.opset),
                f"{build.onnx_mb:.1f}",
                f"{build.plan_mb:.1f}",
                f"{build.seconds:.1f}",
                str(build.layers),
                f"{build.parity.min_cosine:.6f}" if build.parity else "needs a GPU",
                f"{build.parity.max_abs:.2e}" if build.parity else "",
                ("ok" if build.parity.passed else "BREACH") if build.parity else "",
            )
            for build in builds
        ],
    )

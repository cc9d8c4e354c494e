"""An evaluation as Markdown, as one HTML file with its plots inside, and as JSON."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from livewarden_export.fusion.evaluate import Evaluation
from livewarden_export.fusion.train import Epoch

Table = tuple[Sequence[str], list[Sequence[str]]]

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#1c1c1c}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.25em .6em}
th{background:#f2f2f2;text-align:left}img{max-width:100%}
"""


def write_evaluation(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write evaluation.md, .html and .json into `folder`; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = list(_lay_out(evaluation))
    title = f"Evaluation of bundle {evaluation.bundle}"
    plots = [("Reliability", plot_reliability(evaluation)), ("AP by label", plot_ap(evaluation))]
    contents = {
        "evaluation.md": _to_markdown(title, sections),
        "evaluation.html": _to_html(title, sections, plots),
        "evaluation.json": json.dumps(evaluation.to_dict(), indent=2) + "\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content, "utf-8")
    return [folder / name for name in contents]


def format_summary(evaluation: Evaluation) -> str:
    """The tables as text, for a terminal."""
    return _to_markdown(f"Evaluation of bundle {evaluation.bundle}", _lay_out(evaluation))


def write_training(history: Sequence[Epoch], folder: Path) -> Path:
    """Write the training's curves as training.svg; gives its path."""
    figure = Figure((7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in history]
    left.plot(numbers, [epoch.loss for epoch in history])
    left.set(title="training loss", xlabel="epoch")
    right.plot(numbers, [epoch.validation_ap for epoch in history])
    right.set(title="validation macro AP", xlabel="epoch")
    path = folder / "training.svg"
    path.write_text(_to_svg(figure), "utf-8")
    return path


def plot_reliability(evaluation: Evaluation) -> str:
    """How often a score of x was true, before and after calibration, as SVG."""
    figure = Figure((5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    for name, bins in evaluation.curves.items():
        axes.plot([b.score for b in bins], [b.truth for b in bins], marker="o", label=name)
    axes.set(xlabel="score", ylabel="share that was true", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return _to_svg(figure)


def plot_ap(evaluation: Evaluation) -> str:
    """Average precision by label with its interval, as SVG."""
    figure = Figure((7, 4), layout="constrained")
    axes = figure.subplots()
    rows = [row for row in evaluation.labels if row.positives][::-1]
    values = [row.average_precision for row in rows]
    reach = [
        [max(0.0, v.value - v.low) for v in values],
        [max(0.0, v.high - v.value) for v in values],
    ]
    axes.barh([row.label for row in rows], [v.value for v in values], xerr=reach, color="#4c78a8")
    axes.set(xlim=(0, 1), xlabel="average precision")
    return _to_svg(figure)


def _lay_out(evaluation: Evaluation) -> Iterable[tuple[str, str, Table]]:
    e = evaluation
    violations = ", ".join(e.fail_safe_violations) or "none"
    yield (
        "Summary",
        "",
        (
            ("figure", "value"),
            [
                ("clips", str(e.clips)),
                ("calibration", e.calibration),
                ("macro AP", f"{e.macro_ap:.3f}"),
                ("ECE before calibration", f"{e.error_before:.3f}"),
                ("ECE after calibration", f"{e.error_after:.3f}"),
                ("harmless clips at or above review", f"{e.flagged_harmless:.1%}"),
                ("mean identity swap gap", f"{e.mean_swap_gap:.3f}"),
                (f"fail-safe violations of {e.fail_safe_cases}", violations),
                ("fusion head, ms a clip, one thread", f"{e.fusion_ms:.2f}"),
            ],
        ),
    )
    yield (
        "Labels",
        "Intervals are 95% bootstrap. FPR is at the policy's review threshold.",
        (
            ("label", "n", "AP", "R@P80", "R@P95", "R@FPR1%", "FPR", "ECE before", "ECE after"),
            [
                (
                    row.label,
                    str(row.positives),
                    str(row.average_precision),
                    str(row.recall_at_p80),
                    str(row.recall_at_p95),
                    str(row.recall_at_fpr1),
                    f"{row.flagged_harmless:.3f}",
                    f"{row.error_before:.3f}",
                    f"{row.error_after:.3f}",
                )
                for row in e.labels
            ],
        ),
    )
    yield (
        "Modalities",
        "Macro AP over the labels that the clips of a row show.",
        (
            ("modalities", "macro AP", "clips"),
            [(name, f"{ap:.3f}", str(count)) for name, (ap, count) in e.subsets.items()],
        ),
    )
    yield (
        "Evasion",
        "Recall at the policy's review thresholds on harmful texts.",
        (
            ("trick", "plain", "tricked", "drop, points"),
            [
                (name, f"{plain:.3f}", f"{bent:.3f}", f"{100 * (plain - bent):.1f}")
                for name, (plain, bent) in e.evasions.items()
            ],
        ),
    )
    yield (
        "Identity swaps",
        "Mean gap of the hate score between clips that differ in the people named.",
        (("set", "gap"), [(name, f"{gap:.3f}") for name, gap in e.swaps.items()]),
    )


def _to_markdown(title: str, sections: Iterable[tuple[str, str, Table]]) -> str:
    lines = [f"# {title}"]
    for name, note, (head, rows) in sections:
        lines += ["", f"## {name}", ""]
        lines += [note, ""] if note else []
        lines += ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def _to_html(
    title: str, sections: Iterable[tuple[str, str, Table]], plots: Iterable[tuple[str, str]]
) -> str:
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for name, note, (head, rows) in sections:
        parts += [f"<h2>{html.escape(name)}</h2>", f"<p>{html.escape(note)}</p>", "<table>"]
        parts.append(_to_row(head, "th"))
        parts += [_to_row(row, "td") for row in rows]
        parts.append("</table>")
    for name, svg in plots:
        data = base64.b64encode(svg.encode()).decode()
        parts.append(
            f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" '
            f'src="data:image/svg+xml;base64,{data}">'
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>" + "\n".join(parts) + "</html>\n"
    )


def _to_row(cells: Sequence[Any], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"


def _to_svg(figure: Figure) -> str:
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "livewarden"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()

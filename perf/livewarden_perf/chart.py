"""Charts as SVG text that stands inside a page; the same data gives the same text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from livewarden_perf.section import Chart

# Okabe and Ito: told apart by colour-blind people as well.
_COLOURS: Final = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#000000"),
    *("#7f7f7f", "#8c564b", "#17becf", "#bcbd22", "#9467bd", "#c7c7c7"),
)
_SIZE: Final = (8.4, 3.8)
_BAR_HEIGHT: Final = 0.6
# More points than this are a curve, and marks would hide it.
_MARKED: Final = 24
_STYLE: Final[Any] = {"svg.hashsalt": "livewarden", "svg.fonttype": "none", "font.size": 9.5}


def draw_chart(chart: Chart) -> str:
    """Draw `chart`; the result is one `<svg>` element, without a declaration."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        {"lines": _draw_lines, "stack": _draw_stack}[chart.kind](axes, chart)
        if chart.kind == "stack":
            # Outside, where the layout keeps room for it: it is wider than the bars.
            figure.legend(frameon=False, loc="outside lower center", ncols=3)
        axes.set_title(chart.title, loc="left", fontsize=10.5)
        axes.spines[["top", "right"]].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _draw_lines(axes: Axes, chart: Chart) -> None:
    places = np.array(chart.x, np.float64)
    for colour, (name, values) in zip(_COLOURS, chart.series.items(), strict=False):
        heights = np.array([np.nan if value is None else value for value in values], np.float64)
        mark = "o-" if len(places) <= _MARKED else "-"
        axes.plot(places, heights, mark, label=name, color=colour, markersize=4, linewidth=1.4)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.set_ylim(bottom=0)
    axes.grid(color="0.88", linewidth=0.6)
    axes.legend(frameon=False, ncols=2)


def _draw_stack(axes: Axes, chart: Chart) -> None:
    places = np.arange(len(chart.x))
    left = np.zeros(len(places))
    for number, (name, values) in enumerate(chart.series.items()):
        widths = np.array([value or 0.0 for value in values], np.float64)
        colour = _COLOURS[number % len(_COLOURS)]
        axes.barh(places, widths, _BAR_HEIGHT, left=left, label=name, color=colour)
        left += widths
    axes.set_yticks(places, [str(name) for name in chart.x])
    axes.invert_yaxis()
    axes.set_xlabel(chart.y_label)

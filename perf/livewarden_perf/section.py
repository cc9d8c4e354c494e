"""One measurement as plain data: what terminal, Markdown, JSON and HTML are all made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table as RichTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TENTHS_BELOW = 100
_HUNDREDTHS_BELOW = 10


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are text; the first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over `x`, or stacked bars over `x` as categories; None leaves a gap."""

    kind: Literal["lines", "stack"]
    title: str
    x_label: str
    y_label: str
    x: tuple[float | str, ...]
    series: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Section:
    """What one command found: `name` is the command's, `headline` the one sentence to remember.

    `figures` are for the README's table: what, and how much. `warnings` say why not to trust it.
    `data` is JSON data with all of it.
    """

    name: str
    title: str
    headline: str
    tables: tuple[Table, ...]
    data: Mapping[str, Any]
    charts: tuple[Chart, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def show(value: float | None, unit: str = "") -> str:
    """Show a figure with two or three digits that count; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    digits = 2 if size < _HUNDREDTHS_BELOW else 1 if size < _TENTHS_BELOW else 0
    return f"{value:.{digits}f}{' ' if unit else ''}{unit}"


def clean(value: Any) -> Any:
    """Make `value` JSON data: what is no finite number becomes None, tuples become lists."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def render_section(section: Section) -> list[RichTable]:
    """Draw the tables of `section` for a terminal."""
    drawn = []
    for number, table in enumerate(section.tables):
        rich = RichTable(title=section.title if number == 0 else None)
        for place, column in enumerate(table.columns):
            rich.add_column(column, justify="right" if place else "left")
        for row in table.rows:
            rich.add_row(*row)
        drawn.append(rich)
    return drawn

"""A replay as one HTML page that needs nothing else: plots inline, light and dark, no scripts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import jinja2

from livewarden_client.wire import ACTIONS
from livewarden_ensemble.replay import UNKNOWN

if TYPE_CHECKING:
    from livewarden_ensemble.replay_summary import Line, ReplaySummary

_TEMPLATE: Final = "replay_page.html.j2"
# In the units of the drawing, which is 960 wide and grows with the page.
_BAR_LEFT, _BAR_WIDTH, _BAR_STEP = 60, 900, 44
_MOVE_WIDTH: Final = 330
# Cells of rare changes must be seen beside those of common ones: shades go by the logarithm.
_FAINTEST, _STRONGEST = 14, 70


def render_page(summary: ReplaySummary) -> str:
    """Render `summary` as HTML. Whatever the records hold is shown as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("livewarden_ensemble", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        s=summary,
        actions=ACTIONS,
        rows=(*ACTIONS, UNKNOWN),
        bars=_draw_bars(summary),
        matrix=_shade_matrix(summary),
        moves=_draw_moves(summary),
        number=lambda value: f"{value:,}",
        signed=lambda value: f"{value:+,}",
        share=lambda part, whole: f"{part / max(whole, 1):.2%}",
    )


def _draw_bars(summary: ReplaySummary) -> list[dict[str, Any]]:
    """One bar per side, cut by action."""
    sides = {"new": [line.new for line in summary.actions]}
    if summary.is_known:
        sides = {"old": [line.old or 0 for line in summary.actions]} | sides
    return [
        {"name": name, "y": place * _BAR_STEP, "pieces": _cut_bar(summary.actions, counts)}
        for place, (name, counts) in enumerate(sides.items())
    ]


def _cut_bar(lines: tuple[Line, ...], counts: list[int]) -> list[dict[str, Any]]:
    pieces = []
    scale = _BAR_WIDTH / max(sum(counts), 1)
    before = 0
    for line, count in zip(lines, counts, strict=True):
        left, width = _BAR_LEFT + before * scale, count * scale
        pieces.append(
            {"action": line.name, "count": count, "x": f"{left:.2f}", "width": f"{width:.2f}"}
        )
        before += count
    return pieces


def _shade_matrix(summary: ReplaySummary) -> list[dict[str, Any]]:
    """Each row of the matrix, its changes shaded in the colour of the new action."""
    changes = [
        count
        for row, counts in zip(summary.rows, summary.matrix, strict=True)
        for action, count in zip(ACTIONS, counts, strict=True)
        if row not in {action, UNKNOWN}
    ]
    most = math.log1p(max(changes, default=0)) or 1.0
    rows = []
    for row, counts in zip(summary.rows, summary.matrix, strict=True):
        cells = []
        for action, count in zip(ACTIONS, counts, strict=True):
            is_change = row not in {action, UNKNOWN}
            share = math.log1p(count) / most
            strength = round(_FAINTEST + share * (_STRONGEST - _FAINTEST))
            cells.append(
                {
                    "action": action,
                    "count": count,
                    "is_change": is_change,
                    "strength": strength if is_change and count else 0,
                }
            )
        rows.append({"name": row, "cells": cells})
    return rows


def _draw_moves(summary: ReplaySummary) -> list[dict[str, Any]]:
    """Per label that moved, two bars away from the middle."""
    moved = [line for line in summary.labels if line.milder or line.stricter]
    most = max((max(line.milder, line.stricter) for line in moved), default=1)
    return [
        {
            "label": line.label,
            "milder": line.milder,
            "stricter": line.stricter,
            "left": round(line.milder / most * _MOVE_WIDTH, 2),
            "right": round(line.stricter / most * _MOVE_WIDTH, 2),
        }
        for line in moved
    ]

"""A replay for the terminal: rich renderables, readable at 80 columns and without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from livewarden_client.render import STYLES
from livewarden_client.wire import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from livewarden_ensemble.replay import Change
    from livewarden_ensemble.replay_summary import Line, ReplaySummary

_MAX_LABELS: Final = 14


def render_replay(summary: ReplaySummary) -> RenderableType:
    """Render `summary`: figures, which action became which, labels, reasons, examples."""
    title = summary.title
    head = Text(f"{title.old}  →  {title.new}\n", style="bold")
    head.append(
        f"{summary.records:,} clips of {summary.streams:,} streams, from {title.records}\n",
        style="dim",
    )
    head.append(_tell_changes(summary))
    parts: list[RenderableType] = [head, _render_matrix(summary)]
    parts.append(_render_lines("", (*summary.actions, *summary.figures)))
    if summary.is_known:
        parts.append(_render_labels(summary))
    parts.append(_render_lines("reasons that changed most", summary.codes))
    if summary.changes:
        parts.append(_render_changes(summary.changes))
    return Group(*parts)


def _tell_changes(summary: ReplaySummary) -> Text:
    if not summary.is_known:
        return Text("The records do not say what was decided live: nothing to compare with.\n")
    share = summary.changed / max(summary.records, 1)
    text = Text(f"{summary.changed:,} verdicts change ({share:.2%}): ")
    text.append(f"{summary.stricter:,} stricter", style=STYLES["block"])
    text.append(", ")
    text.append(f"{summary.milder:,} milder", style=STYLES["allow"])
    return text.append("\n")


def _table(title: str, *columns: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _render_matrix(summary: ReplaySummary) -> Table:
    table = _table("which action became which", "from \\ to", *ACTIONS)
    for row, counts in zip(summary.rows, summary.matrix, strict=True):
        cells = []
        for action, count in zip(ACTIONS, counts, strict=True):
            is_change = row not in {action, "unknown"} and count
            cells.append(Text(f"{count:,}", style=STYLES[action] if is_change else "dim"))
        table.add_row(row, *cells)
    return table


def _render_lines(title: str, lines: Iterable[Line]) -> Table:
    table = _table(title, "", "old", "new", "difference")
    for line in lines:
        old = "-" if line.old is None else f"{line.old:,}"
        difference = "-" if line.old is None else f"{line.new - line.old:+,}"
        table.add_row(Text(line.name), old, f"{line.new:,}", difference)
    return table


def _render_labels(summary: ReplaySummary) -> Table:
    table = _table("labels", "", "milder", "stricter", *ACTIONS[1:])
    for line in summary.labels[:_MAX_LABELS]:
        table.add_row(
            line.label,
            f"{line.milder:,}",
            f"{line.stricter:,}",
            *(f"{one.old:,} → {one.new:,}" for one in line.actions),
        )
    return table


def _render_changes(changes: Iterable[Change]) -> Table:
    table = _table("examples", "line", "stream, clip")
    table.columns[1].justify = "left"
    table.columns[1].overflow = "ellipsis"
    for column in ("change", "because"):
        table.add_column(column, overflow="fold", no_wrap=column == "change")
    for change in changes:
        move = Text(f"{change.old} → ")
        move.append(change.new, style=STYLES[change.new])
        where = f"{_shorten(change.stream_id)} {change.clip_seq}"
        codes = ", ".join(change.codes[:3]) or "nothing asks for more"
        table.add_row(str(change.line), Text(where), move, Text(codes))
    return table


def _shorten(name: str) -> str:
    """Shorten a caller's id to a line, without what could drive the terminal."""
    shown = "".join(c if c.isprintable() else "·" for c in name)
    return shown if len(shown) <= 20 else f"{shown[:19]}…"  # noqa: PLR2004 - columns

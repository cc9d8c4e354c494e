"""Text tables, for people who read a terminal or a log."""

from __future__ import annotations

from collections.abc import Sequence


def format_rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces between, no space at a line's end."""
    lines = [head, *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )

"""A report as three files with the same content: Markdown, JSON, and one HTML page by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jinja2

from livewarden_perf.chart import draw_chart
from livewarden_perf.section import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from livewarden_perf.section import Section, Table

SCHEMA: Final = "livewarden.perf/v1"
_TEMPLATE: Final = "report_page.html.j2"


@dataclass(frozen=True, slots=True)
class Report:
    """Sections, and what they were measured on."""

    title: str
    machine: Mapping[str, str]
    sections: tuple[Section, ...]


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write `report` into `folder` as report.md, report.json and report.html; give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": render_markdown(report),
        "report.json": json.dumps(describe_report(report), indent=2, allow_nan=False) + "\n",
        "report.html": render_page(report),
    }
    paths = []
    for name, text in texts.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def describe_report(report: Report) -> dict[str, Any]:
    """Describe `report` as JSON data."""
    return {
        "schema": SCHEMA,
        "title": report.title,
        "machine": dict(report.machine),
        "sections": [
            {
                "name": section.name,
                "headline": section.headline,
                "warnings": list(section.warnings),
                "data": clean(dict(section.data)),
            }
            for section in report.sections
        ],
    }


def render_markdown(report: Report) -> str:
    """Render `report` as Markdown: first the figures, then what each command found."""
    lines = [f"# {report.title}", ""]
    lines += [f"- **{name}**: {value}" for name, value in report.machine.items()]
    lines += ["", "## Figures", "", render_figures(report), ""]
    for section in report.sections:
        lines += [f"## {section.title}", "", section.headline, ""]
        lines += [f"> **Warning:** {warning}\n" for warning in section.warnings]
        for table in section.tables:
            lines += [*_list_rows(table), ""]
        lines += [f"- {note}" for note in section.notes]
        if section.notes:
            lines.append("")
    return "\n".join(lines)


def render_figures(report: Report) -> str:
    """Render the table for the README: every figure, and the command that gives it."""
    lines = ["| | | command |", "|---|---:|---|"]
    lines += [
        f"| {what} | {figure} | `livewarden perf {section.name}` |"
        for section in report.sections
        for what, figure in section.figures.items()
    ]
    return "\n".join(lines)


def render_page(report: Report) -> str:
    """Render `report` as HTML that needs nothing else: no script, no font, no other file."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(name, ".") for name in ("livewarden_perf", "livewarden_ensemble")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(report=report, draw=draw_chart)


def _list_rows(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.columns)} |"
    yield f"|---|{'---:|' * (len(table.columns) - 1)}"
    for row in table.rows:
        yield f"| {' | '.join(row)} |"

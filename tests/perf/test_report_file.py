import json
import re
from xml.etree import ElementTree as ET

import pytest

from livewarden_perf.chart import draw_chart
from livewarden_perf.report_file import Report, render_figures, render_markdown, write_report
from livewarden_perf.section import Chart, Section, Table, clean, render_section, show

LINES = Chart("lines", "Latency", "clips/s", "ms", (1.0, 2.0, 3.0), {"p50": [1.0, None, 3.0]})
STACK = Chart("stack", "Parts", "", "ms", ("all", "waiting"), {"queue": [2, 2], "work": [3, 0]})
SECTION = Section(
    name="load",
    title="Open loop",
    headline="10 clips/s came back in full.",
    tables=(Table(("", "ms"), (("p50", "12.0"), ("<b>", "13.0"))),),
    data={"rate": 10.0, "worst": float("inf"), "points": (1, 2.00001)},
    charts=(LINES, STACK),
    figures={"p50": "12 ms"},
    notes=("From the due time.",),
    warnings=("Late.",),
)
REPORT = Report("A report", {"processor": "Z80, 1 of 1 cores", "bundle": "abc"}, (SECTION,))

GOLDEN = """\
# A report

- **processor**: Z80, 1 of 1 cores
- **bundle**: abc

## Figures

| | | command |
|---|---:|---|
| p50 | 12 ms | `livewarden perf load` |

## Open loop

10 clips/s came back in full.

> **Warning:** Late.

|  | ms |
|---|---:|
| p50 | 12.0 |
| <b> | 13.0 |

- From the due time.
"""


def test_the_markdown_is_this():
    """Machine first, then the figures, then each section: warnings above its tables."""
    assert render_markdown(REPORT) == GOLDEN


def test_three_files_hold_the_same_report(tmp_path):
    """report.md, report.json, report.html; what is no finite number is null in JSON."""
    paths = write_report(REPORT, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["report.md", "report.json", "report.html"]
    data = json.loads(paths[1].read_text())
    assert data["machine"]["bundle"] == "abc"
    assert data["sections"][0]["data"] == {"rate": 10.0, "worst": None, "points": [1, 2.0]}
    page = paths[2].read_text()
    for part in ("A report", "Z80", "Late.", "&lt;b&gt;", "From the due time."):
        assert part in page
    assert page.count("<svg") == 2


def test_the_page_needs_nothing_else(tmp_path):
    """No script, no link, no picture or font from elsewhere."""
    page = write_report(REPORT, tmp_path)[2].read_text()
    assert "<script" not in page
    assert "<link" not in page
    assert not re.search(r"(?:src|href)=[\"'](?!#)", page)
    assert "@import" not in page


@pytest.mark.parametrize("chart", [LINES, STACK])
def test_a_chart_is_one_svg_and_always_the_same(chart):
    """It parses as XML, holds the names of its series as text, and repeats byte by byte."""
    text = draw_chart(chart)
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    for name in (*chart.series, chart.title):
        assert name in text
    assert draw_chart(chart) == text


def test_figures_name_their_command():
    """Whoever reads the README's table can run what gave a figure."""
    assert render_figures(REPORT).splitlines()[2] == "| p50 | 12 ms | `livewarden perf load` |"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.12"), (12.34, "12.3"), (1234.5, "1234"), (None, "–"), (float("nan"), "–")],
)
def test_figures_have_the_digits_that_count(value, text):
    """And a dash where there is none."""
    assert show(value) == text


def test_a_unit_stands_behind_a_figure_alone():
    """A dash has no unit."""
    assert show(12.34, "ms") == "12.3 ms"
    assert show(None, "ms") == "–"


def test_what_is_no_json_becomes_null():
    """Inside lists and objects as well."""
    assert clean({"a": [float("inf"), {"b": float("nan")}], 1: (1,)}) == {
        "a": [None, {"b": None}],
        "1": [1],
    }


def test_the_terminal_gets_every_table():
    """The first one carries the section's title."""
    (table,) = render_section(SECTION)
    assert table.title == "Open loop"
    assert table.row_count == 2

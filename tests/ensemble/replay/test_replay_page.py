from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from livewarden_client.wire import ACTIONS
from livewarden_ensemble.recording import read_recordings
from livewarden_ensemble.replay_file import replay_file
from livewarden_ensemble.replay_page import render_page
from livewarden_ensemble.replay_render import render_replay
from livewarden_ensemble.replay_summary import ReplaySummary, Title, summarise_replay

Write = Callable[..., Path]
TITLE = Title("small@1", "small@2", "records.jsonl")
HOSTILE = "\x1b[2J\n<script>alert(1)</script>"
# Elements that HTML never closes.
VOID = {"meta", "br", "hr", "link", "img", "input"}


class Checker(HTMLParser):
    """Follows the elements of a page, and notes what would reach outside it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.count = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that begins."""
        self.count += 1
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"script", "link", "img", "iframe", "object"}:
            self.faults.append(tag)
        self.faults += [name for name, _ in attrs if name in {"src", "href"} or name[:2] == "on"]

    def handle_endtag(self, tag: str) -> None:
        """Note an element that ends."""
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    return checker


@pytest.fixture
def summary(write_policy: Write, write_records: Write) -> ReplaySummary:
    """Sum up a replay in which verdicts change."""
    tally = replay_file(write_records(), write_policy("2", 0.2, 0.1), write_policy(), keep=2)
    return summarise_replay(tally, TITLE)


@pytest.fixture
def unknown(write_policy: Write, write_records: Write) -> ReplaySummary:
    """Sum up a replay of records that do not say what was decided."""
    return summarise_replay(replay_file(write_records(), write_policy()), TITLE)


def print_plain(summary: ReplaySummary) -> str:
    console = Console(width=80, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(render_replay(summary))
    return capture.get()


def test_summary_adds_up(summary: ReplaySummary, unknown: ReplaySummary) -> None:
    """The matrix holds every clip once; its rows and columns are the actions' counts."""
    for one in (summary, unknown):
        assert sum(map(sum, one.matrix)) == one.records == 1200
        columns = [sum(row[place] for row in one.matrix) for place in range(len(ACTIONS))]
        assert columns == [line.new for line in one.actions]
    assert [sum(row) for row in summary.matrix] == [line.old for line in summary.actions]
    assert summary.changed == summary.stricter + summary.milder > 0
    assert unknown.rows == ("unknown",)
    assert all(line.old is None for line in (*unknown.actions, *unknown.codes, *unknown.figures))


def test_summary_puts_the_largest_changes_first(summary: ReplaySummary) -> None:
    """Labels and reasons come in the order of how much they changed."""
    moves = [line.milder + line.stricter for line in summary.labels]
    assert moves == sorted(moves, reverse=True)
    steps = [abs(line.new - (line.old or 0)) for line in summary.codes]
    assert steps == sorted(steps, reverse=True)


def test_page_stands_alone(summary: ReplaySummary, unknown: ReplaySummary) -> None:
    """The page is well-formed, runs nothing and loads nothing from anywhere."""
    for one in (summary, unknown):
        page = render_page(one)
        checker = check(page)
        assert (checker.faults, checker.open) == ([], [])
        assert checker.count > 50
        assert not re.search(r"https?:|url\(|@import", page)
        assert "color-scheme: light dark" in page


def test_page_and_terminal_show_the_figures(summary: ReplaySummary) -> None:
    """Both show how many verdicts change, every label that moved, and the examples."""
    page, terminal = render_page(summary), print_plain(summary)
    assert f"<b>{summary.changed}</b> verdicts change" in page
    assert f"{summary.changed} verdicts change" in terminal
    for line in summary.labels:
        assert line.label in page
        assert line.label in terminal
    for change in summary.changes:
        assert f'<td class="text">{change.stream_id}</td>' in page
        assert f"{change.stream_id} {change.clip_seq}" in terminal


def test_bars_are_as_long_as_their_shares(summary: ReplaySummary) -> None:
    """The drawn widths of each side add up to the whole bar."""
    widths = [
        float(width)
        for width in re.findall(
            r'<rect class="\w+" x="[\d.]+" y="\d+" width="([\d.]+)" height="32"',
            render_page(summary),
        )
    ]
    assert len(widths) == 8
    assert sum(widths[:4]) == pytest.approx(900, abs=0.05)
    assert widths[4] == pytest.approx(900 * summary.actions[0].new / 1200, abs=0.01)


def test_ids_of_callers_are_shown_as_text(write_policy: Write, write_records: Write) -> None:
    """A stream's name with markup or control characters changes neither page nor terminal."""
    records = write_records()
    recordings = [recording for _, recording in read_recordings(records)]
    hostile = write_records(
        msgspec.structs.replace(
            recording,
            context=msgspec.structs.replace(
                recording.context, stream_id=HOSTILE + recording.context.stream_id
            ),
        )
        for recording in recordings
    )
    tally = replay_file(hostile, write_policy("2", 0.2), write_policy(), keep=2)
    summary = summarise_replay(tally, TITLE)
    assert summary.changes
    page = render_page(summary)
    assert check(page).faults == []
    assert "&lt;script&gt;" in page
    terminal = print_plain(summary)
    assert "\x1b" not in terminal
    assert "·[2J·<script>alert" in terminal


def test_lines_fit_80_columns(summary: ReplaySummary, unknown: ReplaySummary) -> None:
    """Nothing in the terminal is wider than 80 columns."""
    for one in (summary, unknown):
        assert max(map(len, print_plain(one).splitlines())) <= 80

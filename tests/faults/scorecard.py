"""The scorecard: what each fault test measured against its bound, and the table of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

LONG = os.environ.get("LIVEWARDEN_FAULTS") == "long"
# A figure this many times over its bound fails the test; below, the table says that it was missed.
# Without it a machine that is busy with other things could not run the suite.
MISSED_FACTOR = float(os.environ.get("LIVEWARDEN_FAULTS_SLACK", "4"))


@dataclass(frozen=True, slots=True)
class Row:
    """One line: the number in the scorecard, what was done, the bound, what came out."""

    number: int
    test: str
    bound: str
    measured: str
    result: str
    form: str
    date: str
    machine: str


def describe_machine() -> str:
    """Cores, memory and load of this machine, so that figures can be compared."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} cores, {pages:.0f} GiB, load {load:.0f}"


class Scorecard:
    """Collects rows in a file, where a later run of the same test replaces its row."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def enter(
        self, number: int, test: str, bound: str, measured: str, *, met: bool = True, skip: str = ""
    ) -> None:
        """Put a row in; `skip` says why it could not run here and how to run it elsewhere."""
        row = Row(
            number,
            test,
            bound,
            skip or measured,
            "not run" if skip else "met" if met else "MISSED",
            "long" if LONG else "short",
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            describe_machine(),
        )
        rows = {(old.number, old.test): old for old in self.read()} | {(number, test): row}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps([asdict(one) for one in rows.values()], indent=1))

    def read(self) -> list[Row]:
        """The rows so far, by number."""
        if not self._path.exists():
            return []
        rows = [Row(**row) for row in json.loads(self._path.read_text())]
        return sorted(rows, key=lambda row: (row.number, row.test))


def within(measured: float, limit: float) -> bool:
    """Whether a figure meets its bound; AssertionError where it is far beyond."""
    assert measured <= MISSED_FACTOR * limit, f"{measured:.1f} is far beyond {limit:g}"
    return measured <= limit


def render_table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| # | test | bound | measured | result | form | date (UTC) | machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.number} | {r.test} | {r.bound} | {r.measured} | {r.result} | {r.form} | {r.date} "
        f"| {r.machine} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"

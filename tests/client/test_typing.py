"""The types that callers see: what mypy accepts, and what it must not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import livewarden_client

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
ERROR = re.compile(r".*?:(\d+): error: (.*?)  \[([\w-]+)\]")
COMMENT = re.compile(r".*\S  # ([a-z-]+): (.+)")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, str, str]]]:
    """What mypy, strict as callers may be, says of both files: (line, code, message)."""
    files = ("typing_right.py", "typing_wrong.py")
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")),
            *("--hide-error-context", "--no-pretty", "--no-color-output", "--no-incremental"),
            *("--cache-dir", str(tmp_path_factory.mktemp("mypy"))),
            *(str(FOLDER / file) for file in files),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    said: dict[str, list[tuple[int, str, str]]] = {file: [] for file in files}
    for line in ended.stdout.splitlines():
        if match := ERROR.fullmatch(line):
            number, message, code = match.groups()
            said[Path(line.split(":")[0]).name].append((int(number), code, message))
    return said


def test_right_use_has_no_errors(found: dict[str, list[tuple[int, str, str]]]) -> None:
    """What the README and the docstrings promise is accepted, with the types that they name."""
    assert found["typing_right.py"] == []


def test_wrong_use_has_exactly_the_expected_errors(
    found: dict[str, list[tuple[int, str, str]]],
) -> None:
    """Each wrong line gives the one error that stands beside it, and no other line gives any."""
    lines = (FOLDER / "typing_wrong.py").read_text().splitlines()
    expected = {
        number: match.groups()
        for number, line in enumerate(lines, 1)
        if (match := COMMENT.fullmatch(line))
    }
    said = found["typing_wrong.py"]
    assert [number for number, _, _ in said] == sorted(expected)
    for number, code, message in said:
        wanted_code, wanted = expected[number]
        assert code == wanted_code, f"line {number}: {code}: {message}"
        assert wanted in message, f"line {number}: {message}"
    assert len(expected) > 20


def test_every_public_name_is_used() -> None:
    """A name that joins the public ones joins the typing test."""
    text = (FOLDER / "typing_right.py").read_text()
    assert [name for name in livewarden_client.__all__ if not re.search(rf"\b{name}\b", text)] == []

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from livewarden_ensemble.cli_audit import audit

Write = Callable[..., Path]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """Write the keys of the fixture `keys` to a file."""
    path = tmp_path / "audit.keys"
    path.write_text(f"k2:{(b'2' * 32).hex()}\nk1:{(b'1' * 32).hex()}\n")
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(audit, ["verify", *map(str, args)])


def test_intact_log_ends_with_0(write_log: Write, key_file: Path) -> None:
    """An intact log is shown per writer, with counts and times, and ends with exit code 0."""
    result = run(write_log(3), "--keys", key_file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "2025-06-15 15:06:40" in result.stdout
    assert result.stdout.splitlines()[-1] == "intact"


def test_changed_log_ends_with_1(write_log: Write, key_file: Path) -> None:
    """A change is told with its file and line, and ends with exit code 1."""
    folder = write_log(3)
    path = folder / "w.00000000.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"clip_seq":1', b'"clip_seq":7'))
    result = run(folder, "--keys", key_file)
    assert result.exit_code == 1
    assert "fault: w.00000000.jsonl, line 3: is changed here" in result.stdout
    assert "NOT INTACT" in result.stdout


def test_report_of_one_day_checks_the_next(
    write_log: Write, key_file: Path, tmp_path: Path
) -> None:
    """The JSON of one run is what --since reads in the next."""
    folder = write_log(3)
    first = run(folder, "--keys", key_file, "--json")
    assert json.loads(first.stdout)["chains"]["w"]["records"] == 3
    report = tmp_path / "report.json"
    report.write_text(first.stdout)
    write_log(2)
    assert run(folder, "--keys", key_file, "--since", report).exit_code == 0
    for path in folder.iterdir():
        path.unlink()
    result = run(folder, "--keys", key_file, "--since", report)
    assert result.exit_code == 1
    assert "fault: the earlier report: line 4 of w" in result.stdout


def test_pruned_log_is_allowed_on_request(write_log: Write, key_file: Path) -> None:
    """With --pruned the oldest segments may be gone."""
    folder = write_log(1, 1)
    (folder / "w.00000000.jsonl").unlink()
    assert run(folder, "--keys", key_file).exit_code == 1
    assert run(folder, "--keys", key_file, "--pruned").exit_code == 0


def test_wrong_usage_ends_with_2(write_log: Write, key_file: Path, tmp_path: Path) -> None:
    """A missing folder, key file or report is named; the exit code is 2."""
    folder = write_log(1)
    empty = tmp_path / "empty"
    empty.write_text("")
    for args, said in (
        (["nowhere", "--keys", key_file], "nowhere"),
        ([folder], "--keys"),
        ([folder, "--keys", empty], "holds no key"),
        ([folder, "--keys", key_file, "--since", empty], "is no report"),
    ):
        result = run(*args)
        assert result.exit_code == 2
        assert said in result.stderr

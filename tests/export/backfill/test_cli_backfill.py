import re

import pytest
from backfill_case import judge, open_client
from click.testing import CliRunner

from livewarden_client.errors import ServerError
from livewarden_export import cli_backfill
from livewarden_export.backfill import ray_scorer
from livewarden_export.backfill.score import score_part
from livewarden_export.backfill.source import read_part


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    """Run the command with a server in this process in place of Ray and a network."""

    def run(*arguments, answer=judge, out="out"):
        def score(parts, asking, _workers, _address):
            with open_client(answer) as client:
                for part in parts:
                    rows = score_part(read_part(part), client, asking.in_flight, 0.1)
                    yield part.number, rows

        monkeypatch.setattr(ray_scorer, "score_on_ray", score)
        monkeypatch.setattr(cli_backfill, "_find_server", lambda *_: None)
        return CliRunner().invoke(
            cli_backfill.backfill, [*map(str, arguments), "--output", str(tmp_path / out)]
        )

    return run


def test_what_changed_is_said(invoke, exchanges):
    """From what to what, and how many of how many."""
    result = invoke(exchanges)
    assert result.exit_code == 0, result.output
    assert "11 of 11 actions changed." in result.stdout
    assert re.search(r"restrict\W+allow\W+3\b", result.stdout), result.stdout
    assert "11 by bundle b1, policy p@1 d." in result.stdout


def test_a_second_backfill_compares_with_the_first(invoke, clips, tmp_path):
    """Labelled clips have no action of before: --before names the rows that do."""
    first = invoke(clips, out="first")
    assert "changed" not in first.stdout
    again = invoke(clips, "--before", tmp_path / "first", out="again")
    assert "0 of 23 actions changed." in again.stdout
    other = invoke(
        *(clips, "--before", tmp_path / "first"),
        answer=lambda request: judge(request, "b2"),
        out="other",
    )
    assert "23 of 23 actions changed." in other.stdout


def test_failed_clips_end_in_exit_code_1_unless_allowed(invoke, clips):
    """They are rows, counted by type, either way."""

    def fail(_request):
        raise ServerError("it failed")

    result = invoke(clips, answer=fail)
    assert result.exit_code == 1
    assert "failed: ServerError" in result.stdout
    assert "23 of 23 clips failed" in result.stderr
    assert invoke(clips, "--allow-errors", answer=fail).exit_code == 0


def test_a_mixture_of_bundles_is_a_warning(invoke, clips, tmp_path):
    """A run that went on after a publish says so."""
    invoke(clips, "--part-clips", 5)
    (tmp_path / "out" / "parts" / "part-000001.jsonl").unlink()
    result = invoke(clips, "--part-clips", 5, answer=lambda request: judge(request, "b2"))
    assert "Warning: bundle or policy changed between clips" in result.stderr


def test_help_shows_an_example():
    """It can be tried by copying a line."""
    result = CliRunner().invoke(cli_backfill.backfill, ["--help"])
    assert "livewarden backfill my-clips --output runs/new-policy" in result.output

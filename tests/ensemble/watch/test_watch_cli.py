from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from livewarden_ensemble.watch.cli import watch


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "stream.mp4"
    path.write_bytes(b"no video")
    return path


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(watch, [str(arg) for arg in args])


@pytest.mark.parametrize("every", ["2", "0s", "61s", "soon"])
def test_a_wrong_duration_is_wrong_usage(video: Path, every: str) -> None:
    """Exit code 2, and what is accepted."""
    result = run(video, "--every", every)
    assert result.exit_code == 2
    assert "--every" in result.output


def test_a_server_that_runs_takes_no_policy(video: Path) -> None:
    """A server has its own policy and bundle: naming others beside it is refused, with the way."""
    for option in ("--policy", "--compare-policy"):
        result = run(video, "--server", "127.0.0.1:1", option, video)
        assert result.exit_code == 2
        assert "leave it" in result.output


def test_a_script_that_cannot_be_read_ends_before_anything_starts(
    video: Path, tmp_path: Path
) -> None:
    """Exit code 2 with file and line, and never what the line says."""
    chat = tmp_path / "chat.jsonl"
    chat.write_text('{"t": 1, "text": "fine"}\n{"text": "secret words"}\n')
    result = run(video, "--chat", chat)
    assert result.exit_code == 2
    assert f"{chat}:2: " in result.output
    assert "secret" not in result.output


def test_a_policy_that_is_wrong_ends_before_anything_starts(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second side's policy is read before the first side runs."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("policy: {}\n")

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr("livewarden_ensemble.watch.session.Server", refuse)
    root = Path(__file__).parents[3]
    result = run(
        video, "--repository", root / "model_repository", "--compare-policy", wrong
    )  # fmt: skip
    assert result.exit_code == 1
    assert f"Error: {wrong}:" in result.output


def test_a_server_that_is_not_there_is_one_line(video: Path) -> None:
    """Exit code 1, soon, without a clip sent."""
    result = run(video, "--server", "127.0.0.1:1")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


def test_help_shows_an_example() -> None:
    """As with every command."""
    assert "Example:" in run("--help").output

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from livewarden_perf.cli import perf
from livewarden_perf.cli_option import Milliseconds


@pytest.mark.parametrize("command", [[], *([name] for name in perf.commands)])
def test_help_shows_an_example(command):
    """Every command can be tried by copying a line of its help."""
    result = CliRunner().invoke(perf, [*command, "--help"])
    assert result.exit_code == 0
    assert f"Example:\n  livewarden perf {' '.join(command)}".rstrip() in result.output.replace(
        "\n    livewarden", "\n  livewarden"
    )


def test_help_loads_nothing_heavy():
    """`--help` answers at once."""
    code = (
        "import sys, livewarden_perf.cli;"
        "heavy = {'openvino', 'cv2', 'av', 'numpy', 'torch', 'scipy', 'matplotlib'};"
        "heavy &= set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["smoke", "load", "profile", "growth"])
def test_a_running_server_takes_no_repository(tmp_path, command):
    """--url names a server, --repository starts one: asking for both is a usage error."""
    result = CliRunner().invoke(
        perf, [command, "--url", "127.0.0.1:1", "--repository", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "--url names a running server" in result.stderr


def test_a_failure_is_one_line_and_exit_code_1(tmp_path):
    """Of an empty repository, the error says which file is missing and what to run."""
    result = CliRunner().invoke(perf, ["stages", "--repository", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "live.json" in last
    assert "livewarden export" in last
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["load", "--mix", "huge"],
        ["load", "--recorded", "EMPTY"],
        ["run", "--rate", "x"],
    ],
)
def test_wrong_input_fails_before_a_server_is_started(tmp_path, arguments):
    """One line, exit code 1, and nothing was started or looked for."""
    empty = tmp_path / "empty.txt"
    empty.touch()
    given = [str(empty) if part == "EMPTY" else part for part in arguments]
    result = CliRunner().invoke(perf, [*given, "--url", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "Starting" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_place_that_is_no_server_is_a_usage_error():
    """`compare` takes folders and HOST:PORT."""
    result = CliRunner().invoke(perf, ["compare", "nowhere", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "neither a model repository nor HOST:PORT" in result.stderr


def test_a_server_that_is_down_is_named():
    """Nothing is measured on it."""
    result = CliRunner().invoke(perf, ["load", "--url", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "127.0.0.1:1 gives no verdict" in result.stderr


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("150ms", 150), ("0.5s", 500), ("2s", 2000), ("75", 75)]
)
def test_times_have_units(text, milliseconds):
    """Milliseconds where none is given."""
    assert Milliseconds().convert(text, None, None) == milliseconds


@pytest.mark.parametrize("text", ["", "fast", "0ms", "-1", "1h"])
def test_what_is_no_time_is_a_usage_error(text):
    """The message says what is accepted."""
    with pytest.raises(click.BadParameter, match="150ms"):
        Milliseconds().convert(text, None, None)

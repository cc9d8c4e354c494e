import subprocess
import sys

import pytest
from click.testing import CliRunner

from livewarden_perf.cli import perf


@pytest.mark.parametrize("command", [[], ["stages"], ["smoke"], ["client"]])
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
        "heavy = {'openvino', 'cv2', 'av', 'numpy', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_running_server_takes_no_repository(tmp_path):
    """--url names a server, --repository starts one: asking for both is a usage error."""
    result = CliRunner().invoke(
        perf, ["smoke", "--url", "127.0.0.1:1", "--repository", str(tmp_path)]
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

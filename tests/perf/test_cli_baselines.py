from click.testing import CliRunner

from livewarden_perf.baseline.contestant import BASELINES
from livewarden_perf.cli import perf
from livewarden_perf.cli_baselines import _NAMES


def test_help_shows_an_example():
    """The command can be tried by copying a line of its help."""
    result = CliRunner().invoke(perf, ["baselines", "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert "livewarden perf baselines --only litserve" in result.output


def test_the_choices_are_the_baselines():
    """The names stand in the command so that --help loads nothing heavy; they must be the same."""
    assert tuple(baseline.name for baseline in BASELINES) == _NAMES


def test_an_empty_repository_is_one_line_and_exit_code_1(tmp_path):
    """Nothing is installed or started before the models are known to be there."""
    result = CliRunner().invoke(perf, ["baselines", "--repository", str(tmp_path)])
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert "livewarden export" in last
    assert "Installing" not in result.stderr

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, version

import click
import pytest
from click.testing import CliRunner

from livewarden_client import cli_group
from livewarden_client.cli_group import root

GROUP = cli_group.ENTRY_POINTS
WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
sys.argv = ["livewarden", *{args!r}]
from livewarden_client.cli import main
main()
"""


def run_without(names: list[str], *args: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(names=names, args=args)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def put_commands(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    entries = {name: EntryPoint(name, value, GROUP) for name, value in values.items()}
    monkeypatch.setattr(cli_group, "_find_commands", lambda: entries)


def test_base_install_says_what_to_install() -> None:
    """Without click the command is one line that says how to get it, and exit code 2."""
    result = run_without(["click"], "--help")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "Error: the command line is not installed. Run: pip install 'livewarden[cli]'\n"
    )


@pytest.mark.parametrize("args", [["moderate"], ["moderate", "--help"], ["moderate", "--x", "y"]])
def test_missing_extra_is_one_line(args: list[str]) -> None:
    """A sub-command whose extra is not installed says which one, and exits with 2."""
    result = run_without(["rich"], *args)
    assert result.returncode == 2
    assert result.stderr == (
        "Error: 'moderate' needs the module 'rich'. Run: pip install 'livewarden[cli]'\n"
    )


def test_listing_shows_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The help lists every sub-command, and how to install those that are not there."""
    put_commands(
        monkeypatch,
        moderate="livewarden_client.cli_moderate:moderate",
        serve="livewarden_ensemble.no_such_module:serve",
    )
    result = CliRunner().invoke(root, ["--help"])
    assert result.exit_code == 0
    assert "moderate  Ask a running server" in result.stdout
    assert "serve     (not installed: pip install 'livewarden[server]')" in result.stdout


def test_only_the_named_command_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running one sub-command imports no other, however broken that is."""
    put_commands(monkeypatch, moderate="livewarden_client.cli_moderate:moderate", serve="a.b:c")
    assert CliRunner().invoke(root, ["moderate", "--help"]).exit_code == 0


def test_unknown_command_is_wrong_usage() -> None:
    """A sub-command that does not exist exits with 2 and is named."""
    result = CliRunner().invoke(root, ["moderat"])
    assert result.exit_code == 2
    assert "moderat" in result.stderr


def test_entry_point_must_be_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point that is no click command is a mistake of ours, and not hidden."""
    put_commands(monkeypatch, bad="livewarden_client.wire:LABELS")
    with pytest.raises(TypeError, match="no command"):
        root.get_command(click.Context(root), "bad")


def test_version_is_that_of_the_package() -> None:
    """`livewarden --version` prints the installed version."""
    result = CliRunner().invoke(root, ["--version"])
    assert result.stdout == f"livewarden, version {version('livewarden')}\n"


def test_every_package_has_its_extra() -> None:
    """Each installed sub-command lives in a package whose extra is known."""
    found = cli_group._find_commands()
    assert "moderate" in found
    assert {entry.module.partition(".")[0] for entry in found.values()} <= set(cli_group.EXTRAS)

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from livewarden_client.cli_group import root


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_scripts_ask_the_program(shell: str, monkeypatch: pytest.MonkeyPatch):
    """The script calls `livewarden` back with the variable that click listens to."""
    monkeypatch.setenv("PATH", os.defpath)
    result = CliRunner().invoke(root, ["completion", shell])
    assert result.exit_code == 0
    assert f"_LIVEWARDEN_COMPLETE={shell}_complete" in result.stdout


def test_another_shell_is_wrong_usage():
    """A shell that click knows nothing of is refused with those that it knows."""
    result = CliRunner().invoke(root, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'bash', 'fish', 'zsh'" in result.stderr


def test_the_program_answers_what_the_script_asks():
    """Sub-commands and options are completed by the real command."""
    code = "import sys; sys.argv[0] = 'livewarden'; from livewarden_client.cli import main; main()"
    ask = {
        "_LIVEWARDEN_COMPLETE": "bash_complete",
        "COMP_WORDS": "livewarden mod",
        "COMP_CWORD": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **ask},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "plain,moderate\n"

"""Rules that every command keeps, whichever package it is in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from livewarden_client.cli_group import root

ROOT = Path(__file__).parents[1]
ESCAPE = "\x1b"


def list_commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command below `command`, groups included, by its words."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from list_commands(found, (*path, name))


COMMANDS = list(list_commands(root))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments), prog_name="livewarden")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_parses(words: tuple[str, ...]) -> None:
    """--help shows the command in use, and names no sub-command or option that is not there."""
    shown = run(*words, "--help")
    assert shown.exit_code == 0
    assert ESCAPE not in shown.output
    _, found, examples = shown.output.partition("Example:")
    assert found
    own = re.findall(r"^ +livewarden (.+(?:\\\n.*)*)", examples.partition("\n\n")[0], re.MULTILINE)
    assert own
    for line in own:
        command: click.Command = root
        context = click.Context(root)
        for word in re.split(r"[|>]", line)[0].replace("\\\n", " ").split():
            if word.startswith("--"):
                known = {option for param in command.get_params(context) for option in param.opts}
                assert word.partition("=")[0] in known
            elif isinstance(command, click.Group):
                below = command.get_command(context, word)
                assert below is not None
                command = below


@pytest.mark.parametrize("words", [words for words in COMMANDS if words], ids=" ".join)
def test_an_unknown_option_is_wrong_usage(words: tuple[str, ...]) -> None:
    """Exit code 2, the option named, no traceback."""
    ended = run(*words, "--no-such-option")
    assert ended.exit_code == 2
    assert "--no-such-option" in ended.stderr or "Missing" in ended.stderr


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where nothing was exported: where a new user may stand."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("}{")
    configs = ROOT / "model_repository"
    for config in configs.glob("*/config.pbtxt"):
        (tmp_path / "unfilled" / config.parent.name).mkdir(parents=True)
        shutil.copy(config, tmp_path / "unfilled" / config.parent.name)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("serve", 2, "'model_repository' does not exist"),
        ("serve --repository unfilled", 1, "Run `livewarden export`"),
        ("serve --tls-key bad.yaml", 2, "come together"),
        ("moderate", 2, "nothing to moderate"),
        ("moderate --text chat:x --url 127.0.0.1:1 --timeout 1", 1, "livewarden serve"),
        ("moderate --text chat:x --url nonsense", 2, "HOST:PORT"),
        ("moderate --frames none.jpg", 2, "'none.jpg' does not exist"),
        ("export", 1, "--models"),
        ("bundle verify abc", 2, "'abc' is none of the bundles"),
        ("bundle rollback --repository unfilled", 1, "no bundle to roll back to"),
        ("policy check bad.yaml", 1, "bad.yaml:1:1"),
        ("policy show --policy bad.yaml", 1, "bad.yaml:1:1"),
        ("policy invent no/folder/x.jsonl", 1, "no/folder/x.jsonl"),
        ("policy sign bad.yaml --key bad.yaml", 1, "bad.yaml:1:1"),
        ("policy dsa bad.yaml", 2, "bad.yaml"),
        ("watch none.mp4", 2, "'none.mp4' does not exist"),
        ("backfill none --output x", 2, "'none' does not exist"),
        ("audit verify none --keys bad.yaml", 2, "'none' does not exist"),
        ("train fusion --data none --out x", 1, "none/clips.jsonl"),
        ("perf stages", 1, "livewarden export"),
        ("perf client --url 127.0.0.1:1", 1, "no server answered"),
        ("perf capacity", 2, "--streams"),
        ("no-such-command", 2, "no-such-command"),
    ],
)
def test_what_a_new_user_gets_wrong(elsewhere: Path, line: str, code: int, told: str) -> None:
    """One line that says what is wrong, 2 for wrong usage, 1 for a failure, never a traceback."""
    ended = run(*line.split())
    assert isinstance(ended.exception, SystemExit)
    assert ended.exit_code == code
    assert told in ended.output
    assert "Traceback" not in ended.output
    assert sum(row.startswith("Error: ") for row in ended.stderr.splitlines()) <= 1
    assert elsewhere.is_dir()


@pytest.mark.parametrize("settings", [{"NO_COLOR": "1", "FORCE_COLOR": "1"}, {}])
def test_no_colour_where_nobody_asks_for_it(settings: dict[str, str]) -> None:
    """Output that goes to a pipe has no escape codes; NO_COLOR wins over whatever forces colour."""
    code = "import sys; sys.argv[0] = 'livewarden'; from livewarden_client.cli import main; main()"
    usual = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR"}}
    ran = subprocess.run(
        [sys.executable, "-c", code, "policy", "check", "policies/default.yaml"],
        cwd=ROOT,
        env={**usual, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    colours = re.findall(r"\x1b\[[0-9;]*(?:3|4|9|10)[0-9][0-9;]*m", ran.stdout)
    assert colours == []
    assert settings or ESCAPE not in ran.stdout + ran.stderr

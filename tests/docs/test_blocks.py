"""Every code block of the documents is run here, or says why not and what runs it instead."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import cast

import click
import pytest
from block import ROOT, Block, list_commands, list_pages, list_targets, read_blocks
from runner import RUNNERS, Scene, run_block

from livewarden_client.cli_group import root
from livewarden_ensemble.server import Server
from livewarden_export.bundle import Bundle

PAGES = {page.relative_to(ROOT).as_posix(): page for page in list_pages()}
BLOCKS = [block for name, page in PAGES.items() for block in read_blocks(page.read_text(), name)]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)


@pytest.mark.integration
@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.kind], ids=str)
def test_block_runs(
    block: Block, checkout: Path, release: Bundle, jpeg: bytes, request: pytest.FixtureRequest
) -> None:
    """A block that says nothing else does what a reader would do with it, and works."""
    assert block.language in RUNNERS, (
        f"{block}: blocks of {block.language or 'no language'} are not run; "
        "put <!-- not run: REASON --> or <!-- run by: TEST --> on the line before"
    )
    scene = Scene(
        checkout, release.id, jpeg, lambda: cast("Server", request.getfixturevalue("server"))
    )
    run_block(block, scene)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "run by"], ids=str)
def test_what_runs_a_block_instead_exists(block: Block) -> None:
    """`run by` names a test or a target of make that is there."""
    for name in block.note.split(", "):
        if name.startswith("make "):
            assert name.removeprefix("make ") in TARGETS, f"{block}: no target {name}"
            continue
        file, _, function = name.partition("::")
        assert (ROOT / file).is_file(), f"{block}: no file {file}"
        assert not function or f"def {function}(" in (ROOT / file).read_text(), f"{block}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_named_commands_exist(page: str) -> None:
    """Every `livewarden ...` of a page, run or not, has sub-commands and options that exist."""
    for words in list_commands(PAGES[page].read_text()):
        command: click.Command = root
        context = click.Context(command)
        for word in words:
            if word.startswith("--"):
                known = {option for param in command.get_params(context) for option in param.opts}
                option = word.partition("=")[0]
                assert option in known, f"{page}: livewarden {' '.join(words)}: no {option}"
            elif isinstance(command, click.Group):
                found = command.get_command(context, word)
                assert found is not None, f"{page}: livewarden {' '.join(words)}: no {word}"
                command = found


@pytest.mark.parametrize("page", PAGES)
def test_named_targets_and_extras_exist(page: str) -> None:
    """Every `make X` and `livewarden[x]` of a page is one that there is."""
    text = PAGES[page].read_text()
    assert list_targets(text) <= TARGETS
    extras = {
        name for names in re.findall(r"livewarden\[([a-z,-]+)\]", text) for name in names.split(",")
    }
    assert extras <= EXTRAS

"""The reader of the documents' blocks misses none, and the runner fails where a block is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from block import Block, list_commands, list_targets, read_blocks, read_script
from runner import (
    RUNNERS,
    Scene,
    check_json,
    check_json_lines,
    check_text,
    check_toml,
    check_yaml,
    list_lacking,
    run_shell,
)

PAGE = """# Page
<!-- not run: needs a GPU -->
```sh
nvidia-smi
```
<!-- run by: make demo -->
<!-- example: request -->
```console
$ make demo
```
<!-- not run: this mark is of no block -->
Words.

- item
  ```yaml
  a:
    - 1
  ```

````text
```
````
"""


def test_blocks_are_read_with_their_marks() -> None:
    """A mark counts for the block after it, other comments may stand between, prose may not."""
    assert read_blocks(PAGE, "p.md") == [
        Block("p.md", 3, "sh", "nvidia-smi\n", "not run", "needs a GPU"),
        Block("p.md", 8, "console", "$ make demo\n", "run by", "make demo"),
        Block("p.md", 15, "yaml", "a:\n  - 1\n"),
        Block("p.md", 20, "text", "```\n"),
    ]


def test_a_block_without_an_end_is_told() -> None:
    """Else the rest of a page would not be looked at."""
    with pytest.raises(ValueError, match=r"p\.md:1: this block has no end"):
        read_blocks("```sh\nls\n", "p.md")


def test_a_console_holds_commands_and_answers() -> None:
    """What follows the prompt is run, with its open quotations; answers are not."""
    body = "$ echo 'a\nb'\na\nb\n$ ls \\\n  x # it's\n$ pwd\n/tmp\n"
    script = read_script(Block("p.md", 1, "console", body))
    assert script == "echo 'a\nb'\nls \\\n  x # it's\npwd\n"


def test_commands_and_targets_are_found_in_code_alone() -> None:
    """Spans and blocks name commands up to a pipe; prose about livewarden does not."""
    text = "livewarden is; make it so. `livewarden moderate --json | jq .x`, `make check test`\n"
    text += "```sh\nlivewarden serve \\\n  --replicas 2 # two\n```\n"
    assert sorted(list_commands(text)) == [["moderate", "--json"], ["serve", "--replicas", "2"]]
    assert list_targets(text) == {"check"}


@pytest.fixture
def scene(checkout: Path) -> Scene:
    def fail() -> None:
        raise AssertionError("no server is needed")

    return Scene(checkout, "0" * 16, b"", fail)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("language", "body", "message"),
    [
        ("sh", "livewarden policy check no-such-file.yaml\n", "no-such-file.yaml"),
        ("console", "$ false\n$ true\n", "p.md:1: exit code 1"),
        ("sh", "true | helm list\n", "helm acts outside the checkout"),
        ("sh", "echo $(docker ps)\n", "docker acts outside the checkout"),
        ("yaml", "policy: { id: x, version: '1', taxonomy: t1.0 }\nlabls: {}\n", "labls"),
        (
            "yaml",
            "labels: { hate: { thresholds: { block: 2 } } }\n",
            "thresholds.block: expected",
        ),
        ("yaml", "text_encoder: { source: { kind: none } }\n", "source.kind: Invalid value 'none'"),
        ("yaml", "services: {}\n", "nothing here reads YAML with the keys ['services']"),
        ("json", '{"schema": "livewarden.verdict/v1"}', "is a required property"),
        ("json", '{"region": 1}', "/context/region: Expected `str`"),
        ("json", '{"region": "DE", "colour": "red"}', "['colour', 'region']"),
        ("json", "{", "Expecting property name"),
        ("jsonl", '{"text": "no time"}', "needs either `t`"),
        ("toml", '[[node]]\nname = "x"\ncores = 8', "nothing can be planned with"),
        ("text", "$ rm -rf /\n", "look like commands"),
    ],
)
def test_a_wrong_block_fails(scene: Scene, language: str, body: str, message: str) -> None:
    """Each kind of check has been seen failing, for the reason that it looks for."""
    checks = {run_shell, check_yaml, check_json, check_json_lines, check_toml, check_text}
    assert checks <= set(RUNNERS.values())
    with pytest.raises(Exception, match=re.escape(message)):
        RUNNERS[language](Block("p.md", 1, language, body), scene)


def test_a_block_whose_program_is_absent_is_skipped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says which, and what to install; a word that is no command is no program."""
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name == "jq" else f"/bin/{name}")
    assert list_lacking("echo jq curl \\\n  --jq | cat\n") == []
    body = "k=$(openssl rand -hex 32)\necho {} | jq .a\n"
    with pytest.raises(pytest.skip.Exception, match="needs jq: apt install jq"):
        run_shell(Block("p.md", 1, "sh", body), scene)

"""The code blocks of the documents, and the commands that their prose names."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)")
_MARK = re.compile(r"\s*<!-- (?P<kind>not run|run by): (?P<note>.*\S) -->\s*")
_COMMENT = re.compile(r"\s*<!--.*-->\s*")
_COMMAND = re.compile(r"(?<![\w-])livewarden (?P<rest>[a-z][^`\n]*)")
_TARGET = re.compile(r"(?<![\w-])make (?P<target>[a-z][a-z-]*)")
_SPAN = re.compile(r"`([^`\n]+)`")
_ENDS = frozenset("|;&<>#")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `kind` and `note` are those of the mark on the line before, if there is one.

    `<!-- not run: REASON -->` or `<!-- run by: TEST or make TARGET -->`.
    """

    file: str
    line: int
    language: str
    body: str
    kind: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def list_pages(root: Path = ROOT) -> list[Path]:
    """Every page that people read."""
    pages = [root / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*pages, *sorted((root / "docs").rglob("*.md")), root / "examples/node/README.md"]


def read_blocks(text: str, file: str) -> list[Block]:
    """The blocks of a page, in order, without the indentation of their fences."""
    blocks: list[Block] = []
    fence: re.Match[str] | None = None
    body: list[str] = []
    start, kind, note = 0, "", ""
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if fence is None and found is not None:
            fence, body, start = found, [], number
        elif fence is None:
            mark = _MARK.fullmatch(line)
            if mark is not None:
                kind, note = mark["kind"], mark["note"]
            elif not _COMMENT.fullmatch(line):
                kind, note = "", ""
        elif line.strip() == fence["ticks"]:
            text_ = textwrap.dedent("\n".join(body)) + "\n"
            blocks.append(Block(file, start, fence["language"], text_, kind, note))
            fence, kind, note = None, "", ""
        else:
            body.append(line)
    if fence is not None:
        raise ValueError(f"{file}:{start}: this block has no end")
    return blocks


def read_script(block: Block) -> str:
    """The commands of a shell block: all of `sh`, what follows `$ ` of `console`.

    A command of a console goes on in the next line while a quotation or a backslash is open.
    """
    if block.language != "console":
        return block.body
    commands: list[str] = []
    is_open = False
    for line in block.body.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
        elif is_open:
            commands[-1] += f"\n{line}"
        else:
            continue  # what the command answered
        is_open = _is_open(commands[-1])
    return "\n".join(commands) + "\n"


def _is_open(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return command.endswith("\\")


def list_commands(text: str) -> Iterator[list[str]]:
    """The words of each `livewarden ...` of a page, up to where the shell ends the command."""
    for code in _list_code(text):
        for found in _COMMAND.finditer(code.replace("\\\n", " ")):
            words = []
            for word in found["rest"].split():
                if word[0] in _ENDS or not word.isascii():
                    break
                words.append(word.rstrip("`);,"))
            yield words


def list_targets(text: str) -> set[str]:
    """The targets of make that code spans and blocks name."""
    return {found["target"] for code in _list_code(text) for found in _TARGET.finditer(code)}


def _list_code(text: str) -> Iterator[str]:
    yield from (block.body for block in read_blocks(text, ""))
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from _SPAN.findall(prose)

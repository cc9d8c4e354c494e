"""What `make docs` needs beside docs/: the README as front page, and every file that pages link to.

MkDocs calls the functions whose names begin with `on_` (mkdocs.yml, `hooks`). Links are written for
GitHub; here they are turned into those of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")

_DOCS: Final = "docs/"
_LINK: Final = re.compile(r"(?P<before>\]\()(?P<target>(?![a-z+]+:|#|/)[^)#\s]+)")
_FENCE: Final = re.compile(r"\s*(`{3,})")
_BLOCK: Final = re.compile(r"([-*] |\d+\. |\|)")


def place_file(path: str) -> str:
    """Where the file `path` of the repository is on the site; GitHub's front page is the site's."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix(_DOCS)


def find_origin(place: str) -> str:
    """The file of the repository that is at `place` on the site; undoes `place_file`."""
    if place == "index.md":
        return "README.md"
    return f"{_DOCS}{place}" if (ROOT / _DOCS / place).is_file() else place


def resolve_link(origin: str, target: str) -> str:
    """The file of the repository that the page `origin` links to as `target`."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))


def list_links(text: str) -> list[str]:
    """The targets of a page's links to files, as they are written."""
    return [found["target"] for found in _LINK.finditer(text)]


def turn_links(text: str, origin: str) -> str:
    """`text` of the page `origin` with its links as they are on the site."""
    folder = posixpath.dirname(place_file(origin)) or "."

    def turn(found: re.Match[str]) -> str:
        place = place_file(resolve_link(origin, found["target"]))
        return found["before"] + posixpath.relpath(place, folder)

    return _LINK.sub(turn, text)


def part_blocks(text: str) -> str:
    """`text` with a blank line before each list and table: GitHub needs none, Markdown does."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if found and (not fence or line.strip() == fence):
            fence = "" if fence else found[1]
        before = lines[-1] if lines else ""
        begins = _BLOCK.match(line) and not _BLOCK.match(before)
        if not fence and begins and before.strip() and not before.startswith(" "):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and what any page links to outside it."""
    wanted = list(PAGES)
    pages = [*PAGES, *(find_origin(file.src_uri) for file in files.documentation_pages())]
    for page in pages:
        for target in list_links((ROOT / page).read_text(encoding="utf-8")):
            path = resolve_link(page, target)
            if not path.startswith((_DOCS, "..")) and (ROOT / path).is_file():
                wanted.append(path)
    for path in dict.fromkeys(wanted):
        place = place_file(path)
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs names what it passes
    """Turn what GitHub reads into what MkDocs reads."""
    return part_blocks(turn_links(markdown, find_origin(page.file.src_uri)))

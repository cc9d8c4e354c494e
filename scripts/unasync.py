"""Write the blocking client from the asyncio one, or check that it is up to date.

    python scripts/unasync.py
    python scripts/unasync.py --check

Only waiting differs between the two, and it stands in `wait` and `async_wait`, by hand. Every
replacement below must happen somewhere, so that the table stays true.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parents[1] / "client" / "livewarden_client"

FILES: Final = {"async_client.py": "client.py", "async_stream.py": "stream.py"}

# In this order: pattern, replacement.
REPLACEMENTS: Final = (
    (r"The client for asyncio:", "The client:"),
    (
        r"`client` is generated from `async_client`: edit this one, then run (\S+)\.",
        r"Generated from `async_client` by \1; edit that one.",
    ),
    (
        r"One livestream through `AsyncClient`; `stream` is generated from `async_stream`\.",
        "One livestream through `Client`; generated from `async_stream` by scripts/unasync.py.",
    ),
    (
        r"An AsyncClient belongs to the event loop of its first call\. Close it at the end\.",
        "One client serves any number of threads; each process needs its own. Close it at the end.",
    ),
    (r"a fork, in another event loop\.", "a fork."),
    (r"closed, after", "closed, or after"),
    (r"AsyncClient", "Client"),
    (r"AsyncStream", "Stream"),
    (r"AsyncIterator", "Iterator"),
    (r"Awaitable\[(\w+)\]", r"\1"),
    (r"Awaitable, ", ""),
    (r"\basync_(client|stream|wait)\b(?! by)(?!`)", r"\1"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\basync def\b", "def"),
    (r"\bawait ", ""),
    (r"for (\w+) in (.+):\n +yield \1\n", r"yield from \2\n"),
)


def generate(source: str, target: str, used: set[str]) -> str:
    """Rewrite the asyncio `source` as `target`; `used` collects the patterns that matched."""
    for pattern, replacement in REPLACEMENTS:
        source, times = re.subn(pattern, replacement, source)
        if times:
            used.add(pattern)
    return _lay_out(source, target)


def _lay_out(source: str, target: str) -> str:
    """Sort imports and lay the code out, as `make format` does."""
    for command in (["check", "--select", "I001", "--fix", "--quiet"], ["format", "--quiet"]):
        source = subprocess.run(  # noqa: S603 - our own argument list
            [
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--stdin-filename",
                str(PACKAGE / target),
                "-",
            ],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=PACKAGE.parents[1],
        ).stdout
    return source


def main() -> int:
    """Run the command."""
    check = sys.argv[1:] == ["--check"]
    used: set[str] = set()
    stale = []
    for source, target in FILES.items():
        written = generate((PACKAGE / source).read_text(encoding="utf-8"), target, used)
        path = PACKAGE / target
        if path.exists() and path.read_text(encoding="utf-8") == written:
            continue
        stale.append(target)
        if not check:
            path.write_text(written, encoding="utf-8")
    unused = [pattern for pattern, _ in REPLACEMENTS if pattern not in used]
    for pattern in unused:
        sys.stderr.write(f"unused replacement: {pattern}\n")
    for target in stale:
        sys.stderr.write(f"{target}: {'stale; run scripts/unasync.py' if check else 'written'}\n")
    return 1 if unused or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())

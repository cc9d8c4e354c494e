"""The log of tritonserver: followed from its pipe, kept small, and read for what went wrong.

It holds what Triton and the models write, which is never a caller's text or pixels.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import deque
from logging import LogRecord, makeLogRecord
from logging.handlers import RotatingFileHandler
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FILE_BYTES: Final = 4 * 1024 * 1024
LINES: Final = 200
_LINE_CHARS: Final = 4096

# Which lines say why a start failed, most telling first. Triton escapes the newlines of a message,
# so a reason ends at the first backslash or quote that is followed by one.
_REASON: Final = r"(?P<reason>.+?)(?:\\n|\"?$)"
_CAUSES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"failed to load '(?P<model>[^']+)' version \d+: {_REASON}",
        rf"failed to load model '(?P<model>[^']+)': {_REASON}",
        rf"Poll failed for model directory '(?P<model>[^']+)': {_REASON}",
        rf"libprotobuf ERROR [^\]]*\] {_REASON}",
        rf"error while loading shared libraries: {_REASON}",
        rf"failed to start \S+ service: {_REASON}",
        rf"^error: (?:creating server: )?{_REASON}",
    )
)


def explain_failure(lines: Iterable[str]) -> str:
    """What the log says of a failed start, in one line: models and reasons, or its last lines."""
    lines = list(lines)
    causes: dict[str, None] = {}
    for pattern in _CAUSES:
        for match in filter(None, map(pattern.search, lines)):
            groups = match.groupdict()
            model = f"model {groups['model']!r}: " if "model" in groups else ""
            causes[f"{model}{groups['reason']}"] = None
    # The last pattern only sums up what the others found.
    found = [text for text in causes if text != "Internal - failed to load all models"]
    return "; ".join(found) or " | ".join(lines[-5:]) or "its log is empty"


class ServerLog:
    """The last lines of the running server, and a file of bounded size with all of them.

    `write` lays out a line of the file, and `echo` is shown it too.
    """

    def __init__(
        self,
        path: Path,
        write: Callable[[str], str] = str,
        echo: Callable[[str], object] = lambda _line: None,
    ) -> None:
        self.path = path
        self._write = write
        self._echo = echo
        self._lines: deque[str] = deque(maxlen=LINES)
        self._file = _BoundedFile(path, maxBytes=FILE_BYTES, backupCount=1, delay=True)
        self._thread: threading.Thread | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines since the last start, oldest first."""
        return tuple(self._lines)

    def follow(self, stream: IO[bytes]) -> None:
        """Take over the output of a new start; the lines of the last one are forgotten."""
        self.finish()
        self._lines.clear()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until the output that was being followed has ended and is all here."""
        if self._thread is not None:
            self._thread.join(timeout=2)

    def close(self) -> None:
        """Finish, and close the file."""
        self.finish()
        with contextlib.suppress(OSError):  # the disk is full: what it holds is all there will be
            self._file.close()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            # A line without an end must not fill the memory; tritonserver must never wait for us.
            while raw := stream.readline(_LINE_CHARS):
                line = raw.decode(errors="replace").rstrip()
                self._lines.append(line)
                written = self._write(line)
                self._file.emit(makeLogRecord({"msg": written}))
                self._echo(written)
                if not raw.endswith(b"\n"):
                    _skip_line(stream)


def _skip_line(stream: IO[bytes]) -> None:
    """Pass over the rest of a line that was cut: read as a line, it could pose as Triton's own."""
    while rest := stream.readline(_LINE_CHARS):
        if rest.endswith(b"\n"):
            return


class _BoundedFile(RotatingFileHandler):
    def handleError(self, record: LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop the line: a full disk must not stop the reading, which would stop the server."""

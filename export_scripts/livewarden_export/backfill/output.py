"""The folder a backfill writes: one file per part, each there whole or not at all.

    manifest.json            which recording, cut how; written first, and compared ever after
    parts/part-000000.jsonl  one row per clip of that part
    summary.json             written when all parts are there

A part is scored as often as it takes, and its file replaced in one step; so each clip has one row,
whenever and however often the run was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from livewarden_export.backfill.errors import BackfillFailed
from livewarden_export.backfill.row import Row, parse_row
from livewarden_export.backfill.source import Part, Source

_FORMAT: Final = "livewarden.backfill.manifest/v1"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the parts in a folder belong to. The server is not in it: rows name their bundle."""

    source: str
    sha256: str
    clips: int
    parts: int
    part_clips: int
    format: str = _FORMAT


class Output:
    """The folder `path`, of one source."""

    def __init__(self, path: Path, source: Source, part_clips: int) -> None:
        self.path = path
        self._source = source
        self._manifest = Manifest(
            source.file.name, source.digest, source.clips, len(source.parts), part_clips
        )

    @contextmanager
    def open(self) -> Iterator[None]:
        """Make the folder or go on with it; no other process may write into it meanwhile.

        Raises BackfillFailed where it belongs to another source, or is being written.
        """
        with ExitStack() as held:
            with self._explain_errors():
                (self.path / "parts").mkdir(parents=True, exist_ok=True)
                lock = held.enter_context((self.path / ".lock").open("w"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise BackfillFailed(
                        f"{self.path}: another backfill is writing into it"
                    ) from None
                self._check_manifest()
            yield

    def list_missing(self, *, errors_too: bool = False) -> list[Part]:
        """List the parts without a file; with `errors_too`, also those with a failed clip."""
        return [
            part
            for part in self._source.parts
            if not self._find_file(part.number).exists()
            or (errors_too and any(row.error for row in self._read_part(part.number)))
        ]

    def write_part(self, number: int, rows: Iterable[Row]) -> None:
        """Write the rows of a part, in one step and onto the disk."""
        with self._explain_errors():
            _replace(self._find_file(number), "".join(row.to_line() for row in rows))

    def write_summary(self, data: dict[str, Any]) -> None:
        """Write summary.json."""
        with self._explain_errors():
            _replace(self.path / "summary.json", json.dumps(data, indent=2) + "\n")

    def read_rows(self) -> Iterator[Row]:
        """Read the rows of all parts that are there, in the order of the recording."""
        for part in self._source.parts:
            if self._find_file(part.number).exists():
                yield from self._read_part(part.number)

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackfillFailed(f"{self.path}: cannot be written ({error.strerror})") from None

    def _find_file(self, number: int) -> Path:
        return self.path / "parts" / f"part-{number:06d}.jsonl"

    def _read_part(self, number: int) -> Iterator[Row]:
        yield from _read_file(self._find_file(number))

    def _check_manifest(self) -> None:
        file = self.path / "manifest.json"
        ours = asdict(self._manifest)
        if not file.exists():
            _replace(file, json.dumps(ours, indent=2) + "\n")
            return
        try:
            theirs = json.loads(file.read_text("utf-8"))
        except ValueError:
            theirs = None
        if theirs != ours:
            raise BackfillFailed(
                f"{file}: belongs to another recording, to this one before it changed, or to "
                "other parts (--part-clips); name a new folder with --output"
            )


def read_output(path: Path) -> Iterator[Row]:
    """Read the rows of the backfill in the folder `path`; raises BackfillFailed."""
    files = sorted((path / "parts").glob("part-*.jsonl"))
    if not files:
        raise BackfillFailed(f"{path}: holds no parts of a backfill")
    for file in files:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            yield parse_row(line, f"{file}:{number}")


def _replace(file: Path, text: str) -> None:
    """Write `file` beside its place, then move it there: a crash leaves the old one, or this."""
    new = file.with_name(f".{file.name}.new")
    with new.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

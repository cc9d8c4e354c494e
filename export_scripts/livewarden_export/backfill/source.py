"""Recorded clips on disk, cut into parts that can be scored one by one, in any order.

Two formats are read, both of which other commands write or read: labelled clips (clips.jsonl, see
`fusion.dataset`), and what `livewarden_client.testing.RecordingTransport` keeps (exchanges.jsonl).
A clip of the first goes by its own id; of the second, by its place in the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from livewarden_client.clip import Clip, Text
from livewarden_client.errors import InvalidRequest
from livewarden_client.recorder import EXCHANGES, load_clip, parse_exchange
from livewarden_export.backfill.errors import BackfillFailed
from livewarden_export.backfill.row import RecordedClip
from livewarden_export.fusion.dataset import CLIPS_FILE, DatasetInvalid, parse_clip

Kind = Literal["clips", "exchanges"]
_KINDS: Final[dict[str, Kind]] = {CLIPS_FILE: "clips", EXCHANGES: "exchanges"}


@dataclass(frozen=True, slots=True)
class Part:
    """`clips` clips of a source: bytes [`start`, `stop`) of `file`, whose first line is `line`."""

    number: int
    file: str
    kind: Kind
    start: int
    stop: int
    line: int
    clips: int


@dataclass(frozen=True, slots=True)
class Source:
    """The clips of one file: how many, in which parts; `digest` is the file's SHA-256."""

    file: Path
    kind: Kind
    clips: int
    parts: tuple[Part, ...]
    digest: str


def open_source(path: Path, part_clips: int) -> Source:
    """Open the recording at `path`, a folder or its .jsonl file, in parts of `part_clips` clips.

    The file is read once, line by line. Raises BackfillFailed where it is no recording, and where
    two clips share an id.
    """
    file, kind = _find_file(path)
    digest, ids, marks = hashlib.sha256(), set[bytes](), [(0, 1)]
    clips = place = 0
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    if clips and clips % part_clips == 0:
                        marks.append((place, number))
                    clips += 1
                    if kind == "clips":
                        _add_id(ids, line, f"{file}:{number}")
                digest.update(line)
                place += len(line)
    except OSError as error:
        raise BackfillFailed(f"{file}: cannot be read ({error.strerror})") from None
    if not clips:
        raise BackfillFailed(f"{file}: holds no clips")
    ends = [start for start, _ in marks[1:]] + [place]
    parts = tuple(
        Part(
            number, str(file), kind, start, stop, line, min(part_clips, clips - number * part_clips)
        )
        for number, ((start, line), stop) in enumerate(zip(marks, ends, strict=True))
    )
    return Source(file, kind, clips, parts, digest.hexdigest())


def read_part(part: Part) -> Iterator[RecordedClip]:
    """Read the clips of `part`, one by one; media are read when a clip is loaded."""
    file = Path(part.file)
    with file.open("rb") as lines:
        lines.seek(part.start)
        number = part.line
        while lines.tell() < part.stop:
            line = lines.readline()
            if line.strip():
                read = _read_exchange if part.kind == "exchanges" else _read_labelled
                yield read(line, file, number)
            number += 1


def _find_file(path: Path) -> tuple[Path, Kind]:
    if path.is_dir():
        found = [path / name for name in _KINDS if (path / name).is_file()]
        if len(found) != 1:
            raise BackfillFailed(
                f"{path}: holds {'both' if found else 'neither'} of {' and '.join(_KINDS)}; "
                "name the file of clips"
            )
        path = found[0]
    try:
        return path.resolve(), _KINDS.get(path.name, "clips")
    except OSError as error:
        raise BackfillFailed(f"{path}: cannot be read ({error.strerror})") from None


def _add_id(ids: set[bytes], line: bytes, where: str) -> None:
    try:
        row = json.loads(line)
    except ValueError:
        raise BackfillFailed(f"{where}: is not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise BackfillFailed(f"{where}: must be an object with a text 'id'")
    # A hash, so that millions of long ids fit into memory.
    key = hashlib.sha256(row["id"].encode("utf-8", "surrogatepass")).digest()[:16]
    if key in ids:
        raise BackfillFailed(f"{where}: an earlier clip has the same id")
    ids.add(key)


def _read_labelled(line: bytes, file: Path, number: int) -> RecordedClip:
    identity: str = json.loads(line)["id"]

    def load() -> Clip:
        try:
            clip = parse_clip(f"line {number}", line.decode(), file.parent)
        except (DatasetInvalid, UnicodeDecodeError):
            raise InvalidRequest("the line is no clip of the format of clips.jsonl") from None
        return Clip(
            frames=[(file.parent / frame).read_bytes() for frame in clip.frames],
            texts=[Text(kind, text) for kind, text in clip.texts],  # type: ignore[arg-type]  # checked by parse_clip
        )

    return RecordedClip(identity, load)


def _read_exchange(line: bytes, file: Path, number: int) -> RecordedClip:
    def load() -> Clip:
        exchange = parse_exchange(line, f"line {number}")
        # The stream's memory is the old server's, under its key: each clip is judged by itself.
        exchange["request"]["context"].pop("state", None)
        return load_clip(exchange, file.parent)

    try:
        before = json.loads(line).get("verdict", {}).get("action")
    except (ValueError, AttributeError):
        before = None
    return RecordedClip(f"exchange-{number}", load, before)

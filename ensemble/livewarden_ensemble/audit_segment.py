"""Files of the audit log: segments, heads, and how they are named and read.

A writer is one process. Its segments `WRITER.00000000.jsonl`, `WRITER.00000001.jsonl` and so on
are one chain: a segment begins with a `SegmentRecord` that holds the last seal of the one before.
`WRITER.head` says how far the chain has been acknowledged. No file has two writers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from livewarden_ensemble.audit_chain import (
    MAX_LINE_BYTES,
    START,
    follow,
    read_line,
    seal,
    write_line,
)
from livewarden_ensemble.audit_record import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from livewarden_ensemble.audit_key import AuditKey, AuditKeys

WRITER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEGMENT: Final = re.compile(rf"(?P<writer>{WRITER.pattern})\.(?P<index>[0-9]{{8}})\.jsonl")
# One sector: overwritten in place, it is on disk either as it was or as it is to be.
HEAD_BYTES: Final = 512
# Read while it is being overwritten, a head can be half old and half new; not so the next time.
_HEAD_TRIES: Final = 3
# The other writers named in a segment: the latest ones, of however many there have been.
MAX_WITNESSED: Final = 64


class Mark(msgspec.Struct, frozen=True):
    """A place in a chain: the seal of the line before number `seq`, in segment `segment`."""

    segment: int = -1
    seq: int = 0
    chain: str = START


class SegmentRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="segment"):
    """The first line of a segment.

    `seq` is its number in the writer's chain, `previous` where the chain stood before.
    `torn_bytes` were left over from a write that nobody was told of, and cut off; `damage` says
    what else was found wrong. `others` is where the chains of the other writers stood.
    """

    writer: str
    segment: int
    seq: int
    previous: Mark
    key: str
    opened_ms: int
    torn_bytes: int = 0
    damage: str | None = None
    others: dict[str, Mark] = msgspec.field(default_factory=dict)
    format: str = FORMAT


class HeadRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="head"):
    """How far the chain of `writer` has been acknowledged."""

    writer: str
    mark: Mark
    key: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's file, by its name."""

    writer: str
    index: int
    path: Path


@dataclass(slots=True)
class Walk:
    """What a walk along a segment has found.

    `header` is None where its first line is not good; `end` is where the good lines end, of `size`
    bytes; `mark` is the place after them. `chains` holds the seals asked for, by number.
    """

    size: int
    header: SegmentRecord | None = None
    fault: str = ""
    end: int = 0
    mark: Mark = field(default_factory=Mark)
    chains: dict[int, str] = field(default_factory=dict)


def name_segment(folder: Path, writer: str, index: int) -> Path:
    """Name the file of segment `index` of `writer`."""
    return folder / f"{writer}.{index:08d}.jsonl"


def name_head(folder: Path, writer: str) -> Path:
    """Name the file of the head of `writer`."""
    return folder / f"{writer}.head"


def list_segments(folder: Path) -> dict[str, list[Segment]]:
    """List the segments in `folder` per writer, in order."""
    segments: dict[str, list[Segment]] = {}
    for path in sorted(folder.iterdir()):
        if found := _SEGMENT.fullmatch(path.name):
            segment = Segment(found["writer"], int(found["index"]), path)
            segments.setdefault(segment.writer, []).append(segment)
    return segments


def list_heads(folder: Path) -> list[Path]:
    """List the heads in `folder`, the ones written last first."""
    return sorted(folder.glob("*.head"), key=lambda path: -path.stat().st_mtime_ns)


def encode_head(record: HeadRecord, key: AuditKey) -> bytes:
    """Encode a head, sealed with `key`: one line of HEAD_BYTES."""
    payload = msgspec.json.encode(record)
    line = write_line(payload, seal(payload, START, key.chain))
    return line[:-1].ljust(HEAD_BYTES - 1) + b"\n"


def read_head(path: Path, keys: AuditKeys) -> HeadRecord | None:
    """Read the head at `path`; None where it is not one that a key in `keys` has sealed."""
    for _ in range(_HEAD_TRIES):
        head = _check_head(path.read_bytes(), keys)
        if head is not None:
            return head if path.name == name_head(path.parent, head.writer).name else None
    return None


def _check_head(raw: bytes, keys: AuditKeys) -> HeadRecord | None:
    line = raw.rstrip(b" \n") + b"\n"
    read = read_line(line)
    if read is None or raw != line[:-1].ljust(HEAD_BYTES - 1) + b"\n":
        return None
    try:
        head = msgspec.json.decode(read[1], type=HeadRecord)
    except (msgspec.DecodeError, ValueError):
        return None
    key = keys.all.get(head.key)
    return head if key and any(follow([line], START, key.chain)) else None


def read_header(segment: Segment, keys: AuditKeys) -> SegmentRecord | None:
    """Read the header of `segment`; None where it is not good."""
    with segment.path.open("rb") as file:
        read = _check_header(file.readline(MAX_LINE_BYTES), segment, keys)
    return None if isinstance(read, str) else read[0]


def walk_segment(
    segment: Segment,
    keys: AuditKeys,
    *,
    wanted: Collection[int] = (),
    see: Callable[[bytes], None] = lambda _record: None,
) -> Walk:
    """Walk along `segment` to its end or its first bad line; `see` is shown each good record.

    Keeps the seal before each line whose number is in `wanted`, and after the last good line.
    """
    walk = Walk(size=segment.path.stat().st_size)
    with segment.path.open("rb") as file:
        first = file.readline(MAX_LINE_BYTES)
        read = _check_header(first, segment, keys)
        if isinstance(read, str):
            walk.fault = read
            return walk
        walk.header, chain = read
        walk.end, seq = len(first), walk.header.seq + 1
        lines = iter(lambda: file.readline(MAX_LINE_BYTES), b"")
        for link in follow(lines, chain, keys.all[walk.header.key].chain, walk.end):
            if seq in wanted:
                walk.chains[seq] = chain
            see(link.record)
            walk.end, chain = link.end, link.chain
            seq += 1
    walk.chains[seq] = chain
    walk.mark = Mark(segment.index, seq, chain)
    return walk


def _check_header(
    line: bytes, segment: Segment, keys: AuditKeys
) -> tuple[SegmentRecord, str] | str:
    """Read a segment's first line and its seal, or say what is wrong with it."""
    read = read_line(line)
    try:
        header = msgspec.json.decode(read[1] if read else b"", type=SegmentRecord)
    except (msgspec.DecodeError, ValueError):
        return "its first line is no header"
    if header.format != FORMAT:
        return f"its format is {header.format!r}; this program reads {FORMAT!r}"
    key = keys.all.get(header.key)
    if key is None:
        return f"its key {header.key!r} is not in the key file"
    link = next(follow([line], START, key.chain), None)
    if link is None:
        return "its header has been changed"
    if (header.writer, header.segment) != (segment.writer, segment.index):
        return f"it is segment {header.segment} of {header.writer}, under another name"
    return header, link.chain

"""Verification of an audit log: every line, link and witness of a folder, read only."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from livewarden_ensemble.audit_record import AuditRecord
from livewarden_ensemble.audit_segment import (
    HeadRecord,
    Mark,
    Segment,
    SegmentRecord,
    Walk,
    list_heads,
    list_segments,
    name_head,
    read_head,
    read_header,
    walk_segment,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from livewarden_ensemble.audit_key import AuditKeys

_DECODER: Final = msgspec.json.Decoder(AuditRecord)


class Finding(msgspec.Struct, frozen=True):
    """One thing found: a `fault` is a gap or a change, a `note` is worth knowing and no more."""

    kind: Literal["fault", "note"]
    file: str
    message: str
    line: int | None = None


class Chain(msgspec.Struct, frozen=True):
    """The chain of one writer: how much there is of it, from when to when (Unix ms), its end."""

    segments: int
    records: int
    first_ms: int | None
    last_ms: int | None
    mark: Mark


class AuditReport(msgspec.Struct, frozen=True):
    """What a verification has found.

    The `mark` of each chain is where it ends: kept elsewhere, it proves later that nothing was
    cut off.
    """

    intact: bool
    chains: dict[str, Chain]
    findings: tuple[Finding, ...]


def verify_log(
    folder: Path,
    keys: AuditKeys,
    *,
    known: Mapping[str, Mark] | None = None,
    is_pruned: bool = False,
    on_segment: Callable[[Segment], None] = lambda _segment: None,
) -> AuditReport:
    """Verify every chain in `folder`; safe while writers write.

    `known` holds the marks of an earlier report: each chain must still pass there. `is_pruned`
    says that the oldest segments of each writer may have been deleted on purpose.
    """
    findings: list[Finding] = []
    # In this order, because writers go on meanwhile: what is said of a chain is read before it is.
    heads = _read_heads(folder, keys, findings)
    headers = {
        own.path: read_header(own, keys) for each in list_segments(folder).values() for own in each
    }
    witnesses: dict[str, list[_Witness]] = {}
    for writer, mark, source in (
        *((writer, mark, "the earlier report") for writer, mark in (known or {}).items()),
        *((head.writer, head.mark, f"{head.writer}.head") for head in heads),
        *(
            (writer, mark, path.name)
            for path, header in headers.items()
            if header
            for writer, mark in header.others.items()
        ),
    ):
        witnesses.setdefault(writer, []).append(_Witness(mark, source))
    segments = list_segments(folder)
    named = {head.writer for head in heads}
    chains = {}
    for writer in sorted({*segments, *witnesses}):
        walker = _ChainWalker(writer, witnesses.get(writer, []), keys, findings, is_pruned)
        own = segments.get(writer, [])
        for segment, follower in zip_longest(own, own[1:]):
            on_segment(segment)
            walker.walk(segment, read_header(follower, keys) if follower else None, not follower)
        chains[writer] = walker.finish()
        # A writer that began meanwhile has got its head since.
        head = name_head(folder, writer)
        is_headless = writer not in named and not (head.exists() and read_head(head, keys))
        if chains[writer].records and is_headless:
            findings.append(Finding("fault", f"{writer}.head", "is missing or not good"))
    intact = not any(finding.kind == "fault" for finding in findings)
    return AuditReport(intact, chains, tuple(findings))


def _read_heads(folder: Path, keys: AuditKeys, findings: list[Finding]) -> list[HeadRecord]:
    heads = []
    for path in list_heads(folder):
        head = read_head(path, keys)
        if head is None:
            findings.append(Finding("fault", path.name, "is not as it was written"))
        else:
            heads.append(head)
    return heads


@dataclass(frozen=True, slots=True)
class _Witness:
    """A place that a chain must have passed, and the file that says so."""

    mark: Mark
    source: str


@dataclass(slots=True)
class _ChainWalker:
    """Walks along one writer's segments in order; what it finds goes to `findings`."""

    writer: str
    witnesses: Sequence[_Witness]
    keys: AuditKeys
    findings: list[Finding]
    is_pruned: bool
    segments: int = 0
    records: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    first: int | None = None
    last: Segment | None = None
    passed: dict[tuple[int, int], str] = field(default_factory=dict)
    mark: Mark = field(default_factory=Mark)

    def walk(self, segment: Segment, follower: SegmentRecord | None, is_last: bool) -> None:  # noqa: FBT001 - private
        """Walk along `segment`; `follower` is the header of the next one."""
        here = [w.mark for w in self.witnesses if w.mark.segment == segment.index]
        wanted = {mark.seq for mark in here}
        if follower is not None:
            wanted.add(follower.previous.seq)
        walk = walk_segment(segment, self.keys, wanted=wanted, see=self._see)
        self._check_place(segment)
        self.segments += 1
        self.last = segment
        if walk.header is None:
            self._find("fault", segment, walk.fault, 1)
            return
        self._check_header(segment, walk.header)
        self._check_end(segment, walk, is_last=is_last, most=max(wanted, default=0))
        self.passed |= {(segment.index, seq): chain for seq, chain in walk.chains.items()}
        self.mark = walk.mark

    def finish(self) -> Chain:
        """Check what others have seen of the chain, and sum it up."""
        for witness in self.witnesses:
            mark = witness.mark
            if self.is_pruned and self.first is not None and mark.segment < self.first:
                continue
            if mark.seq and self.passed.get((mark.segment, mark.seq)) != mark.chain:
                message = f"line {mark.seq} of {self.writer}, seen there, is missing or changed"
                self.findings.append(Finding("fault", witness.source, message))
        return Chain(self.segments, self.records, self.first_ms, self.last_ms, self.mark)

    def _see(self, record: bytes) -> None:
        try:
            decided_ms = _DECODER.decode(record).decided_ms
        except (msgspec.DecodeError, ValueError):
            self.findings.append(Finding("fault", self.writer, "holds a line that is no record"))
            return
        self.records += 1
        self.first_ms = decided_ms if self.first_ms is None else self.first_ms
        self.last_ms = decided_ms

    def _check_place(self, segment: Segment) -> None:
        before = -1 if self.last is None else self.last.index
        if self.last is None:
            self.first = segment.index
        if segment.index != before + 1:
            is_allowed = self.is_pruned and self.last is None
            missing = f"segments {before + 1} to {segment.index - 1} before it are missing"
            self._find("note" if is_allowed else "fault", segment, missing)

    def _check_header(self, segment: Segment, header: SegmentRecord) -> None:
        previous = header.previous
        if header.seq != previous.seq:
            self._find("fault", segment, "its number is not the one after the last", 1)
        if previous.segment == segment.index - 1 and segment.index != self.first:
            place = (previous.segment, previous.seq)
            if self.passed.get(place) != previous.chain:
                self._find("fault", segment, "does not go on from the segment before", 1)
            elif self.mark.seq > previous.seq:
                extra = self.mark.seq - previous.seq
                self._find("note", segment, f"{extra} lines before it were never acknowledged", 1)
        elif previous.segment != segment.index - 1:
            self._find("fault", segment, f"goes on from segment {previous.segment}", 1)
        if header.damage is not None:
            self._find("fault", segment, f"its writer found: {header.damage}", 1)
        if header.torn_bytes:
            cut = f"{header.torn_bytes} bytes of an unfinished write before it were cut off"
            self._find("note", segment, cut, 1)

    def _check_end(self, segment: Segment, walk: Walk, *, is_last: bool, most: int) -> None:
        if walk.end == walk.size or walk.header is None:
            return
        line = walk.mark.seq - walk.header.seq + 1
        if is_last and most <= walk.mark.seq:
            rest = walk.size - walk.end
            self._find("note", segment, f"{rest} bytes of an unfinished write at its end", line)
        else:
            self._find("fault", segment, "is changed here, or lines are missing", line)

    def _find(
        self,
        kind: Literal["fault", "note"],
        segment: Segment,
        message: str,
        line: int | None = None,
    ) -> None:
        self.findings.append(Finding(kind, segment.path.name, message, line))

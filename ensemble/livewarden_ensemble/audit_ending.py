"""Where a writer's chain ended, found out from its files after whatever ended it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from livewarden_ensemble.audit_segment import (
    HeadRecord,
    Mark,
    Segment,
    Walk,
    list_segments,
    name_head,
    read_head,
    walk_segment,
)

if TYPE_CHECKING:
    from pathlib import Path

    from livewarden_ensemble.audit_key import AuditKeys


@dataclass(frozen=True, slots=True)
class Ending:
    """The place from which the chain goes on.

    `torn` is the segment whose bytes from `keep` on belong to a write that nobody was told of.
    `damage` says what is wrong with what *was* acknowledged, None where nothing is.
    """

    mark: Mark
    torn: Segment | None = None
    keep: int = 0
    damage: str | None = None


def find_ending(folder: Path, writer: str, keys: AuditKeys) -> Ending:
    """Find where the chain of `writer` in `folder` ended.

    The head is never ahead of the disk. So what it names must be there: where it is not, lines
    were lost or changed, and nothing is cut off. What lies beyond it in the last segment and is
    not whole was being written when the writer ended.
    """
    path = name_head(folder, writer)
    has_head = path.exists()
    head = read_head(path, keys) if has_head else None
    segments = list_segments(folder).get(writer, [])
    if not segments:
        damage = (
            ("all segments are gone" if head else "the head is unreadable") if has_head else None
        )
        return Ending(head.mark if head else Mark(), damage=damage)
    last = segments[-1]
    walk = walk_segment(last, keys, wanted={head.mark.seq} if head else ())
    reached = walk.mark if walk.header else Mark(last.index)
    damage = _find_damage(last, walk, head, has_head=has_head)
    if damage is not None:
        is_ahead = head is not None and head.mark.segment >= reached.segment
        return Ending(head.mark if head and is_ahead else reached, damage=damage)
    if walk.end < walk.size:
        return Ending(reached, torn=last, keep=walk.end)
    return Ending(reached)


def _find_damage(
    last: Segment, walk: Walk, head: HeadRecord | None, *, has_head: bool
) -> str | None:
    """Say what is wrong with the last segment or the head, if anything is."""
    if walk.header is None:
        return f"{last.path.name}: {walk.fault}"
    if head is None:
        # A first segment gets its head before its first verdict.
        is_new = last.index == 0 and walk.mark.seq == walk.header.seq + 1 and not has_head
        return None if is_new else "the head is missing or unreadable"
    if head.mark.segment > last.index:
        return f"segment {head.mark.segment} is gone"
    if head.mark.segment == last.index and walk.chains.get(head.mark.seq) != head.mark.chain:
        return f"{last.path.name}: acknowledged lines are missing or changed"
    return None


def cut_tail(segment: Segment, keep: int) -> int:
    """Move what lies beyond byte `keep` of `segment` into a `.torn` file; returns its length.

    It was never acknowledged, but nothing of an audit log is thrown away.
    """
    with segment.path.open("r+b") as file:
        file.seek(keep)
        tail = file.read()
        torn = segment.path.with_suffix(".torn")
        with torn.open("ab") as aside:
            aside.write(tail)
            aside.flush()
            os.fsync(aside.fileno())
        file.truncate(keep)
        os.fsync(file.fileno())
    return len(tail)

"""The audit log's writer: records on disk before their verdicts leave, or no verdict at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Final, Self

import msgspec

from livewarden_ensemble.audit_chain import START, seal, write_line
from livewarden_ensemble.audit_ending import cut_tail, find_ending
from livewarden_ensemble.audit_segment import (
    MAX_WITNESSED,
    WRITER,
    HeadRecord,
    Mark,
    SegmentRecord,
    encode_head,
    list_heads,
    name_head,
    name_segment,
    read_head,
)
from livewarden_ensemble.errors import AuditInvalid, AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from livewarden_ensemble.audit_key import AuditKeys
    from livewarden_ensemble.audit_record import AuditRecord

SEGMENT_BYTES: Final = 64 * 1024 * 1024

# What passes by itself; any other error at the start is a mistake that somebody must mend.
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM})


class AuditLog:
    """Appends records to one writer's chain of segments in a folder that writers may share.

    Safe to call from several threads; one process at a time may hold a writer id.
    """

    def __init__(
        self,
        folder: Path,
        keys: AuditKeys,
        writer: str,
        *,
        segment_bytes: int,
        now_ms: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._writer = writer
        self._segment_bytes = segment_bytes
        self._now_ms = now_ms
        self._mutex = threading.Lock()
        self._claim: int | None = None
        self._file: _SegmentFile | None = None
        self._head: int | None = None
        self._mark: Mark | None = None
        self._torn_bytes = 0
        self._unwritten_damage: str | None = None
        self._damage: str | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        keys: AuditKeys,
        writer: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        now_ms: Callable[[], float] = lambda: time.time() * 1e3,
    ) -> Self:
        """Open the chain of `writer` in `folder`, and mend what a crash left behind.

        A segment is closed once it has `segment_bytes`; `now_ms` gives Unix milliseconds. Raises
        AuditInvalid where the folder cannot be used, or another process writes as `writer`. A full
        disk is no error here: `append` raises until there is space.
        """
        if not WRITER.fullmatch(writer):
            raise AuditInvalid(f"audit log: {writer!r} is no writer id; {WRITER.pattern} is")
        log = cls(folder, keys, writer, segment_bytes=segment_bytes, now_ms=now_ms)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            log._recover()
        except OSError as error:
            if error.errno not in _PASSING:
                log.close()
                raise AuditInvalid(f"audit log {folder}: {error.strerror}") from None
        return log

    @property
    def damage(self) -> str | None:
        """What was found wrong with acknowledged records at the start; None where nothing was."""
        return self._damage

    @property
    def seq(self) -> int:
        """How many lines the chain has; shown as a metric, it is a witness on another machine."""
        return self._mark.seq if self._mark else 0

    def append(self, records: Sequence[AuditRecord]) -> None:
        """Append `records` with one fsync; once this returns, they are on disk.

        Raises AuditUnavailable where they are not: then none of them counts, and no verdict that
        they stand for may leave. The next call tries again by itself.
        """
        payloads = [msgspec.json.encode(record) for record in records]
        if not payloads:
            return
        with self._mutex:
            try:
                self._write(payloads)
            except OSError as error:
                raise AuditUnavailable(
                    f"audit log {self._folder}: {error.strerror}; verdicts are held back until "
                    "it can be written"
                ) from None

    def close(self) -> None:
        """Close the files, and let another process write as this writer."""
        with self._mutex:
            self._drop_file()
            for descriptor in (self._head, self._claim):
                if descriptor is not None:
                    os.close(descriptor)
            self._head = self._claim = self._mark = None

    def _recover(self) -> Mark:
        """Take the writer id, and find where its chain goes on."""
        if self._claim is None:
            self._claim = _claim_writer(self._folder, self._writer)
        ending = find_ending(self._folder, self._writer, self._keys)
        if ending.torn is not None:
            self._torn_bytes = cut_tail(ending.torn, ending.keep)
        self._damage = self._unwritten_damage = ending.damage
        self._mark = ending.mark
        return ending.mark

    def _write(self, payloads: Sequence[bytes]) -> None:
        mark = self._mark or self._recover()
        file = self._file
        if file is None or file.size >= self._segment_bytes:
            file, mark = self._start_segment(mark)
        chain, key = mark.chain, self._keys.current.chain
        lines = []
        for payload in payloads:
            chain = seal(payload, chain, key)
            lines.append(write_line(payload, chain))
        try:
            file.commit(b"".join(lines))
        except OSError:
            if file.is_doubtful:
                self._drop_file()
            raise
        self._mark = Mark(mark.segment, mark.seq + len(lines), chain)
        self._move_head()

    def _start_segment(self, previous: Mark) -> tuple[_SegmentFile, Mark]:
        """Start the segment after `previous`; it counts only once it has its name."""
        self._drop_file()
        index = previous.segment + 1
        record = SegmentRecord(
            writer=self._writer,
            segment=index,
            seq=previous.seq,
            previous=previous,
            key=self._keys.current.id,
            opened_ms=round(self._now_ms()),
            torn_bytes=self._torn_bytes,
            damage=self._unwritten_damage,
            others=self._read_others(),
        )
        payload = msgspec.json.encode(record)
        chain = seal(payload, START, self._keys.current.chain)
        path = name_segment(self._folder, self._writer, index)
        draft = path.with_suffix(".new")
        file = _SegmentFile(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640))
        try:
            file.commit(write_line(payload, chain))
            draft.rename(path)
            self._sync_folder()
            mark = Mark(index, previous.seq + 1, chain)
            self._create_head(mark)
        except OSError:
            file.close()
            draft.unlink(missing_ok=True)
            raise
        self._file, self._mark = file, mark
        self._torn_bytes, self._unwritten_damage = 0, None
        return file, mark

    def _read_others(self) -> dict[str, Mark]:
        """Read where the other writers stand, so that none of them can vanish unseen."""
        others: dict[str, Mark] = {}
        for path in list_heads(self._folder)[: MAX_WITNESSED + 1]:
            with contextlib.suppress(FileNotFoundError):
                head = read_head(path, self._keys)
                if head is not None and head.writer != self._writer:
                    others[head.writer] = head.mark
        return others

    def _create_head(self, mark: Mark) -> None:
        """Write the head as a new file, on disk when this returns."""
        path = name_head(self._folder, self._writer)
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            os.pwrite(descriptor, self._encode_head(mark), 0)
            os.fdatasync(descriptor)
            draft.rename(path)
            self._sync_folder()
        except OSError:
            os.close(descriptor)
            raise
        if self._head is not None:
            os.close(self._head)
        self._head = descriptor

    def _move_head(self) -> None:
        """Overwrite the head in place, unsynced: it may lag behind the log, never lead it."""
        if self._mark is not None and self._head is not None:
            os.pwrite(self._head, self._encode_head(self._mark), 0)

    def _encode_head(self, mark: Mark) -> bytes:
        key = self._keys.current
        return encode_head(HeadRecord(self._writer, mark, key.id), key)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _SegmentFile:
    """An open segment: `size` bytes of it are on disk.

    `is_doubtful` is true once a sync has failed: the kernel may have dropped what it could not
    write and report success next time, so the file takes no more lines.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 0
        self.is_doubtful = False

    def commit(self, data: bytes) -> None:
        """Append `data` and sync it; on an error the file is as long as it was."""
        written = 0
        try:
            while written < len(data):
                # A disk that fills up takes a part first, and refuses the rest.
                written += os.pwrite(self._descriptor, data[written:], self.size + written)
        except OSError:
            self._cut_back()
            raise
        try:
            os.fdatasync(self._descriptor)
        except OSError:
            self.is_doubtful = True
            self._cut_back()
            raise
        self.size += len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            self.is_doubtful = True


def name_writer(*parts: str) -> str:
    """Make a writer id of `parts`, such as host and instance, that must be unique together."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", "-".join(parts))[-64:]


def _claim_writer(folder: Path, writer: str) -> int:
    """Take the lock that one process at a time can hold; the kernel frees it when that one ends."""
    descriptor = os.open(folder / f"{writer}.lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AuditInvalid(
            f"audit log {folder}: another process writes as {writer!r}; give each its own id"
        ) from None
    return descriptor

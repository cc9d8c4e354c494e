"""Progress: what a stub is at, written where the supervisor can read it without asking.

Triton 2.51 has no limit on how long a model may run, and its heartbeat goes on while one hangs. So
each stub counts its steps in a small file; counts that stand still while it works are a hang.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Final, Self


class Doing(IntEnum):
    """What a stub does with its time."""

    IDLE = 0
    WORKING = 1  # its own code runs
    WAITING = 2  # for the leaves that it called; whether those hang, their own files tell


@dataclass(frozen=True, slots=True)
class Work:
    """One look at a stub: requests `taken` and `ended`, `steps` of any kind, and foreign replies.

    `crossed` counts answers that belonged to another question; they were thrown away.
    """

    doing: Doing = Doing.IDLE
    steps: int = 0
    taken: int = 0
    ended: int = 0
    crossed: int = 0

    def pack(self) -> bytes:
        """The bytes of the file."""
        return _LAYOUT.pack(self.doing, self.steps, self.taken, self.ended, self.crossed)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What the file says; None where it is gone, or its stub says nothing."""
        try:
            doing, *counts = _LAYOUT.unpack(path.read_bytes())
            return cls(Doing(doing), *counts)
        except (OSError, struct.error, ValueError):
            return None


_LAYOUT: Final = struct.Struct(f"<{len(fields(Work))}Q")


class Progress:
    """The writing end, for the one thread that executes; `path` None keeps it to itself."""

    def __init__(self, path: Path | None) -> None:
        self._doing = Doing.IDLE
        self._steps = self._taken = self._ended = self._crossed = 0
        # An open file, written in place: this cannot fail later for want of disk or descriptors.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600) if path else None
        self._write()

    @contextlib.contextmanager
    def work(self, requests: int) -> Iterator[None]:
        """One execution of `requests` requests."""
        self._taken += requests
        self._enter(Doing.WORKING)
        try:
            yield
        finally:
            self._ended += requests
            self._enter(Doing.IDLE)

    @contextlib.contextmanager
    def wait(self) -> Iterator[None]:
        """Calls to leaves, within `work`."""
        self._enter(Doing.WAITING)
        try:
            yield
        finally:
            self._enter(Doing.WORKING)

    def step(self) -> None:
        """Something got done."""
        self._enter(self._doing)

    def note_crossed(self) -> None:
        """An answer to another question came: the supervisor replaces the server."""
        self._crossed += 1
        self.step()

    def close(self) -> None:
        """Stop writing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _enter(self, doing: Doing) -> None:
        self._doing = doing
        self._steps += 1
        self._write()

    def _write(self) -> None:
        if self._file is not None:
            work = Work(self._doing, self._steps, self._taken, self._ended, self._crossed)
            with contextlib.suppress(OSError):  # no verdict may fail for the want of a report
                os.pwrite(self._file, work.pack(), 0)

"""One region of system shared memory: made, filled, and never left behind. Linux only."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's place, not a temporary file
# The process id follows, for people; whether the owner lives is told by a lock, which holds
# across containers and when ids are given out again.
PREFIX: Final = "livewarden_frames_"


class Region:
    """`byte_size` bytes that another process of this machine can map by `name`.

    The file can be read by its own user alone, and is locked for as long as its owner lives.
    """

    def __init__(self, name: str, handle: int, byte_size: int) -> None:
        self.name = name
        self.byte_size = byte_size
        self._handle = handle
        self._memory = mmap.mmap(handle, byte_size)

    @classmethod
    def create(cls, byte_size: int) -> Self:
        """Make a region; OSError where there is no room for it, or no /dev/shm."""
        name, handle = _create_locked()
        try:
            # Without this, memory that is not there would end the process at the first write.
            os.posix_fallocate(handle, 0, byte_size)
            return cls(name, handle, byte_size)
        except BaseException:
            _find(name).unlink(missing_ok=True)
            os.close(handle)
            raise

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Copy `pixels` to the beginning, in C order; the only copy that the caller makes."""
        target = np.frombuffer(self._memory, np.uint8, pixels.size).reshape(pixels.shape)
        np.copyto(target, pixels)

    def unlink(self) -> None:
        """Take the name away; whoever has mapped the region keeps it."""
        _find(self.name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the name away and give the memory back, also where the server still maps it."""
        self.unlink()
        with suppress(ValueError, BufferError):  # removed before; written to at this moment
            self._memory.madvise(mmap.MADV_REMOVE)
            self._memory.close()
            os.close(self._handle)


def sweep_regions() -> None:
    """Remove the regions whose owner was killed."""
    for path in SHARED_MEMORY.glob(f"{PREFIX}*"):
        with suppress(OSError), _open(path) as handle:  # another user's; its owner lives
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            if size := os.fstat(handle).st_size:
                with mmap.mmap(handle, size) as memory:
                    memory.madvise(mmap.MADV_REMOVE)


def is_gone(name: str) -> bool:
    """Tell whether `name` is that of a region of ours that no longer exists."""
    return name.startswith(PREFIX) and not _find(name).exists()


@contextmanager
def _open(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _find(name: str) -> Path:
    return SHARED_MEMORY / name


def _create_locked() -> tuple[str, int]:
    while True:
        name = f"{PREFIX}{os.getpid()}_{secrets.token_hex(8)}"
        handle = os.open(_find(name), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # A sweep that comes between making and locking takes the file away.
        if os.fstat(handle).st_nlink:
            return name, handle
        os.close(handle)

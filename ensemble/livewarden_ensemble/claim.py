"""The claim: which names in /dev/shm and which runtime directory belong to one server of ours.

A claim is a lock file that the supervisor and its keeper hold through one open file description:
the kernel frees it exactly when both are dead. Unlike a process id in a name it cannot be reused,
and it holds across containers that share /dev/shm.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from livewarden_ensemble.keeper import SHARED_MEMORY, remove_shared_memory

# What the names of every claim begin with.
START: Final = "lw_"


@dataclass(slots=True)
class Claim:
    """The right to all names that begin with `lw_<token>`; `lock` is the descriptor held open."""

    token: str
    lock: int
    released: bool = False

    @property
    def lock_path(self) -> Path:
        """The lock file, deleted last of all."""
        return SHARED_MEMORY / f"{START}{self.token}.lock"

    @property
    def runtime(self) -> Path:
        """The directory, mode 0700, for the backend folder and the log."""
        return _name_runtime(self.token)

    def name_prefix(self, generation: int) -> str:
        """The prefix of the shared memory of start number `generation`; no other start has it."""
        return f"{START}{self.token}_{generation}_"

    def release(self) -> None:
        """Delete everything that belongs to the claim, and the claim; once."""
        if self.released:
            return
        self.released = True
        shutil.rmtree(self.runtime, ignore_errors=True)
        remove_shared_memory(f"{START}{self.token}_")
        self.lock_path.unlink(missing_ok=True)
        os.close(self.lock)


def take_claim() -> Claim:
    """A new claim with an empty runtime directory. What dead servers of ours left is deleted."""
    remove_stale()
    while True:
        token = secrets.token_hex(4)
        path = SHARED_MEMORY / f"{START}{token}.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        if _lock(lock):
            _name_runtime(token).mkdir(mode=0o700)
            return Claim(token, lock)
        os.close(lock)  # another server took our new file for a stale one


def remove_stale() -> None:
    """Kill the processes and delete the files of every claim that nobody holds any more."""
    for path in SHARED_MEMORY.glob(f"{START}*.lock"):
        try:
            lock = os.open(path, os.O_RDWR)
        except (FileNotFoundError, PermissionError):  # just released; another user's
            continue
        if _lock(lock):
            token = path.name.removeprefix(START).removesuffix(".lock")
            kill_processes(f"{START}{token}_")
            Claim(token, lock).release()
        else:
            os.close(lock)


def list_claims() -> dict[str, bool]:
    """Whether somebody holds it, for each claim that this user may look at, by its token."""
    claims = {}
    for path in sorted(SHARED_MEMORY.glob(f"{START}*.lock")):
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError:  # just released; another user's
            continue
        try:
            # Shared, so that two who look do not take each other for the holder.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            held = False
        except BlockingIOError:
            held = True
        finally:
            os.close(lock)
        claims[path.name.removeprefix(START).removesuffix(".lock")] = held
    return claims


def kill_processes(prefix: str) -> None:
    """Kill every process with `prefix` in its command line: a tritonserver and its stubs.

    A stub that is paused is killed as it is: resumed, it would answer a question of the past.
    """
    for process in psutil.process_iter(["cmdline"]):
        if any(prefix in part for part in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours now, and its file still has a name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _name_runtime(token: str) -> Path:
    return Path(tempfile.gettempdir()) / f"livewarden-{token}"

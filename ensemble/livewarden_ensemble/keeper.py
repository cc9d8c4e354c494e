"""The keeper: the process between the supervisor and tritonserver, so that nothing outlives either.

Run as a script by process.py, standard library only. It starts tritonserver, and when the server
ends, or the supervisor asks for its end or dies (even by SIGKILL), it kills every process below
itself and deletes their shared memory. As a child subreaper it inherits stubs whose parent has
died, and it leaves only when the kernel says that it has no child any more.

A process of its own, because a death signal alone cannot do this: it would be tied to the thread
that started the server, stubs would not get it, and nobody would delete their shared memory. It
also makes `preexec_fn` safe: there is one thread here.

Protocol: on stdin the byte `k` asks for the end at once, and end of file means that the supervisor
is dead; SIGTERM asks for a drain. On stdout comes the process id of tritonserver. Its output goes
to stderr. The exit status is tritonserver's, 128 + n where signal n ended it.

Every user of the machine may read arguments, but not the environment: secrets of the command come
in the variable SECRETS_VARIABLE, with SECRET_MARK and their number in the command where they
belong, and are wiped out of tritonserver's own arguments once it has read them.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's place, not a temporary file
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
LOOK_S: Final = 0.1
SECRETS_VARIABLE: Final = "LIVEWARDEN_KEEPER_SECRETS"
SECRET_MARK: Final = "@livewarden-secret-"  # noqa: S105 - the mark of where one belongs
# In /proc/PID/stat behind the name: where the arguments begin in the process's memory, and end.
_ARGUMENTS: Final = slice(45, 47)
# A process in the middle of a driver call can take this long to die of SIGKILL.
KILL_PATIENCE_S: Final = 10.0


def remove_shared_memory(prefix: str) -> None:
    """Delete every shared memory file whose name starts with `prefix`."""
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def find_children(parent: int) -> list[int]:
    """The ids of the direct children of process `parent`, from /proc."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text()
        except OSError:  # ended since the listing
            continue
        # The command name, in parentheses, may hold anything; state and parent follow it.
        if int(stat.rpartition(")")[2].split()[1]) == parent:
            children.append(int(path.parent.name))
    return children


def end_children() -> None:
    """Kill and reap children, and what they leave behind, until none is left."""
    deadline = time.monotonic() + KILL_PATIENCE_S
    while time.monotonic() < deadline:
        for child in find_children(os.getpid()):
            os.kill(child, signal.SIGKILL)
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended == 0:
            time.sleep(0.01)


def mask_secrets(command: list[str], secrets: list[str]) -> list[str]:
    """`command` with a mark in the place of each secret; `fill_secrets` takes it back."""
    for number, secret in enumerate(secrets):
        command = [part.replace(secret, f"{SECRET_MARK}{number}@") for part in command]
    return command


def fill_secrets(command: list[str], secrets: list[str]) -> list[str]:
    """`command` with each mark replaced by its secret."""
    for number, secret in enumerate(secrets):
        command = [part.replace(f"{SECRET_MARK}{number}@", secret) for part in command]
    return command


def hide_secrets(process: int, secrets: list[str]) -> None:
    """Overwrite `secrets` in the arguments of `process`, which must have read them already.

    Where the kernel does not let a parent do that, they stay, and a line on stderr says so.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
        start, end = map(int, stat.rpartition(")")[2].split()[_ARGUMENTS])
        with Path(f"/proc/{process}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            for secret in secrets:
                arguments = arguments.replace(secret.encode(), b"*" * len(secret))
            memory.seek(start)
            memory.write(arguments)
    except OSError as error:
        sys.stderr.write(f"warning: secrets stay in the process list: {error.strerror}\n")


def keep(command: list[str], grace_s: float, secrets: list[str]) -> tuple[int, bool]:
    """Run `command` to its end, or until somebody asks for it, and kill all below this process.

    `secrets` are hidden once the server has a child: it starts stubs after it has read its flags.

    Returns its status as subprocess counts it, and whether the supervisor is still there.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper, supervisor = os.getpid(), os.getppid()
    draining: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: draining.append(number))

    def die_with_keeper() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:  # it died before the line above took effect
            os._exit(1)

    server = subprocess.Popen(  # noqa: S603 - the command comes from our own supervisor
        fill_secrets(command, secrets),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=die_with_keeper,  # noqa: PLW1509 - one thread, see above
    )
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    deadline = float("inf")
    orphaned = False
    while server.poll() is None and time.monotonic() < deadline:
        if secrets and find_children(server.pid):
            hide_secrets(server.pid, secrets)
            secrets = []
        if draining and deadline == float("inf"):
            server.terminate()
            deadline = time.monotonic() + grace_s
        if select.select([0], [], [], LOOK_S)[0]:
            orphaned = os.read(0, 1) == b""
            break
        # A forked copy of the supervisor may hold our pipe open after its death.
        if os.getppid() != supervisor:
            orphaned = True
            break
    server.kill()
    status = server.wait()
    end_children()
    return status, not orphaned


def main(arguments: list[str]) -> int:
    """Run the keeper: PREFIX LOCK RUNTIME GRACE_S COMMAND..."""
    prefix, lock, runtime, grace_s, *command = arguments
    secrets = os.environ.pop(SECRETS_VARIABLE, "").split()
    try:
        status, supervised = keep(command, float(grace_s), secrets)
    except OSError as error:
        sys.stderr.write(f"error: cannot run {command[0]}: {error.strerror}\n")
        return 127
    remove_shared_memory(prefix)
    if not supervised:
        shutil.rmtree(runtime, ignore_errors=True)
        Path(lock).unlink(missing_ok=True)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

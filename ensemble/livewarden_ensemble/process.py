"""One running tritonserver with its stubs, seen through its keeper."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import psutil

from livewarden_client.wire import MODERATION
from livewarden_ensemble import keeper
from livewarden_ensemble.admin import Admin, Record, count_waiting
from livewarden_ensemble.claim import Claim, kill_processes
from livewarden_ensemble.drain import Flight, finish_requests
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.launch import GRACE_S, Launch
from livewarden_ensemble.progress import Work
from livewarden_ensemble.serverlog import ServerLog, explain_failure
from livewarden_ensemble.stub import CLOSED, STUBS_VARIABLE
from livewarden_ensemble.vitals import ProcessState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from livewarden_ensemble.installation import Installation

_STUB: Final = "triton_python_backend_stub"
_STATES: Final[Mapping[str, ProcessState]] = {
    psutil.STATUS_STOPPED: ProcessState.STOPPED,
    psutil.STATUS_TRACING_STOP: ProcessState.STOPPED,
    psutil.STATUS_ZOMBIE: ProcessState.GONE,
    psutil.STATUS_DEAD: ProcessState.GONE,
}


class ServerProcess:
    """A started tritonserver; `generation` counts the starts under one claim.

    Raises ServerFailed where the binary cannot be run.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        installation: Installation,
        backends: Path,
        claim: Claim,
        generation: int,
        log: ServerLog,
        record: Record,
    ) -> None:
        self._record = record
        self._prefix = claim.name_prefix(generation)
        self._log = log
        command = launch.build_command(installation.binary, backends, self._prefix)
        self._stubs = claim.runtime / "stubs"
        shutil.rmtree(self._stubs, ignore_errors=True)
        self._stubs.mkdir()
        environment = launch.build_environment(installation.build_environment(os.environ))
        environment[STUBS_VARIABLE] = str(self._stubs)
        environment[keeper.SECRETS_VARIABLE] = " ".join(launch.secrets)
        command = keeper.mask_secrets(command, launch.secrets)
        settings = (self._prefix, str(claim.lock_path), str(claim.runtime), str(GRACE_S))
        self._keeper = subprocess.Popen(  # noqa: S603 - our own file, run by our own Python
            # -I -S: it needs the standard library only, and starts in a tenth of the time.
            [sys.executable, "-I", "-S", keeper.__file__, *settings, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            pass_fds=(claim.lock,),
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        log.follow(self._keeper.stderr)
        with self._keeper.stdout as stdout:
            line = stdout.readline()
        if not line:
            self.kill()
            raise ServerFailed(f"tritonserver was not started: {explain_failure(log.lines)}")
        self.pid = int(line)
        self._watched: dict[str, psutil.Process] = {}
        self._announced: frozenset[int] = frozenset()

    @property
    def stub_pids(self) -> tuple[int, ...]:
        """The ids of the stubs found by `record_stubs`, which must be called once it is ready."""
        return tuple(process.pid for process in self._watched.values() if process.pid != self.pid)

    def record_stubs(self) -> None:
        """Take note of the server and its stubs, by model instance; from now on `look` sees them.

        A process that ends meanwhile is left out: the canary before this call needed all of them.
        """
        try:
            server = psutil.Process(self.pid)
            self._watched["tritonserver"] = server
            for child in server.children():
                command = child.cmdline()
                if command and command[0].endswith(_STUB):
                    self._watch(command, child)
            self._announced = self._read_announced()
        except psutil.NoSuchProcess:
            pass

    def look(self) -> dict[str, ProcessState]:
        """The state of each process on record.

        A stub of a version that was loaded meanwhile comes on record, and one that took its leave
        before it ended, because its version was unloaded, is forgotten.
        """
        announced = self._read_announced()
        left = self._announced - announced
        for pid in announced - self._announced:
            with contextlib.suppress(psutil.NoSuchProcess):
                child = psutil.Process(pid)
                self._watch(child.cmdline(), child)
        self._announced = announced
        self._watched = {
            name: process for name, process in self._watched.items() if process.pid not in left
        }
        return {name: _read_state(process) for name, process in self._watched.items()}

    def _watch(self, command: list[str], stub: psutil.Process) -> None:
        if stub.pid not in self.stub_pids:
            # The last two arguments are the instance's name and a directory setting. Two versions
            # of a model have instances of the same name.
            name = f"stub {command[-2]}" if len(command) > 1 else "stub"
            self._watched[f"{name} ({stub.pid})" if name in self._watched else name] = stub

    def _read_announced(self) -> frozenset[int]:
        """The stubs that have said that they serve and have not taken their leave."""
        return frozenset(int(path.name) for path in self._stubs.iterdir() if path.name.isdigit())

    def read_work(self) -> dict[str, Work]:
        """What each stub on record is at, by name; those that say nothing are left out."""
        works = {
            name: Work.read(self._stubs / str(process.pid))
            for name, process in self._watched.items()
        }
        return {name: work for name, work in works.items() if work is not None}

    def poll(self) -> str | None:
        """How tritonserver ended, for people; None while it runs."""
        status = self._keeper.poll()
        if status is None:
            return None
        if status < 0:
            return f"the keeper of tritonserver was killed by {_name_signal(-status)}"
        if status > 128:  # noqa: PLR2004 - the shell's way to say: by a signal
            return f"tritonserver was killed by {_name_signal(status - 128)}"
        return f"tritonserver exited with status {status}"

    def explain(self) -> str:
        """What the log says of a failed start; call it once the process has ended."""
        self._log.finish()
        return explain_failure(self._log.lines)

    def drain(self) -> None:
        """Let requests in flight finish, then end everything; within 12 s.

        Triton says that it is not ready as long as this takes.
        """
        with contextlib.closing(Admin(self._record)) as admin:
            admin.turn_unready()
        finish_requests(self._count_flight, (self._stubs / CLOSED).touch)
        self._keeper.send_signal(signal.SIGTERM)
        self._end(patience_s=GRACE_S + keeper.KILL_PATIENCE_S)

    def _count_flight(self) -> Flight | None:
        if self.poll() is not None:
            return None
        works = [work for name, work in self.read_work().items() if MODERATION.name in name]
        return Flight(
            waiting=count_waiting(self._record, MODERATION.name),
            running=sum(work.taken - work.ended for work in works),
            ended=sum(work.ended for work in works),
        )

    def kill(self) -> None:
        """End everything at once, if that has not happened; no process and no file is left."""
        assert self._keeper.stdin is not None
        if self._keeper.stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself
            # Past the buffer: a byte that cannot be sent must not wait there for close().
            os.write(self._keeper.stdin.fileno(), b"k")
        self._end(patience_s=keeper.KILL_PATIENCE_S + 2)

    def _end(self, patience_s: float) -> None:
        assert self._keeper.stdin is not None
        try:
            status = self._keeper.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            status = self._keeper.wait()
        if status < 0:  # somebody killed the keeper: its work is ours now
            kill_processes(self._prefix)
            keeper.remove_shared_memory(self._prefix)
        self._keeper.stdin.close()
        self._log.finish()


def _read_state(process: psutil.Process) -> ProcessState:
    try:
        if not process.is_running():  # another process has its id now
            return ProcessState.GONE
        return _STATES.get(process.status(), ProcessState.RUNNING)
    except psutil.NoSuchProcess:
        return ProcessState.GONE


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

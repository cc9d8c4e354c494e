"""The supervisor: keeps one server running and answering, and says when it cannot."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.vitals import Backoff, Beat, ProcessState, Pulse, Timing, Vitals

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_ensemble.canary import Canary
    from livewarden_ensemble.progress import Work


class Phase(StrEnum):
    """Where a server is in its life."""

    STARTING = "starting"
    READY = "ready"
    HEALING = "healing"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Cause(StrEnum):
    """What ailed a server that was killed."""

    EXIT = "exit"  # tritonserver ended
    PROCESS = "process"  # a process of it died, or stood still by a signal
    HANG = "hang"  # work without a step
    CROSSED = "crossed"  # an answer to another question
    CANARY = "canary"  # the canary was not answered, or wrongly
    START = "start"  # it did not come up


@dataclass(frozen=True, slots=True)
class Notice:
    """A change of phase, and why; `cause` where a sick server goes. Holds no caller's content."""

    phase: Phase
    detail: str = ""
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Ailment:
    """Why a server must be replaced: the kind, and a sentence for people."""

    cause: Cause
    detail: str


class Process(Protocol):
    """What the supervisor needs of a server process; see process.ServerProcess."""

    pid: int

    @property
    def stub_pids(self) -> tuple[int, ...]:
        """Ids of the stubs on record."""

    def record_stubs(self) -> None:
        """Find the stubs."""

    def look(self) -> dict[str, ProcessState]:
        """State by process."""

    def read_work(self) -> dict[str, Work]:
        """What the stubs are at."""

    def poll(self) -> str | None:
        """How it ended, if it has."""

    def explain(self) -> str:
        """What its log says of a failed start."""

    def drain(self) -> None:
        """End it after the requests in flight."""

    def kill(self) -> None:
        """End it at once."""


class Supervisor:
    """A thread that starts, watches, replaces and stops server processes.

    `start` makes a process for a generation (0, 1, ...) or raises ServerFailed; `canary` is called
    with `url`. `tell` gets each Notice, in the supervisor's thread.
    """

    def __init__(
        self,
        start: Callable[[int], Process],
        canary: Canary,
        url: str,
        timing: Timing,
        tell: Callable[[Notice], None],
    ) -> None:
        self._start = start
        self._canary = canary
        self._url = url
        self._timing = timing
        self._tell = tell
        self._backoff = Backoff(timing)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._was_ready = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._canaries = ThreadPoolExecutor(1, thread_name_prefix="canary")
        self.phase = Phase.STARTING
        self.error: ServerFailed | None = None
        self.process: Process | None = None
        self.restarts = 0
        # The last canary was not answered, and nobody knows yet why.
        self.doubted = False

    def start(self) -> None:
        """Start the thread; returns at once."""
        self._thread.start()

    def wait(self, phases: frozenset[Phase], timeout: float | None) -> Phase:
        """The phase, once it is one of `phases` or `timeout` seconds have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self.phase in phases, timeout)
            return self.phase

    def stop(self) -> None:
        """Drain the server and end the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._canaries.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        try:
            self._supervise()
        except ServerFailed as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave callers waiting
            self._fail(ServerFailed(f"The supervisor broke: {type(error).__name__}: {error}"))

    def _supervise(self) -> None:
        for generation in itertools.count():
            ailment = self._live(generation)
            if ailment is None:
                break
            delay = self._backoff.next_delay(time.monotonic())
            # Not ready before it is gone: nobody may be sent to a server that we kill.
            detail = f"{ailment.detail}; next start in {delay:g} s"
            self._enter(Phase.HEALING, detail, ailment.cause)
            self._bury()
            if self._stop.wait(delay):
                break
            self.restarts += 1
        self._enter(Phase.STOPPED)

    def _live(self, generation: int) -> Ailment | None:
        """One process, from its start until something ails it; None once it was asked to stop."""
        try:
            self.process = process = self._start(generation)
            if not self._bring_up(process):
                self._bury()
                return None
        except ServerFailed as error:
            again = self._backoff.note_failure()
            if not self._was_ready:
                raise
            if not again:
                raise ServerFailed(
                    f"Gave up after {self._timing.starts} failed starts in a row; the last: {error}"
                ) from None
            return Ailment(Cause.START, str(error))
        self._was_ready = True
        self._backoff.note_ready(time.monotonic())
        self.doubted = False
        self._enter(Phase.READY)
        ailment = self._watch(process)
        if ailment is None:
            self._enter(Phase.STOPPING)
            process.drain()
            self._bury()
        return ailment

    def _bring_up(self, process: Process) -> bool:
        """Wait for the first right answer; False where a stop came first. Raises ServerFailed."""
        deadline = time.monotonic() + self._timing.start_timeout_s
        failures, detail = 0, "nothing answers yet"
        pending: Future[Pulse] | None = None
        while not self._stop.wait(self._timing.look_s):
            ended = process.poll()
            if ended is not None:
                raise ServerFailed(f"{ended} while it started: {process.explain()}")
            if pending is None:
                pending = self._canaries.submit(self._canary, self._url)
            elif pending.done():
                pulse, pending = pending.result(), None
                if pulse.beat is Beat.ALIVE:
                    process.record_stubs()
                    return True
                # Not there yet, or full of callers who came back at once: neither is a fault.
                if pulse.beat in {Beat.MISSED, Beat.SICK}:
                    failures, detail = failures + 1, pulse.detail
            if failures == self._timing.starts or time.monotonic() > deadline:
                raise ServerFailed(f"tritonserver started but is no use: {detail}")
        return False

    def _watch(self, process: Process) -> Ailment | None:
        """Watch a ready server until something ails it, or None where a stop came."""
        vitals = Vitals(self._timing.hung_s)
        looked = time.monotonic()
        due = time.monotonic() + self._timing.canary_every_s
        pending: Future[Pulse] | None = None
        while not self._stop.wait(self._timing.look_s):
            # Never more than two looks' worth: when the whole machine sleeps, nothing hangs.
            passed = min(time.monotonic() - looked, 2 * self._timing.look_s)
            looked = time.monotonic()
            if detail := process.poll():
                return Ailment(Cause.EXIT, detail)
            if detail := vitals.look(process.look()):
                return Ailment(Cause.PROCESS, detail)
            works = process.read_work()
            if detail := vitals.follow(works, passed):
                crossed = any(work.crossed for work in works.values())
                return Ailment(Cause.CROSSED if crossed else Cause.HANG, detail)
            if pending is not None and pending.done():
                pulse, pending = pending.result(), None
                self.doubted = pulse.beat is Beat.MISSED
                if detail := vitals.feel(pulse):
                    return Ailment(Cause.CANARY, detail)
            if pending is None and time.monotonic() >= due:
                due = time.monotonic() + self._timing.canary_every_s
                pending = self._canaries.submit(self._canary, self._url)
        return None

    def _bury(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()

    def _fail(self, error: ServerFailed) -> None:
        self._bury()
        self.error = error
        self._enter(Phase.FAILED, str(error))

    def _enter(self, phase: Phase, detail: str = "", cause: Cause | None = None) -> None:
        with self._changed:
            self.phase = phase
            self._changed.notify_all()
        # Who cannot hear of it is no reason to end a server that is well.
        with contextlib.suppress(Exception):
            self._tell(Notice(phase, detail, cause))

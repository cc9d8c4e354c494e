"""A closed loop of callers, and a window in its middle in which everything is counted."""

from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psutil

from livewarden_perf.errors import BaselineFailed, MeasurementInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from livewarden_perf.baseline.protocol import Caller

_STOP_S: Final = 60.0
_MEGABYTE: Final = 1e6


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen for `seconds`: the clips worked on, and how long those took that ended.

    A clip that was under way at a border counts by the share of its time inside, so that batches,
    which end together, do not make the count a matter of luck. `sent` counts all requests, those
    of the warm-up too. `cpu_s` is processor time of all processes of the server, `memory_mb` what
    they hold at the end (shared pages counted once), `others` how many cores worked for neither
    server nor callers.
    """

    seconds: float
    clips: float
    sent: int
    latencies_ms: tuple[float, ...] = field(repr=False)
    cpu_s: float
    memory_mb: float
    others: float

    @property
    def clips_per_second(self) -> float:
        """The rate of answers."""
        return self.clips / self.seconds


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks at one moment; `tree_s` is processor time by process id."""

    time: float
    tree_s: dict[int, float]
    own_s: float
    busy_s: float


class _CallerThread(threading.Thread):
    """Sends requests until it is told to stop; `answers` are pairs of end and latency, in s."""

    def __init__(self, caller: Caller, take: Callable[[], bytes], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._caller = caller
        self._take = take
        self._stop_event = stop
        self.answers: list[tuple[float, float]] = []
        self.error: BaselineFailed | None = None

    def run(self) -> None:
        """Call in a loop; the first failure ends it."""
        try:
            while not self._stop_event.is_set():
                start = time.perf_counter()
                self._caller.call(self._take())
                end = time.perf_counter()
                self.answers.append((end, end - start))
        except BaselineFailed as error:
            self.error = error
        finally:
            self._caller.close()


def measure_window(
    connect: Callable[[], Caller],
    requests: Sequence[bytes],
    *,
    callers: int,
    warm_up_s: float,
    seconds: float,
    pid: int,
) -> Window:
    """Load the server with `callers` for `warm_up_s`, then count for `seconds` more.

    `requests` go out in turn, over all callers. `pid` is the server's first process. Raises
    BaselineFailed where a single request fails, MeasurementInvalid where nothing was answered.
    """
    numbers = itertools.count()
    stop = threading.Event()

    def take() -> bytes:
        return requests[next(numbers) % len(requests)]

    threads = [_CallerThread(connect(), take, stop) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(warm_up_s)
        start = read_clocks(pid)
        time.sleep(seconds)
        end = read_clocks(pid)
        memory = measure_memory(pid)
    finally:
        stop.set()
        for thread in threads:
            thread.join(_STOP_S)
    for thread in threads:
        if thread.error is not None:
            raise thread.error
    answers = sorted(answer for thread in threads for answer in thread.answers)
    return count_window(answers, start, end, memory)


def count_window(
    answers: Sequence[tuple[float, float]], start: Reading, end: Reading, memory_mb: float
) -> Window:
    """Count what happened between two readings; `answers` are pairs of end and latency, in s."""
    ended = tuple(lasted * 1e3 for at, lasted in answers if start.time <= at < end.time)
    clips = sum(
        max(0.0, min(at, end.time) - max(at - lasted, start.time)) / lasted
        for at, lasted in answers
    )
    if not clips:
        raise MeasurementInvalid("it worked on no clip while it was measured")
    seconds = end.time - start.time
    cpu = sum(spent - start.tree_s.get(pid, 0.0) for pid, spent in end.tree_s.items())
    others = (end.busy_s - start.busy_s - cpu - (end.own_s - start.own_s)) / seconds
    return Window(
        seconds=seconds,
        clips=clips,
        sent=len(answers),
        latencies_ms=ended,
        cpu_s=cpu,
        memory_mb=memory_mb,
        others=max(0.0, others),
    )


def read_clocks(pid: int) -> Reading:
    """Read the clocks of the server that begins with process `pid`, of this process and of all."""
    machine = psutil.cpu_times()
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    # Guests are counted in user and nice already.
    guests = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
    return Reading(
        time=time.perf_counter(),
        tree_s={process.pid: _read_cpu(process) for process in list_tree(pid)},
        own_s=sum(os.times()[:2]),
        busy_s=sum(machine) - idle - guests,
    )


def measure_memory(pid: int) -> float:
    """Megabytes that the processes of a server hold together, shared pages counted once."""
    total = 0
    for process in list_tree(pid):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / _MEGABYTE


def list_tree(pid: int) -> list[psutil.Process]:
    """List process `pid` and all below it; none where it has ended."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _read_cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    spent: float = times.user + times.system
    return spent

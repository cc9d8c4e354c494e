"""The open-loop generator: sends every clip when it is due, whatever became of those before it.

One thread sends; answers arrive in the target's threads and only take a note. A stream's clips go
one after the other, because each needs the state token that the one before it brings back.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_perf.samples import Samples, pick
from livewarden_perf.schedule import draw_steady
from livewarden_perf.target import UNANSWERED, InstantTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_perf.samples import Floats
    from livewarden_perf.target import Done, Target

_LEAD_S: Final = 0.02
_DRAIN_S: Final = 30.0
_OVERHEAD_RATE: Final = 2000.0
_OVERHEAD_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Overhead:
    """What the generator costs where the answer is immediate."""

    per_clip_us: float
    lag_p99_ms: float


def run_open_loop(
    target: Target,
    due: Floats,
    *,
    streams: int = 0,
    seconds: float | None = None,
    drain_s: float = _DRAIN_S,
    on_progress: Callable[[int, int], None] = lambda _sent, _all: None,
) -> Samples:
    """Send clip i at `due[i]` seconds, and wait at most `drain_s` for the last answers.

    With `streams`, clip i belongs to stream i % streams and waits for the clip before it. `seconds`
    is the length of the schedule where it is longer than its last clip.
    """
    run = _Run(target, due, streams)
    cpu = time.process_time()
    run.send_all(on_progress)
    run.wait(drain_s)
    length = seconds or (float(due[-1]) if len(due) else 0.0) or 1.0
    return run.collect(length, time.process_time() - cpu)


def saturate(target: Target, callers: int, seconds: float, *, drain_s: float = _DRAIN_S) -> Samples:
    """Keep `callers` clips on their way for `seconds`: a closed loop, for throughput alone.

    A clip counts as due when it is sent.
    """
    run = _Run(target, np.zeros(0), 0)
    cpu = time.process_time()
    run.keep_busy(callers, seconds)
    run.wait(drain_s)
    return run.collect(seconds, time.process_time() - cpu)


def measure_overhead() -> Overhead:
    """Measure the generator alone, at a rate far above any server's."""
    due = draw_steady(_OVERHEAD_RATE, _OVERHEAD_S)
    samples = run_open_loop(InstantTarget(), due)
    return Overhead(samples.cpu_s * 1e6 / len(due), pick(samples.lag_ms, 99.0))


class _Run:
    """One run: the sender's thread owns everything but what `_finish` appends."""

    def __init__(self, target: Target, due: Floats, streams: int) -> None:
        self._target = target
        self._due = due.tolist()
        self._streams = streams
        self._waiting: dict[int, deque[int]] = {}
        self._busy: set[int] = set()
        self._free = list(self._due)
        self._sent = [float("nan")] * len(self._due)
        self._ended: dict[int, tuple[float, bool, str]] = {}
        # Ended clips: from the target's threads to the sender's.
        self._events: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._start = time.perf_counter() + _LEAD_S

    def send_all(self, on_progress: Callable[[int, int], None]) -> None:
        """Send every clip when it is due and its stream is free."""
        for number, due in enumerate(self._due):
            self._wait_until(due)
            lane = number % self._streams if self._streams else None
            if lane is None:
                self._send(number)
            elif lane in self._busy:
                self._waiting.setdefault(lane, deque()).append(number)
            else:
                self._busy.add(lane)
                self._send(number)
            on_progress(number + 1, len(self._due))

    def keep_busy(self, callers: int, seconds: float) -> None:
        """Send the next clip whenever one ends, until `seconds` have passed."""
        self._wait_until(0.0)
        for _ in range(callers):
            self._send_next()
        while (left := seconds - self._now()) > 0:
            try:
                self._events.get(timeout=left)
            except queue.Empty:
                return
            self._send_next()

    def wait(self, patience_s: float) -> None:
        """Wait for answers, and send what still waits for its stream."""
        end = self._now() + patience_s
        while len(self._ended) < len(self._sent) and self._now() < end:
            self._take_event(end - self._now())

    def collect(self, seconds: float, cpu_s: float) -> Samples:
        """Give what has happened up to now."""
        lost = (float("nan"), False, UNANSWERED)
        ends = [self._ended.get(number, lost) for number in range(len(self._sent))]
        return Samples(
            due=np.array(self._due, np.float64),
            free=np.array(self._free, np.float64),
            sent=np.array(self._sent, np.float64),
            ended=np.array([end[0] for end in ends], np.float64),
            ok=np.array([end[1] for end in ends], np.bool_),
            reasons=tuple(end[2] for end in ends),
            seconds=seconds,
            cpu_s=cpu_s,
        )

    def _now(self) -> float:
        return time.perf_counter() - self._start

    def _wait_until(self, due: float) -> None:
        while (left := due - self._now()) > 0:
            self._take_event(left)

    def _take_event(self, timeout: float) -> None:
        """Wait for a clip to end, at most `timeout`, and let its stream go on."""
        try:
            number = self._events.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return
        if not self._streams:
            return
        lane = number % self._streams
        if waiting := self._waiting.get(lane):
            following = waiting.popleft()
            self._free[following] = max(self._due[following], self._ended[number][0])
            self._send(following)
        else:
            self._busy.discard(lane)

    def _send_next(self) -> None:
        now = self._now()
        self._due.append(now)
        self._free.append(now)
        self._sent.append(float("nan"))
        self._send(len(self._sent) - 1)

    def _send(self, number: int) -> None:
        self._sent[number] = self._now()
        self._target.send(number, self._make_done(number))

    def _make_done(self, number: int) -> Done:
        def finish(ok: bool, reason: str = "", /) -> None:  # noqa: FBT001 - see Done
            self._ended[number] = (self._now(), ok, "" if ok else reason or "failed")
            self._events.put(number)

        return finish

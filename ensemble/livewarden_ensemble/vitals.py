"""Vital signs: when a server counts as sick, and how long to wait before the next start. Pure.

Triton 2.51 calls itself ready with every model dead, hung or answering wrongly, so nothing here
listens to what it says of itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.progress import Doing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_ensemble.progress import Work


class Beat(StrEnum):
    """What one canary inference says of the server."""

    ALIVE = "alive"  # the right answer, in time, every stage scored
    BUSY = "busy"  # no answer, but others are being answered: loaded, not sick
    MISSED = "missed"  # no answer, or one that an overload explains as well
    ABSENT = "absent"  # nobody listens at the address
    SICK = "sick"  # an answer that a healthy server never gives


@dataclass(frozen=True, slots=True)
class Pulse:
    """One beat, and for people what was wrong with it."""

    beat: Beat
    detail: str = ""


# How many beats of a kind, with no ALIVE between them, mean that the server must be replaced. BUSY
# never does: a restart would take from a loaded server what it still can do, and a stub that hangs
# shows in its own steps.
ENOUGH: Final[Mapping[Beat, int]] = {
    Beat.MISSED: 2,
    Beat.ABSENT: 1,
    Beat.SICK: 1,
}


# Seconds of work without a step: a decoded frame and a leaf's batch are steps.
HUNG_S: Final = 4.0


class ProcessState(StrEnum):
    """What the kernel says of a process."""

    RUNNING = "running"
    STOPPED = "stopped"  # by a signal or a tracer
    GONE = "gone"  # ended, reaped or not


@dataclass(frozen=True, slots=True)
class Timing:
    """How the supervisor spends its time, in seconds.

    `look_s` lies between two looks at the processes: a stub that sleeps for 2 s and wakes hands
    old answers to new questions, so the second look that finds it asleep must come well before.
    A stub whose work makes no step for `hung_s` hangs. After a start that worked the next one is
    never further away than `longest_delay_healed_s`.
    """

    look_s: float = 0.25
    hung_s: float = HUNG_S
    canary_every_s: float = 1.0
    start_timeout_s: float = 180.0
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    longest_delay_healed_s: float = 4.0
    healthy_s: float = 60.0
    starts: int = 5


class Vitals:
    """What is known of one running server; each method names the ailment, or returns None."""

    def __init__(self, hung_s: float = HUNG_S) -> None:
        self._hung_s = hung_s
        self._stopped: frozenset[str] = frozenset()
        self._steps: dict[str, int] = {}
        self._still_s: dict[str, float] = {}
        self._beats: dict[Beat, int] = {}

    def look(self, states: Mapping[str, ProcessState]) -> str | None:
        """Judge the processes, by name. One look may meet a debugger's short stop; two may not."""
        gone = [name for name, state in states.items() if state is ProcessState.GONE]
        if gone:
            return f"{', '.join(gone)} died"
        stopped = frozenset(name for name in states if states[name] is ProcessState.STOPPED)
        lasting = stopped & self._stopped
        self._stopped = stopped
        return f"{', '.join(sorted(lasting))} is stopped" if lasting else None

    def follow(self, works: Mapping[str, Work], passed_s: float) -> str | None:
        """Judge what the stubs are at, `passed_s` seconds after the last time.

        A caller who was asleep himself must pass less than the clock says.
        """
        for name, work in works.items():
            if work.crossed:
                return f"{name} got the answer to another question"
            moved = self._steps.get(name) != work.steps or work.doing is not Doing.WORKING
            self._still_s[name] = 0.0 if moved else self._still_s[name] + passed_s
            self._steps[name] = work.steps
            if self._still_s[name] >= self._hung_s:
                return f"{name} has hung for {self._hung_s:g} s"
        return None

    def feel(self, pulse: Pulse) -> str | None:
        """Judge one canary inference together with those before it."""
        if pulse.beat is Beat.ALIVE:
            self._beats.clear()
            return None
        count = self._beats[pulse.beat] = self._beats.get(pulse.beat, 0) + 1
        if count < ENOUGH.get(pulse.beat, math.inf):
            return None
        return f"canary {pulse.beat} {count}x: {pulse.detail}" if count > 1 else pulse.detail


class Backoff:
    """How long to wait before the next start; times are monotonic seconds."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._delays = 0
        self._failures = 0
        self._ready_at: float | None = None

    def note_ready(self, now: float) -> None:
        """A start succeeded: failed starts are counted anew, delays only once it has lasted."""
        self._ready_at = now
        self._failures = 0

    def note_failure(self) -> bool:
        """A start failed; whether another one should be tried."""
        self._ready_at = None
        self._failures += 1
        return self._failures < self._timing.starts

    def next_delay(self, now: float) -> float:
        """Seconds to wait before the next start: doubled each time, up to the longest.

        What could be healed is healed soon, however often it breaks.
        """
        healed = self._ready_at is not None
        if self._ready_at is not None and now - self._ready_at >= self._timing.healthy_s:
            self._delays = 0
        self._ready_at = None
        longest = self._timing.longest_delay_healed_s if healed else self._timing.longest_delay_s
        delay = self._timing.first_delay_s * 2.0 ** min(self._delays, 32)
        self._delays += 1
        return min(delay, longest)

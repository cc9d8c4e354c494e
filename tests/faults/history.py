"""The history of a run: who asked what, how it ended, and whether that is what it should be."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from livewarden_client import Client, Clip, Text, Verdict
from livewarden_client.errors import FarSideFailed

# How far a score may be from the golden one: bfloat16 sums depend on who shares the batch.
TOLERANCE = 1e-4
_WORDS = ("river", "lamp", "you idiot", "kill", "flower", "buy now", "naked", "winner", "rain")


def make_clips(count: int) -> list[Clip]:
    """Make clips whose answers all differ: words in another order, and a frame in every third."""
    clips = []
    for index in range(count):
        chance = np.random.default_rng(index)
        texts = [Text("chat", " ".join(chance.permutation(_WORDS)[:5]) + f" {index}")]
        frames = [draw_noise(index)] if index % 3 == 0 else []
        clips.append(Clip(frames, texts))
    return clips


def draw_noise(seed: int, side: int = 160) -> bytes:
    """A JPEG of coarse noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((side, side)).save(out, "JPEG", quality=90)
    return out.getvalue()


def read_scores(verdict: Verdict) -> NDArray[np.float64]:
    """The score of each label, in the verdict's order."""
    return np.array([label.score for label in verdict.labels])


@dataclass(frozen=True, slots=True)
class Event:
    """How one request ended: `scores` of the server's verdict, or the `error` in place of one."""

    request_id: str
    clip: int
    sent: float
    ended: float
    error: str = ""
    answered_id: str = ""
    degraded: bool = False
    action: str = ""
    scores: NDArray[np.float64] | None = None


@dataclass
class History:
    """Requests about `clips`, each under an id of its own, from any number of threads."""

    client: Client
    clips: Sequence[Clip]
    golden: Sequence[NDArray[np.float64]] = ()
    timeout: float = 10.0
    sent: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, index: int, timeout: float | None = None) -> Event:
        """Ask about clip `index` (modulo their number) once."""
        index %= len(self.clips)
        with self._lock:
            name = f"request-{len(self.sent)}"
            self.sent.append(name)
        clip = replace(self.clips[index], request_id=name)
        begin = time.monotonic()
        try:
            verdict = self.client.moderate(clip, timeout or self.timeout)
        except FarSideFailed as error:
            event = Event(name, index, begin, time.monotonic(), error=type(error).__name__)
        else:
            event = Event(
                name,
                index,
                begin,
                time.monotonic(),
                answered_id=verdict.request_id,
                degraded=verdict.coverage.degraded,
                action=verdict.action,
                scores=read_scores(verdict),
            )
        self.events.append(event)
        return event

    def ask_all(self, count: int, callers: int, timeout: float | None = None) -> None:
        """Ask `count` times from `callers` threads, and wait for all ends."""
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(lambda index: self.ask(index, timeout), range(count)))

    def start(self, callers: int, idle: float) -> list[threading.Thread]:
        """Ask until `stop`; each caller rests `idle` times as long as its call took."""

        def call(first: int) -> None:
            index = first
            while not self._over.is_set():
                event = self.ask(index)
                index += callers
                # A platform that gets errors does not ask faster for it.
                rest = 0.1 if event.error else idle * (event.ended - event.sent)
                self._over.wait(rest)

        threads = [threading.Thread(target=call, args=(n,)) for n in range(callers)]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, threads: Sequence[threading.Thread]) -> None:
        """End the callers; every call that has begun ends first."""
        self._over.set()
        for thread in threads:
            thread.join()
        self._over.clear()

    def count(self) -> Counter[str]:
        """How the requests ended: `verdict`, `degraded`, or the error's name."""
        return Counter(
            event.error or ("degraded" if event.degraded else "verdict") for event in self.events
        )

    def find_faults(self, tolerance: float = TOLERANCE) -> list[str]:
        """Everything that a right history does not have; empty for a right one."""
        return [*self._find_lost(), *self._find_wrong(tolerance), *self._find_late()]

    def _find_lost(self) -> list[str]:
        ends = Counter(event.request_id for event in self.events)
        return [f"{name} ended {ends[name]} times" for name in self.sent if ends[name] != 1]

    def _find_wrong(self, tolerance: float) -> list[str]:
        faults = []
        for event in self.events:
            if event.scores is None:
                continue
            if event.answered_id != event.request_id:
                faults.append(f"{event.request_id} got the answer to {event.answered_id}")
            if self.golden and not event.degraded:
                far = float(np.abs(event.scores - self.golden[event.clip]).max())
                if not far <= tolerance:
                    faults.append(f"{event.request_id}: {far:.2g} away from the golden scores")
        return faults

    def _find_late(self) -> list[str]:
        # A second over the deadline is a busy machine; more is a call that hung.
        slack = 1.0 + self.timeout
        return [
            f"{event.request_id} took {event.ended - event.sent:.1f} s"
            for event in self.events
            if event.ended - event.sent > slack
        ]

"""A cluster simulated clip by clip, to check what `queueing` says of it in closed form.

Half of the clips come from streams with a clip every few seconds, each with its own phase and
jitter, the others independently. A front sends each to the least busy of a few nodes. Halfway a
node is lost: its clips go to other nodes, and wait there once more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import simpy

from livewarden_perf.samples import pick
from livewarden_perf.schedule import draw_poisson

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from livewarden_perf.queueing import NodeQueue

    Floats = NDArray[np.float64]

# Of each half, the beginning is left out: queues are still filling.
_SETTLING: Final = 0.2
_JITTER: Final = 0.1
_BEFORE: Final = "all nodes"
_AFTER: Final = "one node lost"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated: `nodes` queues with `rate` clips/s in all, `clips` in number.

    `choices` nodes are drawn for each clip; 0 means that all are looked at. `periodic` (0..1) of
    the clips come from streams with one every `clip_every_s` seconds. With `lose_node`, one of at
    least two nodes is lost after half of the time.
    """

    queue: NodeQueue
    nodes: int
    rate: float
    clips: int
    choices: int = 2
    periodic: float = 0.5
    clip_every_s: float = 5.0
    lose_node: bool = True
    seed: int = 0

    @property
    def seconds(self) -> float:
        """How long clips come."""
        return self.clips / self.rate


@dataclass(frozen=True, slots=True)
class Phase:
    """What clips met that were due in one half; `utilisation` of the nodes that were there."""

    name: str
    nodes: int
    clips: int
    utilisation: float
    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One simulation: its phases, and what became of all clips. `resent` counts sendings."""

    phases: tuple[Phase, ...]
    due: int
    answered: int
    resent: int


def simulate_cluster(scenario: Scenario) -> Outcome:
    """Simulate `scenario`; the same seed gives the same outcome."""
    return _Cluster(scenario).run()


def draw_arrivals(scenario: Scenario) -> Floats:
    """Draw when clips are due, in seconds, sorted.

    A stream's clips are `clip_every_s` apart, and each is early or late by up to a tenth of that.
    """
    periodic = round(scenario.periodic * scenario.rate * scenario.clip_every_s)
    independent = scenario.rate - periodic / scenario.clip_every_s
    random = np.random.default_rng((scenario.seed, 1))
    count = int(np.ceil(scenario.seconds / scenario.clip_every_s)) + 1
    starts = random.uniform(-1, 0, (periodic, 1)) + np.arange(count)
    jittered = starts + random.uniform(-_JITTER, _JITTER, starts.shape)
    streams = jittered.ravel() * scenario.clip_every_s
    streams = streams[(streams >= 0) & (streams < scenario.seconds)]
    return np.sort(
        np.concatenate((streams, draw_poisson(independent, scenario.seconds, scenario.seed)))
    )


@dataclass(slots=True, eq=False)
class _Node:
    servers: simpy.Resource
    clips: dict[int, simpy.Process] = field(default_factory=dict)
    # Stretches of time as (end, length), for the utilisation of each half.
    busy: list[tuple[float, float]] = field(default_factory=list)


class _Cluster:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._clock = simpy.Environment()
        self._due = draw_arrivals(scenario)
        self._nodes = [
            _Node(simpy.Resource(self._clock, scenario.queue.servers))
            for _ in range(scenario.nodes)
        ]
        self._there = list(self._nodes)
        random = np.random.default_rng((scenario.seed, 2))
        self._alone = random.choice(scenario.queue.alone.values, len(self._due))
        self._random = np.random.default_rng((scenario.seed, 3))
        self._ended = np.full(len(self._due), np.nan)
        self._resent = 0

    def run(self) -> Outcome:
        self._clock.process(self._arrive())
        half = self._scenario.seconds / 2
        if self._scenario.lose_node:
            self._clock.process(self._lose_node(half))
        self._clock.run()
        phases = [self._sum_up(_BEFORE, self._nodes, 0.0, half)]
        name = _AFTER if self._scenario.lose_node else _BEFORE
        phases.append(self._sum_up(name, self._there, half, 2 * half))
        return Outcome(
            phases=tuple(phases),
            due=len(self._due),
            answered=int((~np.isnan(self._ended)).sum()),
            resent=self._resent,
        )

    def _arrive(self) -> Generator[Any, Any, None]:
        for number, due in enumerate(self._due):
            yield self._clock.timeout(due - self._clock.now)
            self._send(number)

    def _send(self, number: int) -> None:
        node = self._choose_node()
        node.clips[number] = self._clock.process(self._serve(number, node))

    def _serve(self, number: int, node: _Node) -> Generator[Any, Any, None]:
        alone = float(self._alone[number])
        occupancy = alone * self._scenario.queue.busy
        begin = None
        try:
            with node.servers.request() as server:
                yield server
                begin = self._clock.now
                yield self._clock.timeout(occupancy)
        except simpy.Interrupt:  # its node was lost
            self._resent += 1
            self._send(number)
        else:
            del node.clips[number]
            # The rest of its latency, which keeps nobody waiting.
            self._ended[number] = self._clock.now + alone - occupancy
        finally:
            if begin is not None:
                node.busy.append((self._clock.now, self._clock.now - begin))

    def _lose_node(self, when: float) -> Generator[Any, Any, None]:
        yield self._clock.timeout(when)
        lost = self._there.pop()
        for clip in list(lost.clips.values()):
            clip.interrupt()

    def _choose_node(self) -> _Node:
        count = self._scenario.choices
        if not 0 < count < len(self._there):
            places = self._random.permutation(len(self._there))
        else:
            places = self._random.choice(len(self._there), count, replace=False)
        drawn = [self._there[int(place)] for place in places]
        return min(drawn, key=lambda node: len(node.clips))

    def _sum_up(self, name: str, nodes: Sequence[_Node], begin: float, end: float) -> Phase:
        begin += _SETTLING * (end - begin)
        seen = (self._due >= begin) & (self._due < end)
        latency = (self._ended - self._due)[seen]
        busy = sum(
            max(0.0, min(stop, end) - max(stop - length, begin))
            for node in nodes
            for stop, length in node.busy
        )
        room = (end - begin) * len(nodes) * self._scenario.queue.servers
        return Phase(
            name=name,
            nodes=len(nodes),
            clips=int(seen.sum()),
            utilisation=busy / room,
            p50_s=pick(latency, 50),
            p99_s=pick(latency, 99),
            max_s=pick(latency, 100),
        )

"""How many nodes a number of streams needs: from the figures of one measured node.

Pure arithmetic. What it takes for granted is what `capacity_report.list_assumptions` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from livewarden_perf.errors import CapacityImpossible
from livewarden_perf.queueing import NodeQueue, ServiceTime, find_utilisation

if TYPE_CHECKING:
    from collections.abc import Mapping

# Room for publishing, canary clips, and what one node does worse than the measured one.
MOST_UTILISATION: Final = 0.85
STANDARD_FRAMES: Final = 8
_KIB_BITS: Final = 8 * 1024
_GIGA: Final = 1e9
_MEGA: Final = 1e6
_KIB_PER_GIB: Final = 1024**2
_MIB_PER_GIB: Final = 1024
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Demand:
    """What comes: streams, each with a clip of `frames` frames every `clip_every_s` seconds.

    `static_share` of the clips are still scenes, which take `static_cost` of the work of others.
    `clip_kib` and `verdict_kib` are what one clip and its verdict weigh on the network.
    """

    streams: int
    clip_every_s: float
    frames: int = STANDARD_FRAMES
    clip_kib: float = 800.0
    verdict_kib: float = 8.0
    static_share: float = 0.0
    static_cost: float = 0.4

    @property
    def clips_per_second(self) -> float:
        """Clips due per second, on average."""
        return self.streams / self.clip_every_s


@dataclass(frozen=True, slots=True)
class Layout:
    """Where nodes stand: `zones` alike, each with `spare` nodes more than it needs.

    With `lost_zones`, the other zones carry all. A front sends a clip to the least busy of
    `choices` nodes that it draws.
    """

    zones: int = 3
    spare: int = 1
    lost_zones: int = 0
    choices: int = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """What one node was measured to do with standard clips.

    `alone_ms` has its latency with one clip at a time, by percentile (0..100). `frame_share` is how
    much of a clip's work grows with its frames. `source` says where and how.
    """

    clips_per_second: float
    alone_ms: Mapping[float, float]
    source: str
    frame_share: float = 0.9

    def make_queue(self, demand: Demand) -> NodeQueue:
        """Make the queue that the node is for the clips of `demand`."""
        seconds = {percentile: ms / 1e3 for percentile, ms in self.alone_ms.items()}
        queue = NodeQueue.from_measurement(
            self.clips_per_second, ServiceTime.from_percentiles(seconds)
        )
        work = 1 - self.frame_share + self.frame_share * demand.frames / STANDARD_FRAMES
        return queue.scale(work).mix(demand.static_share, demand.static_cost)


@dataclass(frozen=True, slots=True)
class NodeType:
    """One kind of node; `measured` is None where nobody has measured one.

    `network_mbit_s` each way; None where it is not known, as with `cost_per_hour`.
    """

    name: str
    cores: int
    gpus: int = 0
    memory_mib: float | None = None
    network_mbit_s: float | None = None
    cost_per_hour: float | None = None
    measured: Measured | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The nodes that hold an objective. Times in seconds, bandwidths in Gbit/s of all nodes.

    `utilisation` and `p99_s` are those with every spare node, and `lost_zones`, gone: the load
    that the plan is made for. `usual` are the same with all nodes there. `bound` is what decides:
    `compute` or `network`.
    """

    demand: Demand
    layout: Layout
    node: NodeType
    measured: Measured
    queue: NodeQueue
    p99_target_s: float
    nodes_per_zone: int
    utilisation: float
    usual_utilisation: float
    p50_s: float
    p99_s: float
    usual_p99_s: float
    bound: str

    @property
    def nodes(self) -> int:
        """All nodes, the spare ones included."""
        return self.nodes_per_zone * self.layout.zones

    @property
    def cores(self) -> int:
        """All cores."""
        return self.nodes * self.node.cores

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return self.nodes * self.node.gpus

    @property
    def memory_gib(self) -> float | None:
        """Memory of all servers, in GiB."""
        memory = self.node.memory_mib
        return None if memory is None else self.nodes * memory / _MIB_PER_GIB

    @property
    def in_gbit_s(self) -> float:
        """What clips take of the network."""
        return self.demand.clips_per_second * self.demand.clip_kib * _KIB_BITS / _GIGA

    @property
    def out_gbit_s(self) -> float:
        """What verdicts take of the network."""
        return self.demand.clips_per_second * self.demand.verdict_kib * _KIB_BITS / _GIGA

    @property
    def waiting_gib(self) -> float:
        """Memory of the clips under way, once, by Little's law with the p99 as their latency."""
        return self.demand.clips_per_second * self.p99_s * self.demand.clip_kib / _KIB_PER_GIB

    @property
    def cost_per_hour(self) -> float | None:
        """Cost of all nodes for an hour, in the currency of the node's own."""
        cost = self.node.cost_per_hour
        return None if cost is None else self.nodes * cost

    @property
    def cost_per_million(self) -> float | None:
        """Cost of a million clips at this load."""
        cost = self.cost_per_hour
        return None if cost is None else cost / (self.demand.clips_per_second * _HOUR_S) * _MEGA


def plan_capacity(demand: Demand, node: NodeType, p99_s: float, layout: Layout) -> Plan:
    """Plan the fewest nodes with which 99 of 100 clips take at most `p99_s` seconds.

    Raises CapacityImpossible where no number of them does, and where the node was never measured.
    """
    if node.measured is None:
        raise CapacityImpossible(
            f"{node.name}: nobody has measured one, so there is nothing to plan with; give it "
            "clips_per_second and alone_ms in your own --nodes file"
        )
    if layout.lost_zones >= layout.zones:
        raise CapacityImpossible(
            f"{layout.lost_zones} of {layout.zones} zones lost leaves none to carry the load"
        )
    queue = node.measured.make_queue(demand)
    utilisation = find_utilisation(queue, p99_s, MOST_UTILISATION, layout.choices)
    if not utilisation:
        raise CapacityImpossible(
            f"{node.name}: a p99 of {p99_s * 1e3:g} ms cannot be had at any load: alone on a node, "
            f"99 of 100 clips take up to {queue.load(0.0).pick(99) * 1e3:.0f} ms"
        )
    zone_rate = demand.clips_per_second / (layout.zones - layout.lost_zones)
    needs = {"compute": zone_rate / (utilisation * queue.limit)}
    if node.network_mbit_s is not None:
        heavier = max(demand.clip_kib, demand.verdict_kib) * _KIB_BITS
        link = MOST_UTILISATION * node.network_mbit_s * _MEGA
        needs["network"] = zone_rate * heavier / link
    bound = max(needs, key=lambda name: needs[name])
    needed = max(1, math.ceil(needs[bound] - 1e-9))
    worst = zone_rate / (needed * queue.limit)
    usual = demand.clips_per_second / ((needed + layout.spare) * layout.zones * queue.limit)
    at_worst = queue.load(worst, layout.choices)
    return Plan(
        demand=demand,
        layout=layout,
        node=node,
        measured=node.measured,
        queue=queue,
        p99_target_s=p99_s,
        nodes_per_zone=needed + layout.spare,
        utilisation=worst,
        usual_utilisation=usual,
        p50_s=at_worst.pick(50),
        p99_s=at_worst.pick(99),
        usual_p99_s=queue.load(usual, layout.choices).pick(99),
        bound=bound,
    )

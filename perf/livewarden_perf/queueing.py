"""How long clips wait for a node of many, each with a few servers and a queue in arrival order.

A front sends each clip to the least busy of d nodes that it draws. In a large cluster, the share
s_k of nodes with at least k clips then follows from the balance of every step,

    rate x (s_k^d - s_(k+1)^d) = (rate of leaving k + 1 clips) x (s_(k+1) - s_(k+2))

(Vvedenskaya, Dobrushin, Karpelevich 1996; Mitzenmacher, "The power of two choices in randomized
load balancing", IEEE TPDS 12(10), 2001). With one choice and exponential times it is Erlang's
M/M/c, exactly. Other times enter as in the diffusion approximation of a queue (Gelenbe, "On
approximate computer system models", JACM 22(2), 1975; Whitt, "Approximations for the GI/G/m
queue", Production and Operations Management 2(2), 1993): beyond a full node, each step is taken to
the power 2 / (1 + C²), C² being the squared coefficient of variation, while the share of busy
servers stays what the load makes it. `cluster_simulation` checks what is approximate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from scipy.special import gammaincc  # type: ignore[import-untyped]  # scipy ships no types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_VALUES: Final = 1000
_STEPS: Final = 60
_PRECISION: Final = 1e-3
_GRID: Final = 1500
# Nodes with more clips than that are rarer than any percentile of interest.
_RARE: Final = 1e-7
_CLOSE: Final = 1e-10
_ROUNDS: Final = 5000
_LEAST: Final = 1e-300
_WEIGHT: Final = 0.5
_LEAST_WEIGHT: Final = 0.01
_LEAST_FACTOR: Final = 1e-6
_CONSTANT: Final = 1e-3


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """How long clips take with nothing else there: equally likely `values` in seconds, sorted."""

    values: tuple[float, ...]

    @classmethod
    def from_percentiles(cls, seconds: Mapping[float, float]) -> Self:
        """Make the distribution with these `seconds` by percentile (0..100, exclusive).

        Between two of them, and beyond the outer ones, the logarithm of the time is linear in the
        normal deviate: two percentiles give a lognormal distribution, one gives a constant.
        """
        ordered = sorted(seconds.items())
        normal = NormalDist()
        places = np.array([normal.inv_cdf(percentile / 100) for percentile, _ in ordered])
        logs = np.log([value for _, value in ordered])
        wanted = np.array([normal.inv_cdf((i + 0.5) / _VALUES) for i in range(_VALUES)])
        if len(ordered) == 1:
            return cls((math.exp(logs[0]),) * _VALUES)
        slopes = np.diff(logs) / np.diff(places)
        part = np.clip(np.searchsorted(places, wanted) - 1, 0, len(slopes) - 1)
        return cls(tuple(np.exp(logs[part] + slopes[part] * (wanted - places[part])).tolist()))

    @property
    def mean(self) -> float:
        """Seconds on average."""
        return float(np.mean(self.values))

    @property
    def variation(self) -> float:
        """The squared coefficient of variation: 0 of a constant, 1 of an exponential time."""
        return float(np.var(self.values)) / self.mean**2

    def scale(self, factor: float) -> ServiceTime:
        """The same work, `factor` times as long."""
        return ServiceTime(tuple(value * factor for value in self.values))

    def mix(self, share: float, factor: float) -> ServiceTime:
        """Make a `share` (0..1) of the clips `factor` times as long as the others."""
        special = round(share * _VALUES)
        if special in {0, _VALUES}:
            return self.scale(factor) if special else self
        parts = (_thin(self.values, _VALUES - special), _thin(self.scale(factor).values, special))
        return ServiceTime(tuple(sorted(np.concatenate(parts).tolist())))


def _thin(values: tuple[float, ...], count: int) -> Floats:
    """Keep `count` of the quantiles, evenly."""
    places = (np.arange(count) + 0.5) / count * len(values) - 0.5
    return np.interp(places, np.arange(len(values)), values)


@dataclass(frozen=True, slots=True)
class NodeQueue:
    """A node as a queue: `servers` clips at a time, each holding its server for a while.

    `alone` is the whole latency of a clip on an idle node; `busy` (0..1] the share of it for which
    it keeps others waiting. So the node's limit is servers / (busy x mean of alone).
    """

    servers: int
    alone: ServiceTime
    busy: float

    @classmethod
    def from_measurement(cls, clips_per_second: float, alone: ServiceTime) -> Self:
        """Make the queue of a node that was measured full, and with one clip at a time.

        By Little's law, clips_per_second x latency clips are under way on a full node that keeps
        none waiting; that, rounded down, is how many servers it has.
        """
        servers = max(1, math.floor(clips_per_second * alone.mean + 1e-9))
        busy = servers / clips_per_second / alone.mean
        if busy > 1:  # full, it is slower than its own latency allows: the latency is the limit's
            return cls(servers, alone.scale(busy), 1.0)
        return cls(servers, alone, busy)

    @property
    def limit(self) -> float:
        """Clips a second at most."""
        return self.servers / (self.busy * self.alone.mean)

    def scale(self, factor: float) -> NodeQueue:
        """The same node with clips of `factor` times the work."""
        return NodeQueue(self.servers, self.alone.scale(factor), self.busy)

    def mix(self, share: float, factor: float) -> NodeQueue:
        """The same node with a `share` of clips of `factor` times the work."""
        return NodeQueue(self.servers, self.alone.mix(share, factor), self.busy)

    def load(self, utilisation: float, choices: int = 1) -> LoadedQueue:
        """Load the nodes of a large cluster to `utilisation`, 0 <= utilisation < 1."""
        variation, occupancy = self.alone.variation, 1 / self.limit
        found = _find_states(utilisation, self.servers, choices, variation)
        waits = found[self.servers :]
        means, variances = _time_completions(len(waits), self.servers, self.alone)
        # The longest queue that is not too rare, gone through slowly.
        longest = occupancy * (means[-1] + 20 * math.sqrt(variances[-1] + 1))
        times = np.linspace(0, longest, _GRID)
        shapes, scales = means**2 / variances, occupancy * variances / means
        tail = gammaincc(shapes[None, :], times[:, None] / scales) @ waits
        mean_wait = float(occupancy * (waits * means).sum())
        rate = utilisation * self.limit
        return LoadedQueue(self, utilisation, rate, float(waits.sum()), mean_wait, times, tail)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedQueue:
    """A node of a cluster at one utilisation; times in seconds, `rate` in clips/s a node.

    `tail[i]` is the probability of waiting longer than `times[i]`.
    """

    queue: NodeQueue
    utilisation: float
    rate: float
    wait_share: float
    mean_wait: float
    times: Any
    tail: Any

    def pick(self, percentile: float) -> float:
        """The latency in seconds that `percentile` % of clips keep, waiting included."""
        alone = np.array(self.queue.alone.values)
        wanted = 1 - percentile / 100
        low, high = 0.0, float(alone[-1] + self.times[-1])
        for _ in range(_STEPS):
            middle = (low + high) / 2
            left = middle - alone
            late = np.where(left < 0, 1.0, np.interp(left, self.times, self.tail, right=0.0))
            if late.mean() > wanted:
                low = middle
            else:
                high = middle
        return high


def find_utilisation(queue: NodeQueue, p99_s: float, most: float, choices: int = 1) -> float:
    """Find the highest utilisation up to `most` with p99 at most `p99_s`; 0 where there is none."""
    if queue.load(most, choices).pick(99) <= p99_s:
        return most
    low, high = 0.0, most
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if queue.load(middle, choices).pick(99) <= p99_s:
            low = middle
        else:
            high = middle
    return low


def _time_completions(most: int, servers: int, alone: ServiceTime) -> tuple[Floats, Floats]:
    """Give mean and variance of the time until 1 .. `most` clips of a full node have ended.

    In units of the mean time between two of them, and of its square. Of one server it is what the
    first clip has left, and whole ones behind it; with many servers clips end independently.
    """
    values = np.array(alone.values) / alone.mean
    second, third = float((values**2).mean()), float((values**3).mean())
    left, left_variance = second / 2, third / 3 - (second / 2) ** 2
    further = np.arange(most)
    mean = 1 - (1 - left) / servers + further
    # Never 0, so that a constant time still has a distribution.
    first = max(1 - (1 - left_variance) / servers, _CONSTANT)
    each = max(1 - (1 - alone.variation) / servers, _CONSTANT)
    return mean, first + each * further


def _find_states(utilisation: float, servers: int, choices: int, variation: float) -> Floats:
    """Give the probabilities that an arriving clip finds 0, 1, 2, ... clips on its node."""
    if not utilisation:
        return np.array([1.0, *([0.0] * servers)])
    most = servers + math.ceil(math.log(_RARE) / math.log(utilisation)) + 1
    offered = utilisation * servers
    ratios = offered / np.minimum(np.arange(1, most), servers)
    steep = np.ones(most - 1)
    steep[servers:] = 2 / (1 + variation)
    favour, share = np.ones(most - 1), np.eye(1, most)[0]
    weight, before = (1.0 if choices == 1 else _WEIGHT), math.inf
    for _ in range(_ROUNDS):
        logs = np.concatenate(([0.0], np.cumsum(steep * np.log(ratios * favour))))
        new = np.exp(logs - logs.max())
        new[servers:] *= _balance(new, servers, offered, 2 / (1 + variation))
        new /= new.sum()
        moved = float(np.abs(new - share).max())
        if moved < _CLOSE:
            break
        weight = weight if moved < before else max(weight / 2, _LEAST_WEIGHT)
        share = share + weight * (new - share)
        before = moved
        tail = np.cumsum(share[::-1])[::-1]
        # Nodes with k clips get this times the mean rate: (s_k^d - s_(k+1)^d) / (s_k - s_(k+1)).
        favour = sum(
            (tail[:-1] ** i * tail[1:] ** (choices - 1 - i) for i in range(choices)),
            start=np.zeros(most - 1),
        )
        favour = np.maximum(favour, _LEAST)
    tail = np.append(np.cumsum(share[::-1])[::-1], 0.0)
    found: Floats = tail[:-1] ** choices - tail[1:] ** choices
    kept = max(servers + 1, int(np.flatnonzero(found > _RARE)[-1]) + 1)
    return found[:kept]


def _balance(share: Floats, servers: int, offered: float, most: float) -> float:
    """Give the factor on nodes with all servers busy with which `offered` servers are busy.

    Once the shares are right it lies between 1, which it is for exponential times, and `most`. On
    the way there it may be far smaller, which leads away from a cluster that stays full.
    """
    free, full = share[:servers], float(share[servers:].sum())
    wanted = offered * float(free.sum()) - float((free * np.arange(servers)).sum())
    factor = wanted / max(full * (servers - offered), _LEAST)
    return min(max(factor, _LEAST_FACTOR), max(1.0, most))

"""The comparison: every server checked, tuned, and loaded in turn with Livewarden's own.

A server runs alone: each window starts it anew, so that none computes, or holds memory, while
another is measured. Rounds run forwards and backwards in turn, so that a machine that slows down
or speeds up favours nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from livewarden_client.wire import MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.errors import LivewardenError
from livewarden_ensemble.server import Server
from livewarden_perf.baseline.checker import CHECKED_CLIPS, Checker
from livewarden_perf.baseline.load import Window, measure_window
from livewarden_perf.baseline.protocol import LivewardenGrpc, WireProtocol
from livewarden_perf.baseline.running import Running
from livewarden_perf.errors import BaselineFailed, MeasurementInvalid, PerfError
from livewarden_perf.standard_clip import standard_clip

if TYPE_CHECKING:
    from pathlib import Path

    from livewarden_client.clip import Clip
    from livewarden_perf.baseline.contestant import Baseline, Site, Variant

_WARM_UP_S: Final = 3.0
# Clips per second and core for which there are enough that no start sees one twice.
_RATE_PER_CORE: Final = 8.0
LIVEWARDEN: Final = "livewarden"

Announce = Callable[[str], None]


class Serving(Protocol):
    """A server that is up: its first process, and where it answers."""

    @property
    def pid(self) -> int:
        """Its first process."""

    @property
    def port(self) -> int:
        """Where it answers."""


@dataclass(frozen=True, slots=True)
class _OwnServing:
    pid: int
    port: int


@dataclass(frozen=True, slots=True)
class Load:
    """How hard and how long: each of `rounds` gives every server a window of `seconds`."""

    callers: int
    seconds: float
    rounds: int
    tune_seconds: float


@dataclass(slots=True)
class Standing:
    """What came out for one server.

    `difference` is its scores' largest distance to our pipeline's; `tried` maps variants to clips
    per second of a short window, or to None where one failed; `failure` says why it has no figures.
    """

    name: str
    title: str
    how: str
    packages: tuple[str, ...]
    variant: str = ""
    difference: float | None = None
    tried: dict[str, float | None] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    failure: str = ""

    @property
    def clips_per_second(self) -> float:
        """Clips of all windows over their time."""
        return self._clips / sum(window.seconds for window in self.windows)

    @property
    def cpu_s(self) -> float:
        """Processor seconds per clip, of all processes of the server."""
        return sum(window.cpu_s for window in self.windows) / self._clips

    @property
    def memory_mb(self) -> float:
        """The most that it held."""
        return max(window.memory_mb for window in self.windows)

    @property
    def others(self) -> float:
        """Cores that other programs used, in its worst window."""
        return max(window.others for window in self.windows)

    @property
    def _clips(self) -> float:
        return sum(window.clips for window in self.windows)

    def latency_ms(self, percent: float) -> float:
        """The percentile of the latencies of all windows."""
        return float(
            np.percentile([ms for window in self.windows for ms in window.latencies_ms], percent)
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """All servers, Livewarden first; `repeated` says whether a window ran out of new clips."""

    standings: tuple[Standing, ...]
    load: Load
    bundle: str
    clips: int
    repeated: bool


def compare_servers(
    repository: Path,
    policy: Path | None,
    baselines: Sequence[Baseline],
    site: Site,
    load: Load,
    announce: Announce,
) -> Comparison:
    """Check, tune and measure `baselines` beside the server on `repository`.

    A baseline that cannot be started, or that gives other scores, stands in the result with the
    reason. Where Livewarden does, the error goes through: BaselineFailed, MeasurementInvalid.
    """
    count = CHECKED_CLIPS + int((_WARM_UP_S + load.seconds) * _RATE_PER_CORE * site.cores)
    announce(f"Making {count} standard clips")
    clips = [standard_clip(index) for index in range(count)]
    checker = Checker.of(repository, policy, clips[:CHECKED_CLIPS])
    runs = [_make_own(repository, policy), *(_Run.of(one, site) for one in baselines)]
    for run in runs:
        run.tune(checker, clips, load, announce)
    for number in range(load.rounds):
        for run in runs[:: 1 if number % 2 == 0 else -1]:
            run.measure(checker, clips, load, announce, f"round {number + 1} of {load.rounds}")
    return Comparison(
        standings=tuple(run.standing for run in runs),
        load=load,
        bundle=load_bundle(repository / MODERATION.name).digest,
        clips=count,
        repeated=any(
            window.sent > count - CHECKED_CLIPS for run in runs for window in run.standing.windows
        ),
    )


Start = Callable[[], AbstractContextManager[Serving]]


@dataclass(slots=True)
class _Run:
    """One server on its way through the comparison; `starts` has one way per variant."""

    standing: Standing
    protocol: WireProtocol
    starts: dict[str, Start]
    is_own: bool = False

    @classmethod
    def of(cls, baseline: Baseline, site: Site) -> _Run:
        return cls(
            Standing(baseline.name, baseline.title, baseline.how, baseline.packages),
            baseline.protocol,
            {
                variant.name: partial(_start_baseline, baseline, site, variant)
                for variant in baseline.variants
            },
        )

    def tune(self, checker: Checker, clips: Sequence[Clip], load: Load, announce: Announce) -> None:
        """Keep the variant with the most clips per second, if there is more than one."""
        standing = self.standing
        if len(self.starts) == 1:
            (standing.variant,) = self.starts
            return
        for name, start in self.starts.items():
            announce(f"{standing.title}: {name}")
            standing.tried[name] = None
            with self._noting_failure(), start() as server:
                self._check(server, checker)
                window = self._load(server, clips, load, load.tune_seconds)
                standing.tried[name] = window.clips_per_second
        rates = {name: rate for name, rate in standing.tried.items() if rate is not None}
        if rates:
            standing.variant = max(rates, key=lambda name: rates[name])
            standing.failure = ""

    def measure(
        self, checker: Checker, clips: Sequence[Clip], load: Load, announce: Announce, what: str
    ) -> None:
        """Add a window to the standing, unless it has failed before."""
        if self.standing.failure:
            return
        announce(f"{self.standing.title}: {what}")
        with self._noting_failure(), self.starts[self.standing.variant]() as server:
            self._check(server, checker)
            window = self._load(server, clips, load, load.seconds)
            if not window.latencies_ms:
                raise MeasurementInvalid(f"no clip was answered within {load.seconds:g} s")
            self.standing.windows.append(window)

    def _check(self, server: Serving, checker: Checker) -> None:
        """Check the scores, once."""
        if self.standing.difference is None:
            self.standing.difference = checker.check(self.protocol, server.port)

    def _load(self, server: Serving, clips: Sequence[Clip], load: Load, seconds: float) -> Window:
        # The checked clips come last, and so not at all.
        requests = [self.protocol.encode(clip) for clip in clips[CHECKED_CLIPS:]]
        return measure_window(
            partial(self.protocol.connect, server.port),
            requests,
            callers=load.callers,
            warm_up_s=_WARM_UP_S,
            seconds=seconds,
            pid=server.pid,
        )

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except (PerfError, LivewardenError) as error:
            if self.is_own:
                raise
            self.standing.failure = str(error)


def _make_own(repository: Path, policy: Path | None) -> _Run:
    @contextmanager
    def start() -> Iterator[Serving]:
        # The load repeats its clips; nobody else here remembers them.
        with Server(
            repository, grpc_port=0, http_port=0, metrics_port=0, policy=policy, cache_mib=0
        ) as server:
            if server.pid is None:
                raise BaselineFailed("Livewarden's server has ended")
            yield _OwnServing(server.pid, int(server.grpc_url.rpartition(":")[2]))

    standing = Standing(
        LIVEWARDEN,
        "Livewarden",
        "the whole pipeline with policy and verdict; gRPC",
        ("tritonserver", "openvino", "simplejpeg"),
    )
    return _Run(standing, LivewardenGrpc(), {"": start}, is_own=True)


def _start_baseline(
    baseline: Baseline, site: Site, variant: Variant
) -> AbstractContextManager[Serving]:
    return Running(partial(baseline.build, site, variant))

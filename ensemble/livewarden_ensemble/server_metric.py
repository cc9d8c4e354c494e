"""What the supervisor measures, on the port of its health: it is the one that outlives a server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from livewarden_ensemble.metric import Metric
from livewarden_ensemble.supervisor import Cause, Phase
from livewarden_ensemble.vitals import Beat

if TYPE_CHECKING:
    from livewarden_ensemble.canary import Canary
    from livewarden_ensemble.supervisor import Notice
    from livewarden_ensemble.vitals import Pulse

SERVER: Final[Mapping[str, Metric]] = {
    "livewarden_server_ready": Metric("gauge", "1 while clips are known to go through every stage"),
    "livewarden_server_phase": Metric(
        "gauge", "1 for the phase that the server is in", {"phase": tuple(Phase)}
    ),
    "livewarden_server_restarts_total": Metric(
        "counter", "Times that a sick server was killed, by what ailed it", {"cause": tuple(Cause)}
    ),
    "livewarden_canary_seconds": Metric(
        "histogram",
        "Time of the supervisor's canary clip, by what it said of the server",
        {"beat": tuple(Beat)},
        (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0),
    ),
}


class ServerMetrics:
    """The metrics of one supervised server, for as long as its supervisor lives."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._ready = Gauge(*_describe("livewarden_server_ready"), registry=self._registry)
        self._phase = Gauge(*_describe("livewarden_server_phase"), registry=self._registry)
        self._restarts = Counter(
            *_describe("livewarden_server_restarts_total"), registry=self._registry
        )
        self._canary = Histogram(
            *_describe("livewarden_canary_seconds"),
            buckets=SERVER["livewarden_canary_seconds"].buckets,
            registry=self._registry,
        )
        for phase in Phase:
            self._phase.labels(phase).set(phase is Phase.STARTING)
        for cause in Cause:
            self._restarts.labels(cause)
        for beat in Beat:
            self._canary.labels(beat)

    def note(self, notice: Notice) -> None:
        """Take note of a change of phase."""
        for phase in Phase:
            self._phase.labels(phase).set(phase is notice.phase)
        if notice.cause is not None:
            self._restarts.labels(notice.cause).inc()

    def watch(self, canary: Canary) -> Canary:
        """The same canary, its time measured."""

        def ask(url: str) -> Pulse:
            begin = time.monotonic()
            pulse = canary(url)
            self._canary.labels(pulse.beat).observe(time.monotonic() - begin)
            return pulse

        return ask

    def render(self, *, ready: bool) -> bytes:
        """The text that Prometheus reads."""
        self._ready.set(ready)
        return generate_latest(self._registry)


def _describe(name: str) -> tuple[str, str, tuple[str, ...]]:
    metric = SERVER[name]
    return name, metric.help, tuple(metric.labels)

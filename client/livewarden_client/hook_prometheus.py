"""The hook for Prometheus; needs the extra [prometheus].

client = Client(url, hooks=[PrometheusHook()])

livewarden_client_calls_total{outcome}            the action, or client_<code> where no
                                                  server gave a verdict
livewarden_client_attempts_total{endpoint, outcome, hedge}
livewarden_client_call_seconds                    histogram
livewarden_client_calls_in_progress
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from livewarden_client.hook import Hook

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from livewarden_client.hook import AttemptEnded, CallEnded, CallStarted

BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)


class PrometheusHook(Hook):
    """Counts calls and attempts in `registry`; make one and give it to every client."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        prefix = "livewarden_client"
        self._calls = Counter(
            f"{prefix}_calls", "Calls that ended.", ["outcome"], registry=registry
        )
        self._attempts = Counter(
            f"{prefix}_attempts",
            "Sendings of a clip that ended before their call did.",
            ["endpoint", "outcome", "hedge"],
            registry=registry,
        )
        self._seconds = Histogram(
            f"{prefix}_call_seconds", "Seconds per call.", buckets=BUCKETS, registry=registry
        )
        self._running = Gauge(f"{prefix}_calls_in_progress", "Calls under way.", registry=registry)

    def call_started(self, call: CallStarted) -> None:  # noqa: ARG002 - the facts are not labels
        """Count one call under way."""
        self._running.inc()

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """Count one attempt."""
        outcome, hedge = attempt.error or "verdict", "yes" if attempt.hedge else "no"
        self._attempts.labels(attempt.endpoint, outcome, hedge).inc()

    def call_ended(self, call: CallEnded) -> None:
        """Count one call, and its time."""
        self._running.dec()
        self._seconds.observe(call.seconds)
        # A verdict of the client's own must not look like a server's.
        outcome = f"client_{call.error}" if call.error else str(call.action)
        self._calls.labels(outcome).inc()

"""The hook for OpenTelemetry; needs the extra [opentelemetry].

    client = Client(url, hooks=[OpenTelemetryHook()])

Each call is a span of kind CLIENT under the caller's own, each attempt an event of it. The trace
goes on in the server: `traceparent` travels as gRPC metadata, and a server with `--otlp URL` hangs
its own spans under it, one per clip, stage and call to a model.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from opentelemetry import propagate, trace

from livewarden_client.hook import Hook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_client.hook import AttemptEnded, CallEnded, CallStarted

SPAN: Final = "livewarden.moderate"


class OpenTelemetryHook(Hook):
    """Writes spans with `provider`, the global one by default."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("livewarden_client", tracer_provider=provider)
        self._lock = threading.Lock()
        self._spans: dict[int, trace.Span] = {}

    def call_started(self, call: CallStarted) -> None:
        """Begin the span, under the one that is current."""
        span = self._tracer.start_span(
            SPAN,
            kind=trace.SpanKind.CLIENT,
            attributes={
                "rpc.system": "grpc",
                "livewarden.request_id": call.request_id,
                "livewarden.stream_id": call.stream_id,
                "livewarden.timeout_s": call.timeout,
            },
        )
        with self._lock:
            self._spans[call.call] = span

    def build_headers(self, call: CallStarted) -> Mapping[str, str]:
        """Write the span's context as the global propagator does."""
        carrier: dict[str, str] = {}
        span = self._spans.get(call.call)
        if span is not None:
            propagate.inject(carrier, trace.set_span_in_context(span))
        return carrier

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """Note the attempt as an event."""
        span = self._spans.get(attempt.call)
        if span is not None:
            span.add_event(
                "attempt",
                {
                    "livewarden.attempt": attempt.number,
                    "server.address": attempt.endpoint,
                    "livewarden.seconds": attempt.seconds,
                    "livewarden.error": attempt.error,
                    "livewarden.hedge": attempt.hedge,
                },
            )

    def call_ended(self, call: CallEnded) -> None:
        """End the span."""
        with self._lock:
            span = self._spans.pop(call.call, None)
        if span is None:
            return
        span.set_attribute("livewarden.attempts", call.attempts)
        span.set_attribute("livewarden.action", call.action or "")
        if call.error:
            span.set_attribute("error.type", call.error)
            span.set_status(trace.StatusCode.ERROR, call.error)
        span.end()

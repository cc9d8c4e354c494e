"""Traces: a span per clip under the caller's own, one below it per stage and per call to a leaf.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT names a collector that speaks OTLP over HTTP; needs the extra
[traces]. OpenTelemetry's other variables hold as well, OTEL_TRACES_SAMPLER among them. No attribute
holds a text or a pixel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from livewarden_ensemble.errors import ServerFailed

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from livewarden_ensemble.clip import RawClip
    from livewarden_ensemble.course import Course
    from livewarden_ensemble.pipeline import Outcome
    from livewarden_ensemble.routing import Answer

OTLP_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
# What tritonserver hands on of a request's headers (RE2, the whole name): W3C trace context.
HEADERS: Final = "(?i)trace(parent|state)"
SPAN: Final = "livewarden.clip"
_LINGER_MS: Final = 1000
# https://www.w3.org/TR/trace-context: what has another form may be anything, a text of a chat too.
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_STATE_CHARS: Final = 512
_NEEDED: Final = "opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def check_installed() -> None:
    """Raise ServerFailed where the extra [traces] is not installed."""
    for name in _NEEDED:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:  # a package above it
            found = None
        if found is None:
            raise ServerFailed(
                f"Sending traces needs {name}, which is not installed. "
                "Run: pip install 'livewarden[traces]'"
            )


class Tracer:
    """Writes the spans of finished batches with `provider`; their times are in the past by then."""

    def __init__(self, provider: TracerProvider) -> None:
        # Not above: the leaves' processes import this module, and most servers have no collector.
        from opentelemetry import propagate, trace  # noqa: PLC0415 - see the line above
        from opentelemetry.trace import propagation  # noqa: PLC0415 - same

        self._provider = provider
        self._tracer = provider.get_tracer("livewarden_ensemble")
        self._extract = propagate.extract
        self._nest = propagation.set_span_in_context
        self._server, self._client = trace.SpanKind.SERVER, trace.SpanKind.CLIENT
        self._error = trace.StatusCode.ERROR

    @classmethod
    def open(
        cls, environment: Mapping[str, str], server: str, warn: Callable[[str], None]
    ) -> Tracer | None:
        """The tracer that `environment` asks for, if any; `server` tells replicas apart.

        None as well, with a warning, where the extra is not installed: operators put the variable
        into every pod, and no clip depends on a trace. Who asks by --otlp was refused before.
        """
        if not environment.get(OTLP_VARIABLE):
            return None
        try:
            check_installed()
        except ServerFailed as error:
            warn(f"{OTLP_VARIABLE} is set, but no traces are sent. {error}")
            return None
        # Not above: most servers have no collector.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - above
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

        name = environment.get("OTEL_SERVICE_NAME", "livewarden")
        facts = {"service.name": name, "service.instance.id": server}
        provider = TracerProvider(resource=Resource.create(facts))
        # A thread of its own, and a queue that drops what a slow collector does not take.
        exporter = OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_LINGER_MS))
        return cls(provider)

    def write(self, clips: Sequence[RawClip], answers: Sequence[Answer]) -> None:
        """Write the spans of one batch; the server's own canaries have none."""
        for clip, answer in zip(clips, answers, strict=True):
            outcome = answer.outcome
            if outcome.course is not None and not outcome.canary:
                self._write_clip(clip, answer, outcome, outcome.course)

    def close(self) -> None:
        """Send what is waiting, and stop."""
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def _write_clip(self, clip: RawClip, answer: Answer, outcome: Outcome, course: Course) -> None:
        span = self._tracer.start_span(
            SPAN,
            context=self._extract(clip.trace),
            kind=self._server,
            start_time=course.begin_ns + course.epoch_ns,
            attributes={
                "livewarden.bundle": answer.bundle,
                "livewarden.role": answer.role,
                "livewarden.batch_clips": course.clips,
                **_describe(outcome),
            },
        )
        spans = course.list_spans()
        if outcome.refusal is not None:
            span.set_status(self._error, "malformed")
        elif span.is_recording():
            self._write_stages(span, course, spans)
        span.end(course.epoch_ns + (spans[-1][2] if spans else course.begin_ns))

    def _write_stages(
        self, parent: Span, course: Course, spans: Sequence[tuple[str, int, int]]
    ) -> None:
        context = self._nest(parent)
        for stage, begin_ns, end_ns in spans:
            span = self._tracer.start_span(
                f"livewarden.{stage}", context=context, start_time=begin_ns + course.epoch_ns
            )
            inner = self._nest(span)
            for visit in course.visits:
                if visit.stage != stage:
                    continue
                call = self._tracer.start_span(
                    visit.leaf,
                    context=inner,
                    kind=self._client,
                    start_time=visit.begin_ns + course.epoch_ns,
                    attributes={"livewarden.rows": visit.rows},
                )
                if visit.cause:
                    call.set_status(self._error, visit.cause)
                call.end(visit.end_ns + course.epoch_ns)
            span.end(end_ns + course.epoch_ns)


def read_trace(parameters: str) -> dict[str, str]:
    """The trace context among a request's parameters, which Triton gives as JSON.

    Empty without a `traceparent` of the form that the standard asks for; a `tracestate` of more
    than 512 characters is left out.
    """
    try:
        given = json.loads(parameters) if parameters else {}
    except ValueError:
        return {}
    if not isinstance(given, dict):
        return {}
    texts = {name.lower(): value for name, value in given.items() if isinstance(value, str)}
    parent, state = texts.get("traceparent", ""), texts.get("tracestate", "")
    if not _TRACEPARENT.fullmatch(parent):
        return {}
    kept = {"traceparent": parent}
    if 0 < len(state) <= _MAX_STATE_CHARS:
        kept["tracestate"] = state
    return kept


def _describe(outcome: Outcome) -> dict[str, Any]:
    verdict = outcome.verdict
    if verdict is None:
        return {}
    return {
        "livewarden.request_id": verdict.request_id,
        "livewarden.clip_seq": verdict.clip_seq,
        "livewarden.action": verdict.action,
        "livewarden.label": verdict.label or "",
        "livewarden.degraded": verdict.coverage.degraded,
        "livewarden.frames": verdict.coverage.frames.sent,
        "livewarden.texts": verdict.coverage.texts.sent,
        "livewarden.policy": f"{verdict.provenance.policy.id}@{verdict.provenance.policy.version}",
    }

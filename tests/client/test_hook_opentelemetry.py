from __future__ import annotations

from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from livewarden_client import Client, Clip
from livewarden_client.hook_opentelemetry import SPAN, OpenTelemetryHook


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def test_trace_goes_on_in_the_server(
    kserve: Any, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """The span is the caller's child, and the server gets it as `traceparent` in the metadata."""
    seen: list[dict[str, Any]] = []

    def answer(request: Any, context: grpc.ServicerContext) -> bytes:
        seen.append(dict(context.invocation_metadata()))
        return kserve.echo(request)

    kserve.answer = answer
    tracer = provider.get_tracer("test")
    with (
        Client(kserve.address, hooks=[OpenTelemetryHook(provider)]) as client,
        tracer.start_as_current_span("caller") as caller,
    ):
        client.moderate(Clip(request_id="r1"))
    ours, _ = exporter.get_finished_spans()
    assert (ours.name, ours.kind) == (SPAN, trace.SpanKind.CLIENT)
    assert ours.parent == caller.get_span_context()
    context = ours.get_span_context()
    sent = f"00-{context.trace_id:032x}-{context.span_id:016x}-"
    assert seen[0]["traceparent"].startswith(sent)
    assert ours.attributes["livewarden.action"] == "block"
    assert [event.attributes["server.address"] for event in ours.events] == [kserve.address]
    assert ours.status.is_ok


def test_failed_call_is_a_failed_span(
    kserve: Any, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """Every attempt is an event with its error; the span says what the call ended in."""
    kserve.answer = lambda _request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "secret")
    hook = OpenTelemetryHook(provider)
    with Client(kserve.address, hooks=[hook]) as client:
        client.moderate(Clip())
    (span,) = exporter.get_finished_spans()
    assert [event.attributes["livewarden.error"] for event in span.events] == ["unavailable"] * 3
    assert (span.status.status_code, span.attributes["error.type"]) == (
        trace.StatusCode.ERROR,
        "unavailable",
    )
    assert "secret" not in span.to_json()
    assert not hook._spans

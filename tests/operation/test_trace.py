from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector import Collector, Received
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from livewarden_client import Client, Clip, Text
from livewarden_client.hook_opentelemetry import SPAN, OpenTelemetryHook
from livewarden_client.wire import LEAVES
from livewarden_ensemble.canary import draw_frame
from livewarden_ensemble.course import STAGES
from livewarden_ensemble.server import Server
from livewarden_ensemble.trace import Tracer

pytestmark = pytest.mark.integration
SECRET = "a very particular sentence"
STAGE_SPANS = {f"livewarden.{stage}" for stage in STAGES}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "log.jsonl"


@pytest.fixture(scope="module")
def traced(repository: Path, collector: Collector, log_file: Path) -> Iterator[Server]:
    """A server that sends traces, and logs JSON."""
    with Server(
        repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        otlp=collector.url,
        log_format="json",
        log_file=log_file,
        policy=Path(__file__).parents[2] / "policies" / "default.yaml",
    ) as server:
        yield server


@pytest.fixture
def provider(collector: Collector) -> Iterator[TracerProvider]:
    """The caller's own provider, with the same collector."""
    provider = TracerProvider(resource=Resource.create({"service.name": "caller"}))
    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def moderate(server: Server, provider: TracerProvider, clip: Clip) -> tuple[str, str]:
    """Moderate within a span of the caller's; the ids of the trace and of that span."""
    tracer = provider.get_tracer("test")
    with (
        Client(server.grpc_url, timeout=30, hooks=[OpenTelemetryHook(provider)]) as client,
        tracer.start_as_current_span("caller") as caller,
    ):
        client.moderate(clip)
        context = caller.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def list_children(spans: list[Received], parent: Received) -> dict[str, Received]:
    return {span.name: span for span in spans if span.parent == parent.id}


def test_one_trace_from_the_caller_to_the_leaves(
    traced: Server, provider: TracerProvider, collector: Collector
) -> None:
    """Caller, client, clip, stages and leaves are one tree, each inside the times of its parent."""
    clip = Clip(
        [draw_frame()], [Text("chat", SECRET)], stream_id="s1", request_id="r1", pass_through=SECRET
    )
    trace, root = moderate(traced, provider, clip)
    spans = collector.wait("livewarden.clip", trace)
    by_name = {span.name: span for span in spans}
    assert by_name[SPAN].parent == root
    assert (by_name["caller"].service, by_name["livewarden.clip"].service) == (
        "caller",
        "livewarden",
    )
    server_span = by_name["livewarden.clip"]
    assert server_span.parent == by_name[SPAN].id
    stages = list_children(spans, server_span)
    assert set(stages) == STAGE_SPANS
    asked = list_children(spans, stages["livewarden.encode"]) | list_children(
        spans, stages["livewarden.fuse"]
    )
    assert set(asked) == {leaf.name for leaf in LEAVES}
    by_id = {span.id: span for span in spans}
    for span in spans:
        if span.parent and span.service == "livewarden" and span is not server_span:
            parent = by_id[span.parent]
            assert parent.begin_ns <= span.begin_ns <= span.end_ns <= parent.end_ns
    assert abs(server_span.begin_ns - by_name[SPAN].begin_ns) < 60e9
    assert server_span.attributes["livewarden.request_id"] == "r1"
    assert server_span.attributes["livewarden.frames"] == 1
    assert asked["vision_encoder"].attributes["livewarden.rows"] == 1
    assert SECRET not in repr(collector.spans)


def test_a_caller_without_a_trace_begins_one(traced: Server, collector: Collector) -> None:
    """Without a header the clip is the root; the server's canaries never appear."""
    with Client(traced.grpc_url, timeout=30) as client:
        client.moderate(Clip([draw_frame()], request_id="alone"))
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        roots = [s for s in list(collector.spans) if s.name == "livewarden.clip"]
        if any(s.attributes["livewarden.request_id"] == "alone" for s in roots):
            break
        time.sleep(0.1)
    [alone] = [s for s in roots if s.attributes["livewarden.request_id"] == "alone"]
    assert alone.parent == ""
    assert not any(s.attributes["livewarden.request_id"].startswith("canary") for s in roots)


def test_log_has_a_line_of_json_for_each_clip_that_is_not_allowed(
    traced: Server, provider: TracerProvider, log_file: Path
) -> None:
    """Every line is JSON; a clip that is not allowed has one, with its trace and no content."""
    seen = Clip([b"junk"], [Text("chat", SECRET)], request_id='odd "id"\n', stream_id="s2")
    trace, _ = moderate(traced, provider, seen)
    with Client(traced.grpc_url, timeout=30) as client:
        fine = client.moderate(Clip([draw_frame()], request_id="fine"))
    assert fine.action == "allow", fine.reasons
    give_up = time.monotonic() + 20
    lines: list[dict] = []
    while time.monotonic() < give_up and not any(one.get("trace_id") == trace for one in lines):
        text = log_file.read_text() if log_file.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        time.sleep(0.1)
    [clip] = [one for one in lines if one.get("trace_id") == trace]
    assert clip["event"] == "clip"
    assert (clip["request_id"], clip["stream_id"]) == ('odd "id"\n', "s2")
    assert (clip["level"], clip["action"], clip["degraded"]) == ("warning", "review", True)
    assert clip["reasons"]
    assert not any(one.get("request_id") == "fine" for one in lines)
    assert SECRET not in log_file.read_text()


def test_without_an_endpoint_there_is_no_tracer() -> None:
    """A server that sends no traces pays nothing: the SDK is not even loaded."""
    assert Tracer.open({}, "s", pytest.fail) is None
    assert Tracer.open({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, "s", pytest.fail) is None

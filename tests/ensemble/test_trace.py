from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from livewarden_client.wire import LEAVES, MAX_ID_CHARS
from livewarden_ensemble.cli import serve
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.course import STAGES
from livewarden_ensemble.errors import LeafFailed, ServerFailed
from livewarden_ensemble.launch import Launch, Ports
from livewarden_ensemble.log_line import describe_clip, format_line
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.routing import Answer
from livewarden_ensemble.serverlog import ServerLog
from livewarden_ensemble.trace import OTLP_VARIABLE, SPAN, Tracer, read_trace

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
SECRET = "a very particular sentence"

Run = Callable[..., list[Answer]]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracer(provider)


@pytest.fixture
def run(make_pipeline: Callable[..., Pipeline]) -> Run:
    def run(clips: list[RawClip], **given: Any) -> list[Answer]:
        outcomes = make_pipeline(**given).moderate(clips)
        return [Answer("b" * 12, "live", outcome) for outcome in outcomes]

    return run


def test_a_clip_hangs_under_its_caller(
    tracer: Tracer, exporter: InMemorySpanExporter, run: Run, make_clip: Any
):
    """The clip's span is the caller's child, each stage and call its own; content is nowhere."""
    clip = replace(make_clip([(9, 9, 9)], [SECRET], request_id="r"), trace=CONTEXT)
    tracer.write([clip], run([clip]))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {SPAN, *(f"livewarden.{s}" for s in STAGES), *(m.name for m in LEAVES)}
    root = spans[SPAN]
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, PARENT)
    assert spans["text_encoder"].parent == spans["livewarden.encode"].context
    assert spans["fusion_classifier"].parent == spans["livewarden.fuse"].context
    assert root.attributes["livewarden.request_id"] == "r"
    assert all(span.start_time <= span.end_time for span in spans.values())
    assert not any(SECRET in span.to_json() for span in spans.values())


def test_a_leaf_that_failed_is_a_failed_span(
    tracer: Tracer, exporter: InMemorySpanExporter, run: Run, make_clip: Any, leaves: Any
):
    """The call says its cause; the clip itself got a verdict, and is no failure."""
    leaves.spoil["text_encoder"] = lambda _call, _answer: LeafFailed("text_encoder", SECRET)
    clip = make_clip([], ["hello"])
    tracer.write([clip], run([clip]))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans["text_encoder"].status.description == "model_error"
    assert spans[SPAN].status.is_ok
    assert not any(SECRET in span.to_json() for span in spans.values())


def test_a_refused_clip_has_one_span_and_a_canary_none(
    tracer: Tracer, exporter: InMemorySpanExporter, run: Run, make_clip: Any
):
    """What was not moderated has no stages; the server's own probes would drown the callers."""
    canary = make_clip(options={"canary": True, "server_key": "ab"})
    clips = [RawClip(b"{"), canary]
    tracer.write(clips, run(clips, is_own=lambda key: key == "ab"))
    [span] = exporter.get_finished_spans()
    assert (span.name, span.status.description) == (SPAN, "malformed")


def test_what_is_not_sampled_costs_no_children(run: Run, make_clip: Any):
    """An unsampled clip makes one span that records nothing."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    clip = make_clip()
    Tracer(provider).write([clip], run([clip]))
    assert exporter.get_finished_spans() == ()


def test_a_variable_that_was_inherited_stops_no_server(monkeypatch: pytest.MonkeyPatch):
    """Without the package the server goes on without traces, and the log says what to install."""
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    said: list[str] = []
    assert Tracer.open({OTLP_VARIABLE: "http://collector:4318"}, "s", said.append) is None
    [warning] = said
    assert OTLP_VARIABLE in warning
    assert "livewarden[traces]" in warning


def test_a_collector_that_was_asked_for_is_an_error_without_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """`--otlp` without the package is refused before anything starts; the variable is not."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.pbtxt").touch()
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    monkeypatch.setenv(OTLP_VARIABLE, "http://collector:4318")
    context = serve.make_context("serve", [], resilient_parsing=True)
    assert context.params["otlp"] is None
    Launch(tmp_path, "127.0.0.1", Ports(1, 2, 3), otlp=None)
    with pytest.raises(ServerFailed, match=r"livewarden\[traces\]"):
        Launch(tmp_path, "127.0.0.1", Ports(1, 2, 3), otlp="http://collector:4318")


@pytest.mark.parametrize("header", ["", "nonsense", "00-zz-yy-01", "-" * 300, f"00-{SECRET}-b-01"])
def test_a_bad_header_begins_a_trace(
    tracer: Tracer, exporter: InMemorySpanExporter, run: Run, make_clip: Any, header: str
):
    """A context that is none is no reason to lose the clip's own."""
    read = read_trace(json.dumps({"traceparent": header, "tracestate": "k=v"}))
    clip = replace(make_clip(), trace=read)
    tracer.write([clip], run([clip]))
    root = next(span for span in exporter.get_finished_spans() if span.name == SPAN)
    assert root.parent is None
    for answered in (clip, RawClip(b"{", trace=read)):
        line = describe_clip(run([answered])[0], read.get("traceparent", ""))[1]
        assert json.loads(line)["event"] == "clip"
        assert "trace_id" not in json.loads(line)
        assert not header or header not in line


def test_the_record_of_a_clip_names_codes_and_no_content(run: Run, make_clip: Any):
    """A clip that is not allowed is grave; its record has ids and codes, never a text."""
    clip = make_clip([], ["attack " + SECRET], request_id="r", stream_id="s", clip_seq=4)
    grave, line = describe_clip(run([clip])[0], CONTEXT["traceparent"])
    record = json.loads(line)
    assert grave
    assert (record["request_id"], record["stream_id"], record["clip_seq"]) == ("r", "s", 4)
    assert record["trace_id"] == TRACE
    assert record["action"] != "allow"
    assert record["reasons"]
    assert SECRET not in line
    [refused] = run([RawClip(SECRET.encode())])
    grave, line = describe_clip(refused)
    assert grave
    assert json.loads(line)["action"] == "refused"
    assert SECRET not in line


@pytest.mark.parametrize("letter", ["x", "\U0001f600", '"', "\0"])
def test_a_record_with_long_ids_is_one_line_of_the_log(
    run: Run, make_clip: Any, letter: str, tmp_path: Path
):
    """Ids of any letters leave the record whole, in the 4 KB that a line of the log may have."""
    ids = letter * MAX_ID_CHARS
    answer = run([make_clip([], ["attack"], request_id=ids, stream_id=ids)])[0]
    message = json.dumps(describe_clip(answer, CONTEXT["traceparent"])[1])
    log = ServerLog(tmp_path / "log", format_line)
    end, start = os.pipe()
    log.follow(os.fdopen(end, "rb"))
    with os.fdopen(start, "wb") as stream:
        stream.write(f"W1123 10:14:33.393084 1485 pb_stub.cc:405] {message}\n".encode())
    log.close()
    record = json.loads((tmp_path / "log").read_text())
    assert (record["event"], record["trace_id"]) == ("clip", TRACE)
    assert record["request_id"] == record["stream_id"]
    assert record["request_id"].removesuffix("...") == ids[: len(record["request_id"]) - 3] or (
        record["request_id"] == ids
    )

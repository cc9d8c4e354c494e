import json
import threading
from concurrent.futures import Future

import numpy as np
import pytest

from livewarden_client.clip import Clip, Text
from livewarden_client.errors import Overloaded, Unavailable
from livewarden_client.fake import FakeTransport
from livewarden_perf.clip_mix import ClipMix, ClipStock
from livewarden_perf.open_loop import run_open_loop
from livewarden_perf.served import ServedTarget


def make_stock():
    return ClipStock(ClipMix({"a": 1.0}), 2, {"a": lambda n: Clip(texts=[Text("chat", f"{n}")])})


def answer(request, **changes):
    """Answer with the part of a verdict that measuring reads."""
    context = json.loads(request.context)
    verdict = {
        "nonce": request.nonce,
        "coverage": {"degraded": False},
        "timings_ms": {"total": 1.0},
        "provenance": {"bundle": "b", "policy": {"id": "p", "version": "1", "digest": "d"}},
        "state": f"{context.get('state', '')}.{context.get('clip_seq', 0)}",
    }
    return json.dumps({**verdict, **changes}).encode()


def run(reply, count=1, **settings):
    transport = FakeTransport(reply)
    target = ServedTarget("", make_stock(), transport=transport, **settings)
    samples = run_open_loop(target, np.zeros(count), streams=settings.get("streams", 0), drain_s=1)
    target.close()
    return samples, [json.loads(request.context) for request in transport.requests]


def overloaded(_request):
    raise Overloaded("full")


def down(_request):
    raise Unavailable("gone")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer, ""),
        (lambda request: answer(request, coverage={"degraded": True}), "degraded"),
        (lambda request: answer(request, nonce="other"), "CrossedReply"),
        (lambda _request: b"no verdict", "ServerError"),
        (overloaded, "rejected"),
        (down, "Unavailable"),
    ],
)
def test_only_a_full_verdict_is_ok(reply, reason):
    """Everything else has a reason, and a refusal is told from a failure."""
    samples, _ = run(reply)
    assert samples.reasons == (reason,)
    assert samples.ok.tolist() == [not reason]


def test_a_verdict_after_the_deadline_is_late():
    """The caller has given up by then: counting it would flatter a server that queues."""
    future = Future()

    def reply(request):
        threading.Timer(0.1, lambda: future.set_result(answer(request))).start()
        return future

    samples, _ = run(reply, timeout_s=0.05)
    assert samples.reasons == ("late",)


def test_streams_carry_their_token_in_order():
    """Clip after clip, each stream sends the state that its last verdict gave, and counts on."""
    _, contexts = run(answer, count=6, streams=2)
    streams = {context["stream_id"] for context in contexts}
    assert len(streams) == 2
    for stream in streams:
        own = [context for context in contexts if context["stream_id"] == stream]
        assert [context.get("state") for context in own] == [None, ".0", ".0.1"]
        assert [context.get("clip_seq", 0) for context in own] == [0, 1, 2]


def test_clips_alone_are_streams_of_their_own():
    """No state comes along, and two runs never meet in one stream."""
    _, contexts = run(answer, count=3)
    _, others = run(answer, count=3)
    assert len({context["stream_id"] for context in contexts + others}) == 6
    assert all("state" not in context for context in contexts)


def test_a_bundle_is_asked_for_by_name():
    """The context says so in its options; else it has none."""
    _, (named,) = run(answer, bundle="sha256:1")
    _, (plain,) = run(answer)
    assert named["options"] == {"bundle": "sha256:1"}
    assert "options" not in plain


def test_answers_are_shown_to_whoever_asks():
    """The profile reads the verdicts' timings from them."""
    seen = []
    run(answer, count=2, on_answer=seen.append)
    assert [one.timings_ms for one in seen] == [{"total": 1.0}] * 2

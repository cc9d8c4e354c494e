from __future__ import annotations

from prometheus_client import CollectorRegistry

from livewarden_client import Client, Clip, FakeTransport, Verdict
from livewarden_client.errors import Unavailable
from livewarden_client.hook_prometheus import PrometheusHook
from livewarden_client.request import Request


def test_calls_and_attempts_are_counted_by_outcome(verdict: Verdict) -> None:
    """A verdict counts under its action, the client's own review under its error."""
    registry = CollectorRegistry()

    def answer(request: Request) -> Verdict:
        if request.request_id == "r1":
            raise Unavailable("gone")
        return verdict

    with Client(transport=FakeTransport(answer), hooks=[PrometheusHook(registry)]) as client:
        client.moderate(Clip(request_id="r0"))
        client.moderate(Clip(request_id="r1"))

    def read(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"livewarden_client_{name}", labels)

    assert read("calls_total", outcome="block") == 1
    assert read("calls_total", outcome="client_unavailable") == 1
    assert read("calls_total", outcome="review") is None
    usual = {"endpoint": "transport[0]", "hedge": "no"}
    assert read("attempts_total", outcome="verdict", **usual) == 1
    assert read("attempts_total", outcome="unavailable", **usual) == 3
    assert read("call_seconds_count") == 2
    assert read("calls_in_progress") == 0

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections import Counter

import pytest
from monitor import DASHBOARD, Prometheus, find_binary

from livewarden_client import Client, Clip, Text
from livewarden_ensemble.canary import draw_frame
from livewarden_ensemble.metric import PIPELINE
from livewarden_ensemble.server import Server
from livewarden_ensemble.server_metric import SERVER

pytestmark = pytest.mark.integration
BY_ACTION = "sum by (action) (livewarden_verdicts_total)"
NO_IMAGE = 'sum(livewarden_frames_total{state="unsupported"})'
HOSTILE = 'x"} 1\n# TYPE y'


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def test_what_callers_saw_is_what_prometheus_counts(client: Client, prometheus: Prometheus) -> None:
    """Verdicts by action, frames by state and stages: as many as the callers themselves count."""
    clips = [
        Clip([draw_frame(), b"junk"], [Text("chat", "hello there")], stream_id=HOSTILE),
        Clip([], [Text("title", "win free crypto now, send 1 get 2 back")]),
        Clip([draw_frame()], []),
    ]
    before = {labels["action"]: value for labels, value in prometheus.query(BY_ACTION)}
    frames = prometheus.query(NO_IMAGE)[0][1]
    seen = Counter(client.moderate(clip).action for clip in clips * 3)
    for action, count in seen.items():
        wanted = before[action] + count
        counted = f'sum(livewarden_verdicts_total{{action="{action}"}})'
        prometheus.wait(counted, lambda value, wanted=wanted: value == wanted)
    prometheus.wait(NO_IMAGE, lambda value: value == frames + 3)
    stages = prometheus.query("sum by (stage) (livewarden_stage_seconds_count)")
    assert {value > 0 for _, value in stages} == {True}
    assert prometheus.query("histogram_quantile(0.5, livewarden_stage_seconds_bucket)")


def test_every_rule_can_be_evaluated(server: Server, prometheus: Prometheus) -> None:
    """On what a real server exposes no rule is in error, and nothing fires while all is well."""
    server.wait_ready(60)
    prometheus.wait("min_over_time(livewarden_server_ready[2s])", lambda value: value == 1)
    rules = prometheus.read_rules()
    assert {
        name: (rule["health"], rule.get("lastError")) for name, rule in rules.items()
    } == dict.fromkeys(rules, ("ok", None))
    assert {name for name, rule in rules.items() if rule["state"] == "firing"} == set()


def test_every_graph_has_data(client: Client, prometheus: Prometheus) -> None:
    """Each query of the dashboard is answered; all but those of rare events have values."""
    for _ in range(3):
        client.moderate(Clip([draw_frame()], [Text("chat", "hello there")]))
    prometheus.wait("count_over_time(up{job='livewarden'}[1m])", lambda value: value > 3)
    empty = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        found = [
            prometheus.query(target["expr"].replace("$__rate_interval", "30s"))
            for target in panel["targets"]
        ]
        if not any(found):
            empty.add(panel["title"])
    assert empty <= {"Shadow: clips on which it acts otherwise"}


def test_series_are_bounded_whatever_is_sent(
    server: Server, client: Client, prometheus: Prometheus
) -> None:
    """Odd clips and ids make no new series on the real endpoint, and none holds what they say."""
    client.moderate(Clip([draw_frame()], [Text("chat", "hello there")], stream_id="first"))
    before = {line.rpartition(" ")[0] for line in read(server.metrics_url).splitlines()}
    for number in range(12):
        client.moderate(
            Clip(
                [b"\x00" * number],
                [Text("chat", f"{HOSTILE} {number}")],
                stream_id=f"{HOSTILE}{number}",
                request_id=f"secret{number}",
                region=f"r{number}",
                surface=f"s{number}",
            )
        )
    text = read(server.metrics_url)
    after = {line.rpartition(" ")[0] for line in text.splitlines()}
    assert {line for line in after - before if line.startswith("livewarden_")} == set()
    assert "secret" not in text
    assert HOSTILE.partition("\n")[0] not in text
    ours = prometheus.query('count({__name__=~"livewarden_.*",job="livewarden"})')[0][1]
    assert ours < 900


def test_both_endpoints_read_as_prometheus_wants(server: Server) -> None:
    """Promtool finds nothing wrong with our metrics, and every metric of the table is there."""
    texts = {
        read(server.metrics_url): {n for n, m in PIPELINE.items() if not m.is_open},
        read(f"{server.health_url}/metrics"): set(SERVER),
    }
    for text, names in texts.items():
        ours = "".join(line + "\n" for line in text.splitlines() if "livewarden_" in line)
        done = subprocess.run(
            [find_binary("promtool"), "check", "metrics"],
            input=ours,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        for name in names:
            assert f"# TYPE {name} " in ours

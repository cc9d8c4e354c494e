from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from monitor import ALERTS, DASHBOARD, ROOT, find_binary, read_alerts

from livewarden_client.wire import LABELS
from livewarden_ensemble.metric import PIPELINE
from livewarden_ensemble.server_metric import SERVER

METRICS = {**PIPELINE, **SERVER}
RUNBOOK = ROOT / "docs" / "runbook.md"
# What Triton 2.51 and Prometheus themselves have, of that which is used here.
FOREIGN = {
    "nv_inference_queue_duration_us",
    "nv_inference_request_success",
    "nv_inference_count",
    "nv_inference_exec_count",
}
NAMES = [rule["alert"] for rule in read_alerts()]
DAY = 24 * 60


@dataclass(frozen=True)
class Case:
    """Series that make one alert fire `count` times after `minutes`, one sample each `seconds`.

    `calm` replaces the values of series so that it does not.
    """

    alert: str
    series: dict[str, str]
    calm: dict[str, str]
    minutes: int = 20
    count: int = 1
    seconds: int = 60  # between two samples


def rate(per_minute: float) -> str:
    return f"0+{per_minute:g}x120"


def hold(value: float) -> str:
    return f"{value:g}x120"


def place(series: str, namespace: str) -> str:
    """The same series in a namespace."""
    return series.replace("{", f'{{namespace="{namespace}",', 1)


UP = 'up{job="livewarden",instance="a"}'
READY = 'livewarden_server_ready{instance="a"}'
HANG = 'livewarden_server_restarts_total{instance="a",cause="hang"}'
EXIT = 'livewarden_server_restarts_total{instance="a",cause="exit"}'
CROSSED = 'livewarden_leaf_failures_total{instance="a",leaf="vision_encoder",cause="crossed_reply"}'
KILLED = 'livewarden_server_restarts_total{instance="a",cause="process"}'
CROSSED_RESTART = 'livewarden_server_restarts_total{instance="a",cause="crossed"}'
UNSCORED = 'livewarden_unscored_clips_total{instance="a",leaf="text_encoder",cause="model_error"}'
UNSCORED_CROSSED = UNSCORED.replace("model_error", "crossed_reply")
FAILED = 'livewarden_pipeline_failures_total{instance="a"}'
HELD = 'livewarden_held_batches_total{instance="a"}'
STALE = 'livewarden_policy_stale{instance="a"}'
FAST = 'livewarden_stage_seconds_bucket{instance="a",stage="total",le="1.0"}'
SLOW = 'livewarden_stage_seconds_bucket{instance="a",stage="total",le="5.0"}'
ALL = 'livewarden_stage_seconds_bucket{instance="a",stage="total",le="+Inf"}'
QUEUE = 'nv_inference_queue_duration_us{instance="a",model="moderation"}'
SERVED = 'nv_inference_request_success{instance="a",model="moderation"}'
LATE = 'livewarden_frames_total{instance="a",state="late"}'
SEEN = 'livewarden_frames_total{instance="a",state="ok"}'
TEXT_LATE = 'livewarden_texts_total{instance="a",state="late"}'
DEGRADED = 'livewarden_degraded_total{instance="a",action="review"}'
ALLOW = 'livewarden_verdicts_total{instance="a",action="allow",label="none"}'
BLOCK = 'livewarden_verdicts_total{instance="a",action="block",label="hate"}'
REFUSED = 'livewarden_refusals_total{instance="a",input="context"}'
CLIPS = 'livewarden_clips_total{instance="a",bundle="b",role="live"}'
LOW = 'livewarden_scores_total{instance="a",label="hate",decile="0"}'
HIGH = 'livewarden_scores_total{instance="a",label="hate",decile="9"}'
DIFFERS = 'livewarden_shadow_clips_total{instance="a",bundle="b",result="differs"}'
SAME = 'livewarden_shadow_clips_total{instance="a",bundle="b",result="same"}'


CANARY_ALLOW = 'livewarden_role_verdicts_total{instance="a",role="canary",action="allow"}'
CANARY_BLOCK = 'livewarden_role_verdicts_total{instance="a",role="canary",action="block"}'
LIVE_ALLOW = 'livewarden_role_verdicts_total{instance="a",role="live",action="allow"}'
LIVE_BLOCK = 'livewarden_role_verdicts_total{instance="a",role="live",action="block"}'


def turn(calm: float, then: float) -> str:
    """A counter that rises by `calm` a minute for two days, then by `then`."""
    return f"0+{calm:g}x{2 * DAY} {calm * 2 * DAY + then:g}+{then:g}x{DAY}"


def policy(digest: str) -> str:
    return f'livewarden_policy_info{{instance="{digest}",policy="p",version="1",digest="{digest}"}}'


CASES = [
    Case("LivewardenDown", {UP: hold(0)}, {UP: hold(1)}),
    Case("LivewardenNotReady", {READY: hold(0)}, {READY: hold(1)}),
    # Scrapes off the grid of the evaluation, as they are: two restarts look like 2.1 then.
    Case(
        "LivewardenRestarting",
        {HANG: "5x12 6x2 7x2 8x120"},
        {HANG: "5x12 6x2 7x120"},
        seconds=47,
    ),
    Case(
        "LivewardenRestarting",
        {EXIT: "0x9 1x120", KILLED: "0x12 1x120", HANG: "0x15 1x120"},
        {HANG: hold(0)},
        seconds=47,
    ),
    Case("LivewardenCrossedReply", {CROSSED: rate(0.1)}, {CROSSED: hold(3)}),
    Case("LivewardenCrossedReply", {CROSSED_RESTART: rate(0.1)}, {CROSSED_RESTART: hold(3)}),
    Case(
        "LivewardenLeafFailing",
        {UNSCORED: rate(2), CLIPS: rate(100)},
        {UNSCORED: rate(0.5), UNSCORED_CROSSED: rate(2)},
    ),
    Case("LivewardenPipelineFailing", {FAILED: rate(1)}, {FAILED: hold(7)}),
    Case("LivewardenAuditUnavailable", {HELD: rate(1)}, {HELD: hold(7)}),
    Case("LivewardenPolicyStale", {STALE: hold(1)}, {STALE: hold(0)}),
    Case(
        "LivewardenPolicySplit",
        {policy("x"): hold(1), policy("y"): hold(1)},
        {policy("y"): hold(0)},
    ),
    Case(
        "LivewardenPolicySplit",
        {place(policy(one), at): hold(1) for one, at in (("x", "a"), ("y", "a"), ("y", "b"))},
        {place(policy("y"), "a"): hold(0)},
    ),
    Case("LivewardenSlow", {FAST: rate(90), SLOW: rate(100), ALL: rate(100)}, {FAST: rate(100)}),
    Case("LivewardenQueueing", {QUEUE: rate(6e7), SERVED: rate(100)}, {QUEUE: rate(4e7)}),
    Case(
        "LivewardenLate",
        {LATE: rate(2), SEEN: rate(98), TEXT_LATE: rate(0)},
        {LATE: rate(0.5)},
    ),
    Case(
        "LivewardenCoverageLost",
        {DEGRADED: rate(6), ALLOW: rate(100)},
        {DEGRADED: rate(4)},
        minutes=30,
    ),
    Case("LivewardenRefusing", {REFUSED: rate(2), CLIPS: rate(100)}, {REFUSED: rate(0.5)}, 30),
    Case("LivewardenSilent", {ALLOW: "0+10x60 600x60"}, {ALLOW: rate(10)}, minutes=80),
    Case(
        "LivewardenBlockSurge",
        {ALLOW: turn(90, 90), BLOCK: turn(3, 30)},
        {BLOCK: turn(3, 3)},
        minutes=2 * DAY + 45,
    ),
    Case(  # seen, though another namespace has as many blocks as ever
        "LivewardenBlockSurge",
        {
            place(ALLOW, "a"): turn(90, 90),
            place(BLOCK, "a"): turn(3, 30),
            place(ALLOW, "b"): turn(9000, 9000),
            place(BLOCK, "b"): turn(300, 300),
        },
        {place(BLOCK, "a"): turn(3, 3)},
        minutes=2 * DAY + 45,
    ),
    Case(
        "LivewardenScoreDrift",
        {LOW: turn(90, 50), HIGH: turn(10, 50)},
        {LOW: turn(90, 90), HIGH: turn(10, 10)},
        minutes=2 * DAY + 100,
    ),
    Case(
        "LivewardenCanaryDiverging",
        {
            CANARY_ALLOW: rate(80),
            CANARY_BLOCK: rate(20),
            LIVE_ALLOW: rate(900),
            LIVE_BLOCK: rate(100),
        },
        {CANARY_BLOCK: rate(10)},
        minutes=80,
    ),
    Case(  # compared with the live bundle of its own namespace
        "LivewardenCanaryDiverging",
        {
            place(CANARY_ALLOW, "a"): rate(80),
            place(CANARY_BLOCK, "a"): rate(20),
            place(LIVE_ALLOW, "a"): rate(800),
            place(LIVE_BLOCK, "a"): rate(0),
            place(LIVE_ALLOW, "b"): rate(1000),
        },
        {place(LIVE_BLOCK, "a"): rate(200)},
        minutes=80,
    ),
    Case("LivewardenShadowDiverging", {DIFFERS: rate(3), SAME: rate(97)}, {DIFFERS: rate(1)}, 80),
]


def run_promtool(folder: Path, cases: list[tuple[Case, int]]) -> str:
    """What promtool says of cases that are to fire as often as told; "" if nothing."""
    tests = [
        {
            "interval": f"{case.seconds}s",
            "input_series": [{"series": s, "values": v} for s, v in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
                    " or vector(0)",
                    "eval_time": f"{case.minutes}m",
                    "exp_samples": [{"labels": "{}", "value": count}],
                }
            ],
        }
        for case, count in cases
    ]
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(
        [find_binary("promtool"), "test", "rules", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_alert_fires_and_is_calm(tmp_path: Path):
    """Each alert fires on the trouble that it is for, and not on what is short of it."""
    assert {case.alert for case in CASES} == set(NAMES)
    cases = [(case, case.count) for case in CASES]
    cases += [(replace(case, series=case.series | case.calm), 0) for case in CASES]
    assert run_promtool(tmp_path, cases) == ""


def test_promtool_would_tell(tmp_path: Path):
    """An alert that does not fire where it should is found: the check above can fail."""
    said = run_promtool(tmp_path, [(Case("LivewardenNotReady", {READY: hold(1)}, {}), 1)])
    assert "FAILED" in said


@pytest.mark.parametrize("file", sorted(ALERTS.parent.glob("*.yaml")), ids=lambda path: path.name)
def test_promtool_takes_the_files(file: Path):
    """Prometheus reads the rules and each configuration that ships."""
    kind = "rules" if file == ALERTS else "config"
    subprocess.run(
        [find_binary("promtool"), "check", kind, str(file)], check=True, capture_output=True
    )


def list_metrics(text: str) -> set[str]:
    """The metrics that a PromQL text names, a histogram's by its own name."""
    found = set(re.findall(r"\b(?:livewarden|nv)_[a-z_]+", re.sub(r'"[^"]*"', "", text)))
    return {
        base if (base := re.sub(r"_(bucket|sum|count)$", "", name)) in METRICS else name
        for name in found
    }


def read_queries() -> dict[str, str]:
    """Every query of alerts and dashboard, by where it stands."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {rule["alert"]: rule["expr"] for rule in read_alerts()} | {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel["targets"]
    }


@pytest.mark.parametrize(("where", "query"), read_queries().items())
def test_queries_name_metrics_and_labels_that_exist(where: str, query: str):
    """A metric that is renamed in the code cannot leave an alert or a graph behind."""
    assert list_metrics(query) <= {*METRICS, *FOREIGN}, where
    for name, inside in re.findall(r"\b(livewarden_[a-z_]+){([^}]*)}", query):
        metric = METRICS[re.sub(r"_(bucket|sum|count)$", "", name)]
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside):
            assert label in metric.labels, where
            known = metric.labels[label]
            for one in value.split("|") if known and operator in {"=", "=~"} else ():
                assert any(re.fullmatch(one, name) for name in known), (where, one)


def test_the_documents_name_every_metric():
    """The table in docs/operation.md is generated from the code, and up to date."""
    script = [sys.executable, str(ROOT / "scripts" / "metric_table.py"), "--check"]
    subprocess.run(script, check=True)
    text = (ROOT / "docs" / "operation.md").read_text()
    assert all(f"| `{name}`" in text for name in METRICS)


def test_the_dashboard_is_what_its_panels_say():
    """The committed JSON is generated, and Grafana's ids are each their own."""
    script = [sys.executable, str(ROOT / "scripts" / "dashboard.py"), "--check"]
    subprocess.run(script, check=True)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


@pytest.mark.parametrize("rule", read_alerts(), ids=NAMES)
def test_every_alert_has_its_page(rule: dict):
    """An alert says who is woken, and its link leads to its own section of the runbook."""
    name = rule["alert"]
    assert re.fullmatch(r"Livewarden([A-Z][a-z]+)+", name)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / page == RUNBOOK
    assert anchor == name.lower()
    sections = re.split(r"^### ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    [section] = [text for text in sections if text.startswith(f"{name}\n")]
    for part in ("**Means.**", "**See.**", "**Do.**"):
        assert part in section, (name, part)


def test_the_runbook_has_no_section_of_an_alert_that_is_gone():
    """Sections and alerts are the same set."""
    headings = re.findall(r"^### (Livewarden\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(NAMES)


def test_labels_of_the_taxonomy_are_labels_of_the_metric():
    """Verdicts are counted by every label of the wire."""
    assert set(LABELS) < set(METRICS["livewarden_verdicts_total"].labels["label"])

"""The drills of docs/runbook.md, executed: what breaks, what the metrics show, what heals it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from bundle_variant import make_variant
from monitor import Prometheus

from livewarden_client import Client, Clip, Text
from livewarden_client.wire import MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.canary import build_inputs, draw_frame
from livewarden_ensemble.server import Server
from livewarden_export.bundle import read_bundle

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
RESTARTS = 'sum(livewarden_server_restarts_total{cause="process"})'


def livewarden(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator does."""
    code = "from livewarden_client.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def find_stub(server: Server, model: str) -> int:
    """The process of the first instance of `model`."""
    return next(
        pid
        for pid in server.stub_pids
        if any(part.startswith(f"{model}_0") for part in psutil.Process(pid).cmdline())
    )


def state(prometheus: Prometheus, alert: str) -> str:
    return prometheus.read_rules()[alert]["state"]


def live_bundle(prometheus: Prometheus) -> set[str]:
    return {
        labels["bundle"]
        for labels, value in prometheus.query('livewarden_bundle_info{role="live"} == 1')
    }


def test_drill_killed_model(server: Server, client: Client, prometheus: Prometheus) -> None:
    """A killed process is counted by cause, ready falls and comes back; the third kill pages."""
    server.wait_ready(120)
    before = prometheus.wait(RESTARTS, lambda _: True)
    for kill in range(1, 4):
        os.kill(find_stub(server, "text_encoder"), signal.SIGKILL)
        prometheus.wait(RESTARTS, lambda value, kill=kill: value == before + kill)
        prometheus.wait("livewarden_server_ready", lambda value: value == 1, 120)
        server.wait_ready(60)
    prometheus.wait('count(ALERTS{alertname="LivewardenRestarting",alertstate="firing"})', bool)
    assert not client.moderate(Clip([draw_frame()], [Text("chat", "hello")])).coverage.degraded


def test_drill_broken_policy(
    server: Server, client: Client, prometheus: Prometheus, policy_file: Path
) -> None:
    """A policy that cannot be used raises the gauge and the alert; the good one decides on."""
    server.wait_ready(120)
    good = policy_file.read_text()
    bad = policy_file.with_name("bad.yaml")
    bad.write_text(good.replace("review: 0.60", "review: 6.0"))
    assert livewarden("policy", "check", bad).returncode == 1
    bad.replace(policy_file)
    prometheus.wait("max(livewarden_policy_stale)", lambda value: value == 1)
    prometheus.wait('count(ALERTS{alertname="LivewardenPolicyStale"})', bool)
    assert client.moderate(Clip([], [Text("chat", "hello")])).provenance.policy.version == "2"
    new = policy_file.with_name("new.yaml")
    new.write_text(good.replace('version: "2"', 'version: "3"'))
    assert livewarden("policy", "check", new).returncode == 0
    new.replace(policy_file)
    prometheus.wait("max(livewarden_policy_stale)", lambda value: value == 0)
    prometheus.wait('count(livewarden_policy_info{version="3"} == 1)', bool)
    prometheus.wait("count(count by (digest) (livewarden_policy_info == 1))", lambda v: v == 1)


@pytest.fixture
def published(server: Server, repository: Path) -> tuple[str, str]:
    """A bundle that went live over another one, both by name: a fresh checkout has but one."""
    server.wait_ready(120)
    first = read_bundle(load_bundle(repository / MODERATION.name).folder)
    variant = make_variant(first, repository.parent / "bundles", 1.0)
    done = livewarden("bundle", "publish", variant.folder, "--repository", repository)
    assert done.returncode == 0, done.stderr
    return variant.folder.name, first.folder.name


def test_drill_bad_bundle(
    published: tuple[str, str], client: Client, prometheus: Prometheus, repository: Path
) -> None:
    """A damaged bundle is refused and the live one stays; a rollback shows in the gauge at once."""
    live, previous = published
    bundles = repository.parent / "bundles"
    assert client.moderate(Clip([draw_frame()])).provenance.bundle.startswith(live)
    shown = f'count(livewarden_bundle_info{{role="live",bundle="{live}"}} == 1)'
    prometheus.wait(shown, bool)
    shown = 'count(count by (bundle) (livewarden_bundle_info{role="live"} == 1))'
    prometheus.wait(shown, lambda value: value == 1)
    assert live_bundle(prometheus) == {live}

    damaged = bundles.parent / "damaged" / live
    shutil.copytree(bundles / live, damaged)
    (damaged / "tokenizer.json").write_text("{}")
    refused = livewarden("bundle", "publish", damaged, "--repository", repository)
    assert refused.returncode == 1
    assert "tokenizer.json" in refused.stderr
    assert client.moderate(Clip([draw_frame()])).provenance.bundle.startswith(live)

    assert livewarden("bundle", "rollback", "--repository", repository).returncode == 0
    assert client.moderate(Clip([draw_frame()])).provenance.bundle.startswith(previous)
    gone = f'count(livewarden_bundle_info{{role="live",bundle="{previous}"}} == 1)'
    prometheus.wait(gone, bool)
    again = livewarden("bundle", "publish", bundles / live, "--repository", repository)
    assert again.returncode == 0, again.stderr
    assert client.moderate(Clip([draw_frame()])).provenance.bundle.startswith(live)


def test_drill_malformed_callers(server: Server, prometheus: Prometheus) -> None:
    """Requests that break the contract are counted by the input at fault, and raise the alert."""
    server.wait_ready(120)
    query = 'sum(livewarden_refusals_total{input="context"})'
    before = prometheus.wait(query, lambda _: True)
    inputs = [one for one in build_inputs("r", "n") if one.name() != "context"]
    broken = triton.InferInput("context", [1, 1], MODERATION.input("context").dtype)

    broken.set_data_from_numpy(np.array([[b'{"dead_line_ms": 5}']], object))
    with triton.InferenceServerClient(server.grpc_url) as client:
        for _ in range(8):
            with pytest.raises(triton.InferenceServerException, match="/context"):
                client.infer(MODERATION.name, [*inputs, broken])
    prometheus.wait(query, lambda value: value == before + 8)
    prometheus.wait('count(ALERTS{alertname="LivewardenRefusing"})', bool)

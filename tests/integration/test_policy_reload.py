from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from livewarden_client import Client, Clip, Text
from livewarden_client.verdict import Verdict
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.server import Server
from livewarden_ensemble.signature import sign_policy

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
# Within this a changed file decides; a bad one must not have, however long one waits.
LIMIT_S = 2.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text((ROOT / "policies" / "default.yaml").read_text())
    return path


@pytest.fixture
def server(repository: Path, path: Path) -> Iterator[Server]:
    """A server of its own, whose policy changes under it."""
    with Server(repository, grpc_port=0, http_port=0, metrics_port=0, policy=path) as server:
        server.wait_ready(120)
        yield server


def ask(client: Client, seq: int = 0, state: str | None = None) -> Verdict:
    text = Text("chat", "hello there")
    return client.moderate(Clip(texts=[text], stream_id="s", clip_seq=seq, state=state))


def wait_for(client: Client, version: str) -> None:
    """Wait until every one of a run of verdicts is made by `version`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if {ask(client).provenance.policy.version for _ in range(6)} == {version}:
            return
    pytest.fail(f"the policy {version} never came")


def read_metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(server.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_a_policy_is_picked_up_refused_and_mended(server: Server, path: Path) -> None:
    """A changed file decides; a bad one is refused and counted, and the good one stays."""
    good = path.read_text()
    with Client(server.grpc_url, timeout=30, on_failure="raise") as client:
        first = ask(client)
        assert first.provenance.policy.version == "2"
        assert first.state is not None
        second = ask(client, 1, first.state)
        assert not [flag for flag in second.flags if flag.startswith("state.")]

        path.write_text(good.replace('version: "2"', 'version: "3"'))
        wait_for(client, "3")
        path.write_text(good.replace("review: 0.60", "review: 6.0"))
        time.sleep(LIMIT_S)
        assert ask(client).provenance.policy.version == "3"
        assert read_metric(server, "livewarden_policy_refusals_total") >= 1
        assert read_metric(server, "livewarden_policy_stale") >= 1
        path.write_text(good.replace('version: "2"', 'version: "4"'))
        wait_for(client, "4")
        assert read_metric(server, "livewarden_policy_stale") == 0
        assert read_metric(server, "livewarden_policy_reloads_total") >= 2

        forged = ask(client, 2, first.state[:-4] + "AAAA")
        assert "state.refused:forged" in forged.flags
        assert forged.action != "allow"


def test_a_server_decides_by_signed_policies_only(repository: Path, path: Path, keys: Path) -> None:
    """At the start and when the file changes: unsigned, changed and of another key are refused."""
    good = path.read_text()
    ports = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
    settings = {**ports, "policy": path, "policy_key": keys / "release.pub"}
    with pytest.raises(ServerFailed, match=r"policy\.yaml\.signature\.json: is missing"):
        Server(repository, **settings).__enter__()
    sign_policy(load_policy(path), keys / "other.key")
    with pytest.raises(ServerFailed, match=r"is no signature of this policy"):
        Server(repository, **settings).__enter__()
    sign_policy(load_policy(path), keys / "release.key")
    path.write_text(good.replace("# ", "#!", 1))  # one bit
    with pytest.raises(ServerFailed, match=r"policy\.yaml: changed since it was signed"):
        Server(repository, **settings).__enter__()
    path.write_text(good)
    with (
        Server(repository, **settings) as server,
        Client(server.grpc_url, timeout=30, on_failure="raise") as client,
    ):
        wait_for(client, "2")
        path.write_text(good.replace('version: "2"', 'version: "3"'))
        time.sleep(LIMIT_S)
        assert ask(client).provenance.policy.version == "2"
        assert read_metric(server, "livewarden_policy_refusals_total") >= 1
        assert read_metric(server, "livewarden_policy_stale") >= 1
        sign_policy(load_policy(path), keys / "other.key")
        time.sleep(LIMIT_S)
        assert ask(client).provenance.policy.version == "2"
        sign_policy(load_policy(path), keys / "release.key")
        wait_for(client, "3")
        assert read_metric(server, "livewarden_policy_stale") == 0
        assert server.restarts == 0

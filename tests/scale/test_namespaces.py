"""Two replicas on machines of their own behind one Envoy, under load, and what goes wrong there.

A rolling publish, a machine that drops off the network, one that becomes slow: no clip may be lost,
and each verdict must be wholly by one bundle.
"""

from __future__ import annotations

import itertools
import json
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import replica_process
from bundle_variant import ROOT, make_repository, make_variant
from netns import Machine, explain_missing, make_machines
from proxy import Proxy

from livewarden_client import Client, Clip, Text
from livewarden_client.wire import MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.canary import draw_frame
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.envoy_config import MIB, Backend
from livewarden_ensemble.front import FrontProcess
from livewarden_ensemble.launch import choose_port
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import load_policy
from livewarden_export.bundle import Bundle, read_bundle
from livewarden_export.publish import put_live

pytest.importorskip("envoy")
pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]

POLICY = ROOT / "policies/default.yaml"
REPOSITORY = ROOT / "model_repository"
TEXT = "you are worthless, nobody wants you here"
CALLERS = 6
# Scores depend a little on who shares the batch; the two bundles are a hundred times further apart.
TOLERANCE = 1e-3
# The cable is out for longer than a caller waits: what was on its way must go to the other replica.
TIMEOUT_S, OUTAGE_S = 12, 15


@dataclass
class Load:
    """Callers that ask one clip after the other through `url`, each clip of a stream of its own."""

    url: str
    sent: int = 0
    errors: list[str] = field(default_factory=list)
    answers: list[tuple[float, str, str, np.ndarray]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def call(self, caller: int) -> None:
        """Ask until the end: when an answer came, its bundle, its models, its scores."""
        with Client(self.url, timeout=TIMEOUT_S, on_failure="raise") as client:
            for number in itertools.count():
                if self.over.is_set():
                    return
                clip = Clip([draw_frame()], [Text("chat", TEXT)], stream_id=f"{caller}-{number}")
                self.sent += 1
                try:
                    verdict = client.moderate(clip)
                except Exception as error:  # noqa: BLE001 - any of them is a lost clip
                    self.errors.append(type(error).__name__)
                    continue
                made = verdict.provenance
                scores = np.array([label.score for label in verdict.labels])
                models = json.dumps(dict(made.models), sort_keys=True)
                self.answers.append((time.monotonic(), made.bundle, models, scores))

    @contextmanager
    def run(self) -> Iterator[None]:
        """Ask meanwhile; every clip that was sent has ended afterwards."""
        threads = [threading.Thread(target=self.call, args=(n,)) for n in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def list_bundles(self, since: float) -> set[str]:
        """The bundles of all answers that came after `since`."""
        return {bundle for when, bundle, _, _ in self.answers if when > since}


@dataclass
class Replica:
    """A replica in a process, and on a machine, of its own."""

    machine: Machine
    repository: Path

    @contextmanager
    def run(self, keys: str) -> Iterator[Callable[[], None]]:
        """Serve; the function that comes waits until it does."""
        command = [sys.executable, replica_process.__file__, str(self.repository), str(POLICY)]
        process = subprocess.Popen(
            self.machine.command(*command, self.machine.address, keys),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        stdout = process.stdout

        def wait() -> None:
            assert stdout.readline() == "ready\n"

        try:
            yield wait
        finally:
            process.stdin.close()
            process.wait(60)
            stdout.close()

    def count(self) -> float:
        """How many clips it has answered, canaries included."""
        url = f"http://{self.machine.address}:{replica_process.METRICS}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        wanted = 'nv_inference_request_success{model="moderation"'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    if reason := explain_missing():
        pytest.skip(reason)
    if not (REPOSITORY / MODERATION.name / "live.json").exists():
        pytest.fail("no live bundle: run `make export` first")
    with make_machines(2) as machines:
        yield machines


def find_port(proxy: Proxy) -> int:
    """The port on which a proxy listens."""
    return int(proxy.address.rpartition(":")[2])


def score_alone(bundle: Bundle, folder: Path) -> np.ndarray:
    """The scores of the load's clip by `bundle`, in this process."""
    folder.mkdir()
    repository = make_repository(folder)
    put_live(bundle, repository)
    leaves = LocalLeaves(repository, threads=1)
    live = load_bundle(repository / MODERATION.name)
    pipeline = Pipeline(live, load_policy(POLICY), leaves, server="local")
    context = json.dumps({"texts": [{"kind": "chat"}]}).encode()
    [outcome] = pipeline.moderate([RawClip(context, [draw_frame()], [TEXT.encode()])])
    return outcome.scores


def test_two_machines_behind_one_envoy(machines: list[Machine], tmp_path: Path) -> None:
    """Publish in turn, unplug one, slow the other: nothing is lost, and no verdict is mixed."""
    first = read_bundle(load_bundle(REPOSITORY / MODERATION.name).folder)
    second = make_variant(first, tmp_path / "bundles", 1.0)
    golden = {
        bundle.id: score_alone(bundle, tmp_path / f"alone-{bundle.id}")
        for bundle in (first, second)
    }
    assert np.abs(golden[first.id] - golden[second.id]).max() > 100 * TOLERANCE
    replicas = []
    for machine in machines:
        (tmp_path / machine.name).mkdir()
        replicas.append(Replica(machine, make_repository(tmp_path / machine.name)))
        put_live(first, replicas[-1].repository)
    one, other = replicas
    keys = f"test:{secrets.token_hex(32)}"
    ports = replica_process
    with (
        one.run(keys) as wait_one,
        other.run(keys) as wait_other,
        Proxy(f"{other.machine.address}:{ports.GRPC}") as slow_grpc,
        Proxy(f"{other.machine.address}:{ports.HEALTH}") as slow_health,
    ):
        wait_one()
        wait_other()
        port = choose_port("127.0.0.1", 0, "")
        front = FrontProcess(
            [
                Backend(ports.GRPC, ports.HEALTH, one.machine.address),
                Backend(find_port(slow_grpc), find_port(slow_health)),
            ],
            host="127.0.0.1",
            port=port,
            tls=None,
            max_message_bytes=4 * MIB,
        )
        load = Load(f"127.0.0.1:{port}")
        try:
            with load.run():
                figures = harm(load, one, other, second, slow_grpc)
        finally:
            front.close()
    assert load.errors == []
    assert len(load.answers) == load.sent
    # What a bundle's models are called differs from replica to replica, by their versions alone.
    by_models: dict[str, set[str]] = {}
    for _, bundle, models, scores in load.answers:
        assert np.abs(scores - golden[bundle]).max() <= TOLERANCE
        by_models.setdefault(models, set()).add(bundle)
    assert all(len(bundles) == 1 for bundles in by_models.values())
    sys.stdout.write(f"{load.sent} clips, none lost; {json.dumps(figures)}\n")


def harm(
    load: Load, one: Replica, other: Replica, second: Bundle, proxy: Proxy
) -> dict[str, list[int]]:
    """Do all that can happen, one after the other; give what was seen of it."""
    figures: dict[str, list[int]] = {}

    def watch(what: str, seconds: float) -> tuple[float, float]:
        """Clips of each replica in a while, less a canary clip a second."""
        before, begin = (one.count(), other.count()), time.monotonic()
        time.sleep(seconds)
        canaries = time.monotonic() - begin + 1
        first, rest = (
            max(0.0, replica.count() - start - canaries)
            for replica, start in zip((one, other), before, strict=True)
        )
        figures[f"{what}: first, other"] = [round(first), round(rest)]
        return first, rest

    assert all(watch("calm", 5))

    put_live(second, one.repository)
    put_live(second, other.repository)
    time.sleep(3)
    published = time.monotonic()
    time.sleep(2)
    assert load.list_bundles(published) == {second.id}
    assert len(load.list_bundles(0)) == 2

    one.machine.unplug()
    time.sleep(OUTAGE_S - 3)
    answered = len(load.answers)
    time.sleep(3)
    assert len(load.answers) > answered, "the other replica carries on alone"
    one.machine.plug()
    time.sleep(5)
    first, rest = watch("back again", 6)
    assert first > 0.2 * rest, "the replica that came back gets its share"

    proxy.faults.latency_s = 0.5
    time.sleep(2)
    first, rest = watch("the other slow", 6)
    assert first > rest, "the slow replica gets less"
    proxy.faults.latency_s = 0.0
    time.sleep(2)
    assert all(watch("calm again", 6))
    return figures

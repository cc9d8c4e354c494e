"""Scorecard 4, 7 and 16 with a replica: what callers see of a loss behind Envoy."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from history import History, read_scores
from patient import CLIPS
from scorecard import LONG, Scorecard

from livewarden_client import Client
from livewarden_ensemble.replicas import Replicas

pytest.importorskip("envoy")
pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1800)]


def test_16_replica_is_killed_behind_envoy(repository: Path, scorecard: Scorecard) -> None:
    """The tritonservers of two replicas are killed in turn, under load: callers get verdicts."""
    rounds = 10 if LONG else 1
    with (
        Replicas(repository, count=2, grpc_port=0) as replicas,
        Client(replicas.grpc_url, on_failure="raise") as client,
    ):
        client.wait_for_ready(30)
        golden = [read_scores(client.moderate(clip, 60)) for clip in CLIPS]
        history = History(client, CLIPS, golden, timeout=20)
        threads = history.start(callers=4, idle=1.0)
        time.sleep(4)
        killed = []
        for number in range(rounds):
            victim = replicas.servers[number % 2]
            before = victim.restarts
            killed.append(time.monotonic())
            os.kill(victim.pid or 0, signal.SIGKILL)
            while not (victim.restarts > before and victim.ready):
                assert time.monotonic() < killed[-1] + 90
                time.sleep(0.1)
        time.sleep(2)
        history.stop(threads)
    faults, ends = history.find_faults(), history.count()
    good = ends["verdict"] / ends.total()
    calm = [e.ended - e.sent for e in history.events if e.ended < killed[0]]
    after = [e.ended - e.sent for e in history.events if e.sent > killed[0] + 5]
    p99 = [1000 * float(np.percentile(times or [np.nan], 99)) for times in (calm, after)]
    scorecard.enter(
        16,
        f"kill -9 of one of two replicas behind Envoy, {rounds} times, at half load",
        "success >= 99.95 %",
        f"{dict(ends)}; {len(faults)} faults; p99 {p99[0]:.0f} -> {p99[1]:.0f} ms (both on the "
        "same cores)",
        met=not faults and good >= 0.9995,
    )
    assert faults == []
    assert good >= 0.99

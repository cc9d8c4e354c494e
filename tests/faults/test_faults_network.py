"""Scorecard 14 to 16: a network that does harm between the client and a real server."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from history import History
from patient import CLIPS
from proxy import Proxy
from scorecard import LONG, Scorecard

from livewarden_client import Client, Clip, Hook
from livewarden_client.hook import AttemptEnded

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1800)]

SECONDS = 60 if LONG else 4
TOXICS = ("latency 200 ms", "resets", "black hole 1 s", "256 KB/s", "down")


class Attempts(Hook):
    """Counts attempts."""

    def __init__(self) -> None:
        self.count = 0

    def attempt_ended(self, _attempt: AttemptEnded) -> None:
        """Count it."""
        self.count += 1


def torment(proxy: Proxy, toxic: str, over: threading.Event) -> None:
    """Do one kind of harm until it is over."""
    chance = random.Random(14)
    match toxic:
        case "latency 200 ms":
            proxy.faults.latency_s = 0.2
        case "256 KB/s":
            proxy.faults.bytes_per_s = 256_000
        case "resets":
            while not over.wait(chance.uniform(0.5, 1.5)):
                proxy.reset()
        case "black hole 1 s":
            while not over.wait(2):
                proxy.faults.black_hole = True
                over.wait(1)
                proxy.faults.black_hole = False
        case "down":
            proxy.refuse()
            over.wait(SECONDS / 2)
            proxy.accept()


@pytest.mark.parametrize("toxic", TOXICS)
def test_14_toxics(make_proxy: Callable[[], Proxy], scorecard: Scorecard, toxic: str) -> None:
    """Whatever the network does, each call has one end, in time; resets cost next to nothing."""
    proxy, attempts, over = make_proxy(), Attempts(), threading.Event()
    with Client(proxy.address, on_failure="raise", hooks=[attempts]) as client:
        client.wait_for_ready(30)
        history = History(client, CLIPS, timeout=5)
        trouble = threading.Thread(target=torment, args=(proxy, toxic, over))
        trouble.start()
        threads = history.start(callers=4, idle=0.5)
        time.sleep(SECONDS)
        over.set()
        history.stop(threads)
        trouble.join()
    faults, ends = history.find_faults(), history.count()
    good = ends["verdict"] / max(1, ends.total())
    more = attempts.count / max(1, ends.total()) - 1
    bound = "0 lost, success >= 99.9 %" if toxic == "resets" else "0 lost, 0 hung"
    scorecard.enter(
        14,
        f"network: {toxic}, {SECONDS} s",
        bound,
        f"{dict(ends)}; {len(faults)} faults; {100 * more:+.0f} % attempts",
        met=not faults and (toxic != "resets" or good >= 0.999),
    )
    assert faults == []


def test_15_large_retry(make_proxy: Callable[[], Proxy], scorecard: Scorecard) -> None:
    """A 2 MB request whose connection is cut in the middle is sent again."""
    proxy, attempts = make_proxy(), Attempts()
    with Client(proxy.address, on_failure="raise", hooks=[attempts]) as client:
        client.wait_for_ready(30)
        client.moderate(CLIPS[1], 20)
        attempts.count = 0
        proxy.faults.cut_after = 1_000_000
        client.moderate(Clip(frames=[os.urandom(2_000_000)]), 20)
    scorecard.enter(
        15,
        "2 MB request, connection cut half-way",
        "attempts >= 2, then a verdict",
        f"{attempts.count} attempts, verdict",
        met=attempts.count >= 2,
    )
    assert attempts.count >= 2


@pytest.mark.parametrize("harm", ["dies", "is 10 x slower"])
def test_16_one_of_two(make_proxy: Callable[[], Proxy], scorecard: Scorecard, harm: str) -> None:
    """One of two ways to the server dies or slows down: callers hardly notice."""
    near, far = make_proxy(), make_proxy()
    with Client([near.address, far.address], on_failure="raise") as client:
        client.wait_for_ready(30)
        history = History(client, CLIPS, timeout=10)
        threads = history.start(callers=4, idle=0.5)
        time.sleep(SECONDS)
        begin = time.monotonic()
        if harm == "dies":
            far.refuse()
        else:
            far.faults.latency_s = 0.3
        time.sleep(5 + SECONDS)
        history.stop(threads)
    faults, ends = history.find_faults(), history.count()
    calm = [e.ended - e.sent for e in history.events if e.ended < begin]
    after = [e.ended - e.sent for e in history.events if e.sent > begin + 5]
    before_ms, after_ms = (1000 * np.percentile(times, 99) for times in (calm, after))
    good = ends["verdict"] / ends.total()
    scorecard.enter(
        16,
        f"one of two ways {harm}",
        "success >= 99.95 %, p99 after 5 s <= 2 x before",
        f"{dict(ends)}; {len(faults)} faults; p99 {before_ms:.0f} -> {after_ms:.0f} ms",
        met=not faults and good >= 0.9995 and after_ms <= 2 * before_ms,
    )
    assert faults == []
    assert good >= 0.99

"""Scorecard 1, 2, 3, 9, 21, 22: what load of all kinds must not do to a real server."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from patient import Patient
from scorecard import LONG, Scorecard, within

from livewarden_client.errors import FarSideFailed
from livewarden_ensemble.drain import FINISH_S

pytestmark = [pytest.mark.faults, pytest.mark.integration]

MIB = 2**20


def measure_memory(patient: Patient) -> int:
    """Bytes of tritonserver and its stubs."""
    pids = [patient.server.pid, *patient.server.stub_pids]
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


def test_22_concurrency_is_pure(patient: Patient, scorecard: Scorecard) -> None:
    """Many callers, each answer equal to the one that a single caller got, under its own id."""
    callers, count = (64, 64_000) if LONG else (32, 1_000)
    history = patient.history
    history.timeout = 60
    begin = time.monotonic()
    history.ask_all(count, callers)
    rate = count / (time.monotonic() - begin)
    faults = history.find_faults()
    verdicts = history.count()["verdict"]
    scorecard.enter(
        22,
        f"{callers} callers, {count} requests, {len(history.clips)} clips against one by one",
        "all equal (1e-4), 0 foreign",
        f"{verdicts}/{count} equal, {len(faults)} faults, {rate:.0f} requests/s",
        met=not faults and verdicts == count,
    )
    assert faults == []
    assert verdicts == count


def test_3_burst(patient: Patient, scorecard: Scorecard) -> None:
    """500 requests at once on an idle server: each one is answered or refused, none is lost."""
    patient.renew()
    history = patient.history
    history.timeout = 30
    history.ask_all(500, callers=500)
    faults, ends = history.find_faults(), history.count()
    longest = max(event.ended - event.sent for event in history.events)
    scorecard.enter(
        3,
        "500 requests at once, idle server",
        "0 lost, 0 crash",
        f"{dict(ends)}, {len(faults)} faults, slowest {longest:.1f} s",
        met=not faults,
    )
    assert faults == []
    assert patient.server.restarts == 0


def test_9_short_deadlines(patient: Patient, scorecard: Scorecard) -> None:
    """The storm of deadlines that kills a bare 2.51: the same process answers afterwards."""
    count = 20_000 if LONG else 3_000
    patient.renew()
    pid, before = patient.server.pid, measure_memory(patient)
    deadlines = np.random.default_rng(9).uniform(0.0005, 0.02, count)
    ends: list[str] = []

    def ask(index: int) -> None:
        try:
            patient.client.moderate(patient.history.clips[index % 24], float(deadlines[index]))
            ends.append("verdict")
        except FarSideFailed as error:
            ends.append(type(error).__name__)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(count)))
    history = patient.history
    history.ask_all(48, callers=2, timeout=30)
    faults = history.find_faults()
    grown = (measure_memory(patient) - before) / MIB
    same = patient.server.pid == pid
    counts = {name: ends.count(name) for name in sorted(set(ends))}
    scorecard.enter(
        9,
        f"{count} requests with deadlines of 0.5 to 20 ms",
        "same process, RSS +<= 50 MB, then as before",
        f"{counts}; same process: {same}; RSS {grown:+.0f} MiB; after it {len(faults)} faults",
        met=same and not faults and grown <= 50,
    )
    assert len(ends) == count
    assert same
    assert faults == []


def measure_peak(patient: Patient, seconds: float) -> float:
    """Requests a second that eight callers get through."""
    before = len(patient.history.events)
    threads = patient.history.start(callers=8, idle=0)
    time.sleep(seconds)
    patient.history.stop(threads)
    return (len(patient.history.events) - before) / seconds


def test_2_overload(patient: Patient, scorecard: Scorecard) -> None:
    """Three times what the server can do: it lives, nothing is lost, and it recovers."""
    seconds = 300 if LONG else 10
    patient.renew()
    history, restarts = patient.history, patient.server.restarts
    history.timeout = 5
    peak = measure_peak(patient, 5)
    history.events.clear()
    history.sent.clear()
    total = int(3 * peak * seconds)
    begin = time.monotonic()
    with ThreadPoolExecutor(300) as pool:
        for index in range(total):
            time.sleep(max(0.0, begin + index / (3 * peak) - time.monotonic()))
            pool.submit(history.ask, index)
    took = time.monotonic() - begin
    faults, ends = history.find_faults(), history.count()
    good = ends["verdict"] / took
    begin = time.monotonic()
    while patient.client.moderate(history.clips[1], 30) and time.monotonic() - begin < 10:
        if measure_call(patient) < 0.5:
            break
    recovered = time.monotonic() - begin
    scorecard.enter(
        2,
        f"3 x {peak:.0f} requests/s for {seconds} s, 5 s deadlines",
        "goodput >= 0.9 peak, 0 hangs, 0 restarts, back <= 10 s",
        f"{dict(ends)}; goodput {good / peak:.2f} of peak; {len(faults)} faults; "
        f"{patient.server.restarts - restarts} restarts; back after {recovered:.1f} s",
        met=not faults and good >= 0.9 * peak and within(recovered, 10),
    )
    assert faults == []
    assert patient.server.restarts == restarts


def measure_call(patient: Patient) -> float:
    """Seconds of one call."""
    begin = time.monotonic()
    patient.client.moderate(patient.history.clips[1], 30)
    return time.monotonic() - begin


@pytest.mark.parametrize(("number", "minutes"), [(1, 30), (21, 120)])
def test_soak(patient: Patient, scorecard: Scorecard, number: int, minutes: int) -> None:
    """Hours at half or more of the peak: no error, no growth, no drift."""
    name = "hold" if number == 1 else "soak"
    if not LONG:
        scorecard.enter(
            number,
            f"{name} for {minutes} min",
            "0 errors, RSS slope <= 5 MB/h, p99 drift <= 10 %",
            "",
            skip="takes too long for the short form: make faults-long",
        )
        return
    patient.renew()
    history = patient.history
    memory: list[tuple[float, int]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(30):
            memory.append((time.monotonic(), measure_memory(patient)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = history.start(callers=8, idle=0.4 if number == 1 else 1.0)
    time.sleep(minutes * 60)
    history.stop(threads)
    over.set()
    watcher.join()
    faults, ends = history.find_faults(), history.count()
    warm = memory[len(memory) // 4 :]
    slope = np.polyfit([t for t, _ in warm], [m for _, m in warm], 1)[0] * 3600 / MIB
    times = [event.ended - event.sent for event in history.events]
    early, late = times[: len(times) // 4], times[-len(times) // 4 :]
    drift = np.percentile(late, 99) / np.percentile(early, 99) - 1
    scorecard.enter(
        number,
        f"{name} for {minutes} min",
        "0 errors, RSS slope <= 5 MB/h, p99 drift <= 10 %",
        f"{dict(ends)}; {len(faults)} faults; {slope:+.1f} MiB/h; p50 "
        f"{1000 * statistics.median(times):.0f} ms; p99 drift {100 * drift:+.0f} %",
        met=not faults and set(ends) == {"verdict"} and slope <= 5 and drift <= 0.1,
    )
    assert faults == []


def test_9_drain_after_the_storm(patient: Patient, scorecard: Scorecard) -> None:
    """After all of the above the server still stops within 12 s: last test of the module."""
    begin = time.monotonic()
    patient.server.close()
    took = time.monotonic() - begin
    scorecard.enter(
        9, "SIGTERM after the storm", "exit <= 12 s", f"{took:.1f} s", met=within(took, 12)
    )
    assert took < FINISH_S + 10

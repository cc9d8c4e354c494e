"""Scorecard 4, 5, 7, 8: processes of a real server that die, sleep and are asked to stop."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from patient import Patient, admit
from scorecard import LONG, Scorecard, within

from livewarden_ensemble.supervisor import Phase

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(7200)]

SHARED_MEMORY = Path("/dev/shm")
NOTICED_S, HEALED_S = 3, 15


def find_token(patient: Patient) -> str:
    return patient.server._claim.token


def find_strangers(patient: Patient) -> list[str]:
    """Processes and shared memory of this server that are not of its running generation."""
    word = f"lw_{find_token(patient)}_"
    own = {patient.server.pid, *patient.server.stub_pids}
    own |= {psutil.Process(patient.server.pid).ppid()}
    processes = [
        f"process {process.pid}"
        for process in psutil.process_iter(["cmdline"])
        if any(word in part for part in process.info["cmdline"] or ()) and process.pid not in own
    ]
    prefix = f"{word}{patient.server.restarts}_"
    files = [p.name for p in SHARED_MEMORY.glob(f"{word}*") if not p.name.startswith(prefix)]
    return processes + files


class Round:
    """Half load on a fresh history while something is done to the server."""

    def __init__(self, patient: Patient, callers: list[threading.Thread]) -> None:
        self.patient = patient
        self._callers = callers
        self.noticed: list[float] = []
        self.healed: list[float] = []
        self.strangers: list[str] = []

    def harm(self, harm_it: Callable[[], object]) -> None:
        """Harm it under load, and wait until it says that it is well."""
        time.sleep(1.0)
        begin = time.monotonic()
        harm_it()
        self.noticed.append(self.patient.notice(Phase.HEALING, begin))
        self.healed.append(self.patient.notice(Phase.READY, begin))
        self.strangers += find_strangers(self.patient)

    def end(self) -> None:
        """End the load; every request that was sent ends first."""
        self.patient.history.stop(self._callers)

    def tell(self) -> str:
        """The figures of all rounds."""
        history = self.patient.history
        return (
            f"{dict(history.count())}; {len(history.find_faults())} faults; noticed <= "
            f"{max(self.noticed):.1f} s; healed <= {max(self.healed):.1f} s; "
            f"{len(self.strangers)} left behind"
        )

    def is_met(self) -> bool:
        """Whether all bounds were kept."""
        return (
            within(max(self.noticed), NOTICED_S)
            and within(max(self.healed), HEALED_S)
            and not self.strangers
            and not self.patient.history.find_faults()
        )


@pytest.fixture
def under_load(patient: Patient) -> Iterator[Round]:
    patient.renew()
    threads = patient.history.start(callers=4, idle=1.0)
    yield Round(patient, threads)
    if threads[0].is_alive():
        patient.history.stop(threads)


BOUND = f"noticed <= {NOTICED_S} s, healed <= {HEALED_S} s, 0 wrong, 0 lost, 0 left behind"


def find_stub(patient: Patient, model: str) -> int:
    return next(
        pid
        for pid in patient.server.stub_pids
        if any(part.startswith(f"{model}_0_0") for part in psutil.Process(pid).cmdline())
    )


def test_4_killed_stubs(under_load: Round, scorecard: Scorecard) -> None:
    """Each stub in turn is killed by SIGKILL."""
    patient = under_load.patient
    models = ("moderation", "vision_encoder", "nsfw_encoder", "text_encoder", "fusion_classifier")
    rounds = models * 5 if LONG else models[:2]
    for model in rounds:
        under_load.harm(lambda model=model: os.kill(find_stub(patient, model), signal.SIGKILL))
    under_load.end()
    scorecard.enter(
        4,
        f"kill -9 of a stub, {len(rounds)} times, at half load, one server",
        BOUND,
        under_load.tell(),
        met=under_load.is_met(),
    )
    assert patient.history.find_faults() == []
    assert under_load.strangers == []


@pytest.mark.parametrize("seconds", [0.5, 1, 2, 5, 10] if LONG else [0.5, 2.5])
def test_5_paused_stub(under_load: Round, scorecard: Scorecard, seconds: float) -> None:
    """A stub sleeps and is woken: short sleeps may pass, long ones cost the server; none lies."""
    patient = under_load.patient
    for _ in range(10 if LONG else 1):
        time.sleep(1.0)
        restarts, begin = patient.server.restarts, time.monotonic()
        stub = psutil.Process(find_stub(patient, "text_encoder"))
        stub.suspend()
        time.sleep(seconds)
        if stub.is_running():
            stub.resume()
        time.sleep(1.0)
        if patient.server.restarts > restarts or patient.server.phase is not Phase.READY:
            under_load.noticed.append(patient.notice(Phase.HEALING, begin))
            under_load.healed.append(patient.notice(Phase.READY, begin))
        else:
            under_load.noticed.append(0.0)
            under_load.healed.append(0.0)
    under_load.strangers = find_strangers(patient)
    under_load.end()
    scorecard.enter(
        5,
        f"SIGSTOP of a stub for {seconds:g} s, {len(under_load.healed)} times",
        f"0 wrong answers, healed <= {HEALED_S} s",
        under_load.tell(),
        met=under_load.is_met(),
    )
    assert patient.history.find_faults() == []


def test_7_killed_server(under_load: Round, scorecard: Scorecard) -> None:
    """Tritonserver is killed again and again, as soon as it is well."""
    patient = under_load.patient
    rounds = 10 if LONG else 3
    for _ in range(rounds):
        under_load.harm(lambda: os.kill(patient.server.pid, signal.SIGKILL))
    under_load.end()
    scorecard.enter(
        7,
        f"kill -9 of tritonserver, {rounds} times in a row",
        BOUND,
        under_load.tell(),
        met=under_load.is_met(),
    )
    assert patient.history.find_faults() == []
    assert under_load.strangers == []


def test_8_drain(repository: Path, scorecard: Scorecard) -> None:
    """A stop with a full queue: what was taken ends with a verdict, the rest was refused before."""
    with admit(repository) as patient:
        history = patient.history
        history.timeout = 20
        token = find_token(patient)
        asking = threading.Thread(target=history.ask_all, args=(200, 200))
        asking.start()
        while len(history.sent) < 200:
            time.sleep(0.01)
        time.sleep(0.3)
        before, begin = len(history.events), time.monotonic()
        patient.server.close()
        took = time.monotonic() - begin
        asking.join()
    faults, ends = history.find_faults(), history.count()
    left = [path.name for path in SHARED_MEMORY.glob(f"lw_{token}*")]
    left += [path.name for path in Path(tempfile.gettempdir()).glob(f"livewarden-{token}*")]
    scorecard.enter(
        8,
        f"stop with {200 - before} requests in flight",
        "all answered, exit <= 12 s, 0 left behind",
        f"{dict(ends)}; {len(faults)} faults; exit after {took:.1f} s; {len(left)} left behind",
        met=not faults
        and within(took, 12)
        and before < 200 == ends["verdict"] + ends["Overloaded"]
        and not left,
    )
    assert faults == []
    assert left == []

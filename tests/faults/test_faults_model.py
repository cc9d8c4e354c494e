"""Scorecard 6 and 23, and crossed replies: models of a real server that hang, fail and lie."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from history import draw_noise
from patient import Patient
from scorecard import LONG, Scorecard, within

from livewarden_client import Clip, FarSideFailed, Text, Verdict
from livewarden_client.wire import MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.supervisor import Phase

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1800)]

CLIP = Clip([draw_noise(1)], [Text("chat", "hello there")])
KILLED_S, HEALED_S = 5, 15


def find_switch(patient: Patient, model: str) -> Path:
    """The file that tells a model, in its live version, which harm to do."""
    repository = Path(patient.server._launch.repository)
    versions = load_bundle(repository / MODERATION.name).versions
    return repository / model / versions.get(model, "1") / "FAULT"


@pytest.fixture
def switches(faulty: Patient) -> Iterator[None]:
    """All harm ends with the test."""
    yield
    for path in Path(faulty.server._launch.repository).glob("*/*/FAULT"):
        path.unlink(missing_ok=True)


HUNG = [("vision_encoder", "busy"), ("moderation", "busy")]
HUNG += [("text_encoder", "sleep"), ("fusion_classifier", "busy")] if LONG else []


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize(("model", "how"), HUNG)
def test_6_hung_model(faulty: Patient, scorecard: Scorecard, model: str, how: str) -> None:
    """A model that never returns is killed within 5 s of the first request that meets it."""
    faulty.renew()
    history = faulty.history
    history.timeout = 15
    threads = history.start(callers=4, idle=1.0)
    time.sleep(1.0)
    switch, stubs = find_switch(faulty, model), faulty.server.stub_pids
    begin = time.monotonic()
    switch.write_text(how)
    noticed = faulty.notice(Phase.HEALING, begin)
    switch.unlink()
    while any(map(psutil.pid_exists, stubs)):
        time.sleep(0.02)
    killed = time.monotonic() - begin
    healed = faulty.notice(Phase.READY, begin)
    history.stop(threads)
    faults, ends = history.find_faults(), history.count()
    scorecard.enter(
        6,
        f"`{how}` in {model}, at half load, one server",
        f"killed <= {KILLED_S} s, healed <= {HEALED_S} s, 0 wrong, 0 lost",
        f"{dict(ends)}; {len(faults)} faults; noticed after {noticed:.1f} s, killed after "
        f"{killed:.1f} s, healed after {healed:.1f} s",
        met=not faults and within(killed, KILLED_S) and within(healed, HEALED_S),
    )
    assert faults == []


@pytest.mark.usefixtures("switches")
def test_crossed_reply_is_never_delivered(faulty: Patient, scorecard: Scorecard) -> None:
    """A leaf hands out another question's answer: thrown away, flagged, the server replaced."""
    faulty.renew()
    begin = time.monotonic()
    find_switch(faulty, "text_encoder").write_text("cross")
    verdict = faulty.client.moderate(CLIP, 20)
    healed = faulty.notice(Phase.READY, begin)
    why = next(n.detail for t, n in faulty.notices if n.phase is Phase.HEALING and t >= begin)
    scorecard.enter(
        5,
        "a leaf hands out a foreign answer",
        f"discarded, flagged, server replaced <= {HEALED_S} s",
        f"{verdict.action}, degraded {verdict.coverage.degraded}; replaced after {healed:.1f} s",
        met=verdict.coverage.degraded and within(healed, HEALED_S),
    )
    # The canary may have met it first; then the caller got a right answer, or none.
    assert "another question" in why or "not every stage" in why


FAULTS = [
    (model, how)
    for model in ("vision_encoder", "text_encoder", "fusion_classifier")
    for how in ("fail", "slow", "nan")
] + [("moderation", "fail"), ("moderation", "slow")]


@pytest.mark.usefixtures("switches")
def test_23_modality_faults(faulty: Patient, scorecard: Scorecard) -> None:
    """Each stage fails, is slow or gives NaN: review or harder with a reason, never allow."""
    actions, allowed, silent = [], [], []
    for model, how in FAULTS:
        faulty.renew()
        switch = find_switch(faulty, model)
        switch.write_text(how)
        # Too little time for a slow stage, enough for all others.
        verdict = ask(faulty, timeout=0.8 if how == "slow" else 8.0)
        switch.unlink()
        name = f"{model}/{how}"
        if isinstance(verdict, FarSideFailed):
            actions.append("error")  # which the default client turns into a review
            continue
        actions.append(verdict.action)
        if verdict.action == "allow":
            allowed.append(name)
        if not verdict.reasons:
            silent.append(name)
    summary = {action: actions.count(action) for action in sorted(set(actions))}
    scorecard.enter(
        23,
        "vision, text, fusion and policy each fail, are slow, give NaN",
        "100 % review or typed error, 0 allow, reason given",
        f"{summary} of {len(FAULTS)}; allowed: {allowed or 'none'}; no reason: {silent or 'none'}",
        met=not allowed and not silent,
    )
    assert allowed == []
    assert silent == []


def ask(patient: Patient, timeout: float) -> Verdict | FarSideFailed:
    """Ask; once more where the canary has just had the server replaced for its failing stage."""
    try:
        return patient.client.moderate(CLIP, timeout)
    except FarSideFailed as error:
        return error

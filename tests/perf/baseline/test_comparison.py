import os
import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from livewarden_perf.baseline import comparison
from livewarden_perf.baseline.checker import Checker
from livewarden_perf.baseline.comparison import Load, Standing, _Run
from livewarden_perf.errors import BaselineFailed, MeasurementInvalid

LOAD = Load(callers=1, seconds=0.1, rounds=1, tune_seconds=0.1)
CLIPS = [0.25] * 20


class FakeProtocol:
    """A server whose score is the clip, and some `error`; it takes `port` milliseconds."""

    def __init__(self, error=0.0):
        self.error = error

    def encode(self, clip):
        """Encode it."""
        return str(clip).encode()

    def connect(self, port):
        """Connect."""

        def call(request):
            time.sleep(port / 1e3)
            return request

        return SimpleNamespace(call=call, close=lambda: None)

    def read_scores(self, answer):
        """Read it."""
        return [float(answer) + self.error]


@pytest.fixture(autouse=True)
def _no_warm_up(monkeypatch):
    monkeypatch.setattr(comparison, "_WARM_UP_S", 0.02)


def make_run(ports, protocol=None, **given):
    starts = {
        name: lambda port=port: nullcontext(SimpleNamespace(pid=os.getpid(), port=port))
        for name, port in ports.items()
    }
    return _Run(Standing("x", "X", "", ()), protocol or FakeProtocol(), starts, **given)


CHECKER = Checker(CLIPS[:8], [[0.25]] * 8)


@pytest.mark.parametrize("error", [0.021, -0.021, float("nan")])
def test_other_scores_are_other_work(error):
    """A server that does not compute the same, or not at all, has no figures but a reason."""
    with pytest.raises(MeasurementInvalid, match="from our pipeline's"):
        CHECKER.check(FakeProtocol(error), 0)
    run = make_run({"one": 1, "two": 1}, FakeProtocol(error))
    run.tune(CHECKER, CLIPS, LOAD, lambda _line: None)
    run.measure(CHECKER, CLIPS, LOAD, lambda _line: None, "")
    assert run.standing.windows == []
    assert "same work" in run.standing.failure


def test_a_small_difference_is_reported():
    """fp32 against bf16 is the same work."""
    assert CHECKER.check(FakeProtocol(0.015), 0) == pytest.approx(0.015)


def test_the_fastest_variant_is_measured():
    """Of the ways to set it up, the one with most clips per second goes into the rounds."""
    run = make_run({"slow": 30, "fast": 5})
    run.tune(CHECKER, CLIPS, LOAD, lambda _line: None)
    assert run.standing.variant == "fast"
    assert set(run.standing.tried) == {"slow", "fast"}
    run.measure(CHECKER, CLIPS, LOAD, lambda _line: None, "")
    assert len(run.standing.windows) == 1
    assert run.standing.failure == ""


def test_a_variant_that_fails_is_out():
    """One way that does not come up leaves the others."""

    @contextmanager
    def fail():
        raise BaselineFailed("no port")
        yield

    run = make_run({"good": 5})
    run.starts = {"bad": fail, **run.starts}
    run.tune(CHECKER, CLIPS, LOAD, lambda _line: None)
    assert run.standing.tried["bad"] is None
    assert (run.standing.variant, run.standing.failure) == ("good", "")


def test_livewarden_itself_must_not_fail():
    """A comparison without its subject is none."""
    run = make_run({"": 1}, FakeProtocol(1.0), is_own=True)
    run.tune(CHECKER, CLIPS, LOAD, lambda _line: None)
    with pytest.raises(MeasurementInvalid):
        run.measure(CHECKER, CLIPS, LOAD, lambda _line: None, "")

"""Every baseline once for real: it starts, gives our scores, and is gone afterwards."""

from pathlib import Path

import psutil
import pytest

from livewarden_ensemble.bundle import load_bundle
from livewarden_perf.baseline.checker import CHECKED_CLIPS, Checker
from livewarden_perf.baseline.contestant import BASELINES, Site
from livewarden_perf.baseline.environment import find_python
from livewarden_perf.baseline.running import Running
from livewarden_perf.standard_clip import standard_clip

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[3] / "model_repository"


@pytest.fixture(scope="module")
def python():
    path = find_python()
    if path is None:
        pytest.skip("the baselines are not installed: run `livewarden perf baselines` once")
    return path


@pytest.fixture(scope="module")
def checker():
    clips = [standard_clip(index) for index in range(CHECKED_CLIPS)]
    return Checker.of(REPOSITORY, None, clips)


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_a_baseline_does_the_same_work(baseline, python, checker):
    """Its scores are ours, in the set-up with the most processes; none of them stays."""
    site = Site(python, load_bundle(REPOSITORY / "moderation").folder, cores=2)
    with Running(lambda place: baseline.build(site, baseline.variants[-1], place)) as server:
        assert checker.check(baseline.protocol, server.port) < 0.02
        processes = psutil.Process(server.pid).children(recursive=True)
    assert not psutil.pid_exists(server.pid)
    assert not any(process.is_running() for process in processes)

import numpy as np
import pytest

from livewarden_perf.open_loop import Overhead
from livewarden_perf.overload import Phases, find_recovery, judge_overload, make_overload_section
from livewarden_perf.samples import Samples
from livewarden_perf.target import REJECTED

PHASES = Phases(peak=10, before_s=4, flood_s=4, after_s=8)


def serve(capacity, patience_s):
    """Serve PHASES one by one at `capacity`, refusing at once what would wait too long."""
    due = PHASES.draw()
    ended, reasons, free = [], [], 0.0
    for moment in due:
        start = max(moment, free)
        if start - moment > patience_s:
            ended.append(moment + 0.01)
            reasons.append(REJECTED)
            continue
        free = start + 1 / capacity
        ended.append(free)
        reasons.append("")
    ok = np.array([not reason for reason in reasons])
    return Samples(due, due, due, np.array(ended), ok, tuple(reasons), PHASES.seconds)


def test_the_schedule_is_half_three_times_half():
    """5, 30 and 5 clips a second."""
    due = PHASES.draw()
    assert len(due) == 4 * 5 + 4 * 30 + 8 * 5
    assert ((due >= 4) & (due < 8)).sum() == 120


def test_a_server_that_refuses_keeps_its_goodput():
    """It delivers its peak, says no within 10 ms, and is well at once."""
    result = judge_overload(serve(10, 0.2), PHASES)
    assert result.goodput == pytest.approx(10, abs=0.5)
    assert result.refused == pytest.approx(80, abs=3)
    assert result.refused_p99_ms == pytest.approx(10)
    assert result.recovery_s == 0
    assert result.unanswered == 0


def test_a_server_that_queues_everything_recovers_late():
    """80 clips pile up, and only 5 a second can be worked off: not in 8 s."""
    result = judge_overload(serve(10, 1e9), PHASES)
    assert result.goodput == pytest.approx(10, abs=0.5)
    assert result.refused == 0
    assert result.recovery_s is None


def test_recovery_needs_two_calm_seconds():
    """One good second between bad ones is luck."""
    due = np.arange(0, 16, 0.5)
    wait = np.where((due >= 4) & (due < 8) | (due >= 9) & (due < 10), 5.0, 0.1)
    samples = Samples(due, due, due, due + wait, np.ones(len(due), bool), ("",) * len(due), 16)
    assert find_recovery(samples, PHASES) == 2


def test_the_section_shows_all_of_it():
    """Goodput as a share of the peak, and every second with what was due and what came."""
    section = make_overload_section(serve(10, 0.2), PHASES, Overhead(20, 0.1), 2.0)
    assert section.data["goodput_share"] == pytest.approx(1, abs=0.05)
    assert len(section.charts[0].x) == 16
    assert sum(section.charts[0].series["rejected"]) == section.data["refused"]

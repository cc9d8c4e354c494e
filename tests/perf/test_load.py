import dataclasses

import numpy as np

from livewarden_perf.load import make_curve_section, make_load_section, warn_of
from livewarden_perf.open_loop import Overhead
from livewarden_perf.samples import Samples

DUE = np.arange(0, 4, 0.5)
SAMPLES = Samples(
    due=DUE,
    free=DUE,
    sent=DUE + 0.001,
    ended=DUE + 0.1,
    ok=np.ones(8, bool),
    reasons=("",) * 8,
    seconds=4.0,
    cpu_s=0.016,
)
OVERHEAD = Overhead(25.0, 0.2)


def test_the_section_names_rate_latency_and_the_generator_s_cost():
    """2 clips/s, 100 ms; the generator took 2 ms of processor time a clip, and was 1 ms late."""
    section = make_load_section(SAMPLES, OVERHEAD, "standard, steady")
    assert "2.0 of 2.0 clips/s" in section.headline
    assert "p50 100 ms" in section.headline
    text = " ".join(section.notes)
    assert "25 µs per clip" in text
    assert "2.0 ms of processor time per clip" in text
    assert "maximum" in text
    assert [row["offered"] for row in section.data["seconds"]] == [2, 2, 2, 2]
    assert section.warnings == ()


def test_failures_and_lateness_are_warnings():
    """Figures of a run that was not what it should be say so."""
    ok = np.array([True] * 7 + [False])
    broken = dataclasses.replace(SAMPLES, ok=ok, reasons=("",) * 7 + ("rejected",), sent=DUE + 0.05)
    late, failed = warn_of(broken.summarise())
    assert "fell behind" in late
    assert failed == "1 of 8 clips failed: 1 rejected."


def test_the_curve_is_sorted_by_rate():
    """Points come in the order of their rates, whatever the order of the runs."""
    fast = dataclasses.replace(SAMPLES, seconds=2.0).summarise()
    section = make_curve_section([fast, SAMPLES.summarise()], OVERHEAD, "standard")
    assert section.charts[0].x == (2.0, 4.0)
    assert list(section.charts[0].series) == ["p50", "p95", "p99", "p99.9"]

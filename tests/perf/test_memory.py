import mmap
import multiprocessing
import os
import tempfile
import time

import psutil
import pytest

from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.memory import (
    PRIVATE,
    SHARED_MEMORY,
    MemoryWatch,
    fit_slope,
    make_memory_section,
    measure_tree,
)
from livewarden_perf.samples import Summary

RUN = Summary(
    clips=10,
    ok=10,
    failed={},
    offered_per_second=10,
    clips_per_second=10,
    latency_ms={"p50": 50.0, "p95": 90.0, "p99": 140.0, "p99.9": 150.0},
    judged_p99_ms=140.0,
    max_ms=150.0,
    lag_ms={"p50": 0.1, "p99": 1.0},
    generator_cpu_ms=1.0,
    generator_cores=0.01,
)


def test_a_slope_is_per_hour():
    """One MB a minute is 60 MB an hour, with no error where all points lie on the line."""
    slope = fit_slope([0, 60, 120, 180], [100, 101, 102, 103])
    assert slope.mb_per_hour == pytest.approx(60)
    assert slope.error == pytest.approx(0, abs=1e-9)


def test_the_error_is_that_of_least_squares():
    """By the textbook: sqrt(rest² / (n - 2) / spread of x)."""
    slope = fit_slope([0, 3600, 7200, 10800], [0, 2, 1, 3])
    assert slope.mb_per_hour == pytest.approx(0.8)
    rest = [y - (0.3 + 0.8 * x) for x, y in enumerate([0, 2, 1, 3])]
    assert slope.error == pytest.approx((sum(r * r for r in rest) / 2 / 5) ** 0.5)


def test_three_samples_are_no_slope():
    """The error says what to do."""
    with pytest.raises(MeasurementInvalid, match="measure longer"):
        fit_slope([0, 1, 2], [1, 1, 1])


def hold(size, ready):
    held = bytearray(os.urandom(1024)) * (size // 1024)
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.truncate(8 << 20)
        with mmap.mmap(file.fileno(), 8 << 20) as memory:
            memory[:] = b"x" * (8 << 20)
            ready.set()
            time.sleep(60)
    return held


def test_private_and_shared_memory_of_a_tree_are_told_apart():
    """40 MB that a child holds are its own; 8 MB in /dev/shm are shared, and counted once."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=hold, args=(40_000_000, ready), daemon=True)
    root = psutil.Process()
    before = measure_tree(root)
    child.start()
    try:
        assert ready.wait(30)
        after = measure_tree(root)
    finally:
        child.kill()
        child.join()
    assert after[SHARED_MEMORY] - before[SHARED_MEMORY] == pytest.approx(8.39, abs=0.5)
    assert 40 < after[PRIVATE] - before[PRIVATE] < 80


def test_the_watch_samples_until_it_is_left():
    """The first sample comes at once; nothing comes after the block."""
    with MemoryWatch(os.getpid(), 0.01) as watch:
        give_up = time.monotonic() + 30
        while len(watch.times) < 2 and time.monotonic() < give_up:
            time.sleep(0.01)
    count = len(watch.times)
    assert count >= 2
    assert watch.times == sorted(watch.times)
    assert len(watch.sizes) == count


def test_no_process_is_one_error():
    """It names the number."""
    with pytest.raises(MeasurementInvalid, match="no process 4194305"):
        MemoryWatch(4_194_305, 1.0)


@pytest.mark.parametrize(("bound", "too_much"), [(None, False), (500.0, False), (5.0, True)])
def test_growth_is_held_against_its_bound_after_the_warm_up(bound, too_much):
    """The jump in the first ten seconds is warm-up; 60 MB an hour after it are growth."""
    times = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    own = [100.0, 500.0] + [500.0 + second / 60 for second in (10, 20, 30, 40)]
    sizes = [{"tritonserver": size, PRIVATE: size, SHARED_MEMORY: 64.0} for size in own]
    sizes[0]["gone"] = 5.0
    section, grew = make_memory_section(times, sizes, RUN, 15.0, bound)
    assert grew is too_much
    assert bool(section.warnings) is too_much
    assert section.data["slopes_mb_per_hour"][PRIVATE]["slope"] == pytest.approx(60)
    assert "gone" not in section.data["mb"]

import os
import subprocess
import sys
import threading

import pytest

from livewarden_perf.baseline.load import (
    Reading,
    count_window,
    list_tree,
    measure_window,
    read_clocks,
)
from livewarden_perf.errors import BaselineFailed, MeasurementInvalid


def make_reading(time, tree=(), own=0.0, busy=0.0):
    return Reading(time, dict(tree), own, busy)


def test_clips_at_a_border_count_by_their_share():
    """Half a clip inside is half a clip, and one that spans the window is window over length."""
    answers = [(10.5, 1.0), (12.0, 1.0), (14.5, 1.0), (16.0, 8.0), (9.0, 1.0), (20.0, 1.0)]
    window = count_window(answers, make_reading(10.0), make_reading(14.0), 0.0)
    assert window.clips == pytest.approx(0.5 + 1 + 0.5 + 0.5)
    assert window.clips_per_second == pytest.approx(2.5 / 4)
    assert window.latencies_ms == (1000.0, 1000.0)
    assert window.sent == 6


def test_a_steady_loop_has_its_rate_wherever_the_window_lies():
    """Eight callers in batches of eight, a batch each 2 s: 4 clips a second from any start."""
    answers = [(2.0 * batch, 2.0) for batch in range(1, 20) for _ in range(8)]
    for start in (4.0, 4.7, 5.9):
        window = count_window(answers, make_reading(start), make_reading(start + 3), 0.0)
        assert window.clips_per_second == pytest.approx(4.0)


def test_processor_time_is_split_between_server_callers_and_others():
    """A process that began meanwhile counts in full; what is left of the machine is others."""
    start = make_reading(0.0, {1: 10.0, 2: 5.0}, own=1.0, busy=100.0)
    end = make_reading(10.0, {1: 14.0, 2: 6.0, 3: 2.0}, own=2.0, busy=118.0)
    window = count_window([(5.0, 1.0)], start, end, 0.0)
    assert window.cpu_s == pytest.approx(7.0)
    assert window.others == pytest.approx(1.0)


def test_nothing_answered_is_no_figure():
    """A server that does nothing in the window has no rate of 0: the run is void."""
    with pytest.raises(MeasurementInvalid, match="no clip"):
        count_window([(20.0, 1.0)], make_reading(0.0), make_reading(10.0), 0.0)


class FakeCaller:
    """Answers at once, up to a number of times; `closed` tells."""

    def __init__(self, log, limit=None):
        self.log, self.limit, self.closed = log, limit, False

    def call(self, request):
        """Keep the request."""
        threading.Event().wait(0.005)
        self.log.append(request)
        if self.limit is not None and len(self.log) > self.limit:
            raise BaselineFailed("it is gone")
        return b""

    def close(self):
        """Take note."""
        self.closed = True


def test_callers_share_the_requests_in_turn():
    """No request is sent twice before every other was sent once, whoever sends it."""
    log, callers = [], []

    def connect():
        callers.append(FakeCaller(log))
        return callers[-1]

    requests = [bytes([number]) for number in range(100)]
    window = measure_window(
        connect, requests, callers=3, warm_up_s=0.05, seconds=0.1, pid=os.getpid()
    )
    assert len(callers) == 3
    assert all(caller.closed for caller in callers)
    assert window.sent == len(log)
    counts = sorted(log.count(request) for request in requests)
    assert counts[-1] - counts[0] <= 1


def test_one_failed_request_voids_the_window():
    """A server that fails under load has no figures."""
    log = []
    with pytest.raises(BaselineFailed, match="it is gone"):
        measure_window(
            lambda: FakeCaller(log, 5), [b"x"], callers=2, warm_up_s=0.05, seconds=0.1, pid=1
        )


def test_processes_below_the_first_belong_to_it():
    """Workers' processor time is the server's, also where a worker has workers."""
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE);"
        "print(child.pid, flush=True); input(); child.communicate(b'\\n')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        child = int(process.stdout.readline())
        assert {one.pid for one in list_tree(process.pid)} == {process.pid, child}
        assert set(read_clocks(process.pid).tree_s) == {process.pid, child}
        process.communicate("\n")
    assert list_tree(process.pid) == []

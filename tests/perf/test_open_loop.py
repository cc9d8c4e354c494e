import threading

import numpy as np
import pytest

from livewarden_perf.open_loop import measure_overhead, run_open_loop, saturate
from livewarden_perf.schedule import draw_steady
from livewarden_perf.target import UNANSWERED


class Manual:
    """A target that answers when the test says so, or by itself after `delay_s`."""

    def __init__(self, delay_s=None):
        self.delay_s = delay_s
        self.sent = []
        self.on_wire = 0
        self.most = 0
        self._lock = threading.Lock()

    def send(self, number, done):
        """Take note of the clip."""
        with self._lock:
            self.sent.append(number)
            self.on_wire += 1
            self.most = max(self.most, self.on_wire)
        if self.delay_s is not None:
            timer = threading.Timer(self.delay_s, self.answer, (number, done))
            timer.start()

    def answer(self, number, done):
        """Refuse every fifth clip."""
        with self._lock:
            self.on_wire -= 1
        done(number % 5 != 4, "rejected")

    def close(self):
        """Do nothing."""


def test_a_slow_target_does_not_slow_the_schedule():
    """Twenty clips in 0.2 s are all sent, though the first answer comes after 0.3 s."""
    target = Manual(delay_s=0.3)
    samples = run_open_loop(target, draw_steady(100, 0.2))
    assert target.most == 20
    assert sorted(target.sent) == list(range(20))
    assert (samples.latency_ms >= 300).all()


def test_reasons_are_kept():
    """Every fifth clip is refused, and the run says so."""
    samples = run_open_loop(Manual(delay_s=0.0), draw_steady(200, 0.1))
    assert samples.ok.sum() == 16
    assert samples.summarise().failed == {"rejected": 4}


def test_a_stream_s_clips_go_one_after_the_other():
    """Two streams, all clips due at once: two on the wire at any time, each stream in order."""
    target = Manual(delay_s=0.02)
    samples = run_open_loop(target, np.zeros(10), streams=2)
    assert target.most == 2
    for stream in (0, 1):
        assert [n for n in target.sent if n % 2 == stream] == list(range(stream, 10, 2))
    # The last of five waited for the four before it, from its due time on; that is no lag.
    assert samples.latency_ms[8] >= 5 * 20
    assert samples.free[2:].tolist() == samples.ended[:-2].tolist()


def test_unanswered_clips_do_not_hold_the_run():
    """After the patience they count as unanswered; of a stream, the next ones were never sent."""
    target = Manual()
    samples = run_open_loop(target, np.zeros(3), streams=1, drain_s=0.05)
    assert target.sent == [0]
    assert samples.reasons == (UNANSWERED,) * 3
    assert np.isnan(samples.ended).all()


def test_saturation_keeps_so_many_on_the_wire():
    """Four callers: never more than four on their way, and the next goes when one ends."""
    target = Manual(delay_s=0.01)
    samples = saturate(target, 4, 0.3)
    assert target.most == 4
    assert len(samples.due) > 8
    assert samples.reasons.count(UNANSWERED) == 0
    assert samples.latency_ms[samples.ok].min() >= 10


def test_the_generator_s_own_cost_is_small():
    """A clip costs the generator less than a millisecond: it is no part of what is measured."""
    assert 0 < measure_overhead().per_clip_us < 1000


@pytest.mark.parametrize("due", [[], [0.0]])
def test_a_run_of_nothing_or_one_ends(due):
    """No division by a length of zero."""
    samples = run_open_loop(Manual(delay_s=0.0), np.array(due))
    assert samples.summarise().clips == len(due)

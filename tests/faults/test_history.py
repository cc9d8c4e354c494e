"""The checker finds what it is there to find."""

from __future__ import annotations

import numpy as np
import pytest
from history import Event, History, make_clips

from livewarden_client import Client

SCORES = np.array([0.1, 0.9])


def make(**change: object) -> History:
    event = {"request_id": "a", "clip": 0, "sent": 0.0, "ended": 1.0, "answered_id": "a"}
    event |= {"scores": SCORES} | change
    return History(None, [], [SCORES, SCORES + 0.05], sent=["a"], events=[Event(**event)])


def test_right_history_has_no_faults() -> None:
    """Ended once, own id, golden scores, in time."""
    assert make().find_faults() == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"answered_id": "b"}, "answer to b"),
        ({"scores": SCORES + 0.001}, "golden"),
        ({"scores": SCORES * np.nan}, "golden"),
        ({"clip": 1}, "golden"),
        ({"ended": 30.0}, "took 30.0 s"),
        ({"request_id": "z"}, "a ended 0 times"),
    ],
)
def test_fault_is_found(change: dict[str, object], word: str) -> None:
    """A foreign answer, a wrong score, a late end and a lost request are each named."""
    assert word in " ".join(make(**change).find_faults())


def test_second_end_is_found() -> None:
    """A request that ends twice is a fault as well."""
    history = make()
    history.events *= 2
    assert history.find_faults() == ["a ended 2 times"]


def test_error_and_degraded_are_judged_by_their_end_only() -> None:
    """What has no full scores cannot be compared; it still must end once."""
    assert make(scores=None, error="Unavailable", answered_id="").find_faults() == []
    assert make(scores=SCORES * np.nan, degraded=True).find_faults() == []


def test_requests_get_ids_of_their_own() -> None:
    """Many threads, one id per request, and every request in the history."""
    client = Client("127.0.0.1:1", timeout=0.1, on_failure="raise")
    history = History(client, make_clips(4), timeout=0.2)
    history.ask_all(40, callers=8)
    client.close()
    assert len(set(history.sent)) == 40
    assert history.count().total() == 40
    assert set(history.count()) <= {"Unavailable", "DeadlineExceeded", "Overloaded"}
    assert history.find_faults() == []

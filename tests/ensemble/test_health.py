from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from livewarden_ensemble.health import Health


class Patient:
    """Something whose readiness a test sets."""

    ready = False


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.fixture
def health(patient: Patient) -> Iterator[Health]:
    health = Health("127.0.0.1", 0, lambda: patient.ready)
    yield health
    health.close()


def ask(health: Health, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{health.port}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_ready_follows_the_server(health: Health, patient: Patient):
    """503 until it is ready, 200 then, 503 again as soon as it is not; alive all the time."""
    seen = []
    for patient.ready in (False, True, False):
        seen.append((ask(health, "/ready"), ask(health, "/live")))
    assert seen == [(503, 200), (200, 200), (503, 200)]


@pytest.mark.parametrize("path", ["/", "/readyz", "/ready?x=1", "//etc/passwd"])
def test_other_paths_are_not_there(health: Health, path: str):
    """Only the two paths answer."""
    assert ask(health, path) == 404


def test_silent_caller_blocks_nobody(health: Health):
    """A connection that says nothing keeps no other probe waiting."""
    with socket.create_connection(("127.0.0.1", health.port)):
        assert ask(health, "/live") == 200


def test_close_frees_the_port(patient: Patient):
    """After close nobody answers."""
    health = Health("127.0.0.1", 0, lambda: patient.ready)
    health.close()
    with pytest.raises(urllib.error.URLError):
        ask(health, "/live")

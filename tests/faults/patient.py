"""The patient: a real server to harm, what it said meanwhile, and its answers of a calm time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from history import History, make_clips, read_scores

from livewarden_client import Client
from livewarden_client.errors import FarSideFailed
from livewarden_ensemble.server import Server
from livewarden_ensemble.supervisor import Notice, Phase

CLIPS = make_clips(24)


@dataclass
class Patient:
    """A real server to harm, what it said meanwhile, and the golden answers of its calm time."""

    server: Server
    notices: list[tuple[float, Notice]]
    client: Client
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin a new history; the golden answers come one by one, from nobody else's time."""
        self.server.wait_ready(120)
        self._wait_answer()
        golden = [read_scores(self.client.moderate(clip, 60)) for clip in CLIPS]
        self.history = History(self.client, CLIPS, golden)

    def _wait_answer(self) -> None:
        """Wait until the client, whose breaker may be open, gets answers again."""
        give_up = time.monotonic() + 30
        while True:
            try:
                self.client.moderate(CLIPS[1], 10)
            except FarSideFailed:
                assert time.monotonic() < give_up
                time.sleep(0.2)
            else:
                return

    def notice(self, phase: Phase, since: float) -> float:
        """Seconds after `since` at which it said `phase`; waits for it."""
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up:
            for when, notice in list(self.notices):
                if notice.phase is phase and when >= since:
                    return when - since
            time.sleep(0.05)
        pytest.fail(f"no {phase} after {since}")


@contextmanager
def admit(repository: Path, **settings: object) -> Iterator[Patient]:
    """Start a server as a patient; it remembers no answers, since the same clips come again."""
    notices: list[tuple[float, Notice]] = []
    with (
        Server(
            repository,
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            tell=lambda notice: notices.append((time.monotonic(), notice)),
            cache_mib=0,
            **settings,
        ) as server,
        Client(server.grpc_url, on_failure="raise") as client,
    ):
        yield Patient(server, notices, client)

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from history import History, make_clips, read_scores
from proxy import Proxy
from scorecard import Scorecard, render_table

from livewarden_client import Client
from livewarden_client.errors import FarSideFailed
from livewarden_ensemble.server import Server
from livewarden_ensemble.supervisor import Notice, Phase

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"
RESULTS = ROOT / ".faults" / "scorecard.json"
CLIPS = make_clips(24)


@pytest.fixture(scope="session")
def repository() -> Path:
    if not (REPOSITORY / "moderation" / "live.json").exists():
        pytest.fail("no live bundle: run `make export` first")
    return REPOSITORY


@pytest.fixture(scope="module")
def real_server(repository: Path) -> Iterator[Server]:
    """One real tritonserver for all tests of a module; the harm is done before it."""
    with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
        server.wait_ready(120)
        yield server


@pytest.fixture
def make_proxy(real_server: Server) -> Iterator[Callable[[], Proxy]]:
    """Make proxies before the real server: `make_proxy()`."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Proxy(real_server.grpc_url))


@pytest.fixture(scope="session")
def scorecard() -> Iterator[Scorecard]:
    """The table; LIVEWARDEN_FAULTS_REPORT names the page whose part below the mark it becomes."""
    card = Scorecard(RESULTS)
    yield card
    if (report := os.environ.get("LIVEWARDEN_FAULTS_REPORT")) is not None:
        page = Path(report)
        head, mark, _ = page.read_text().partition("<!-- scorecard -->\n")
        page.write_text(head + mark + render_table(card.read()))


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
    """Start a server as a patient."""
    notices: list[tuple[float, Notice]] = []
    with (
        Server(
            repository,
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            tell=lambda notice: notices.append((time.monotonic(), notice)),
            **settings,
        ) as server,
        Client(server.grpc_url, on_failure="raise") as client,
    ):
        yield Patient(server, notices, client)


@pytest.fixture(scope="module")
def patient(repository: Path) -> Iterator[Patient]:
    with admit(repository) as patient:
        yield patient


@pytest.fixture(scope="module")
def faulty(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """A server whose models do harm on request: see faulty_leaf.py and faulty_pipeline.py."""
    root = tmp_path_factory.mktemp("faulty")
    for name in ("model_repository", "bundles"):
        shutil.copytree(repository.parent / name, root / name, copy_function=os.link)
    shutil.copytree(repository.parent / "policies", root / "policies")
    for path in (root / "model_repository").glob("*/[0-9]*/model.py"):
        kind = "pipeline" if path.parts[-3] == "moderation" else "leaf"
        path.unlink()  # a link to the real one
        shutil.copy(Path(__file__).with_name(f"faulty_{kind}.py"), path)
    with pytest.MonkeyPatch.context() as patch:
        # It would refuse these models, as it should.
        patch.setattr("livewarden_ensemble.server.check_repository", lambda *_: None)
        with admit(root / "model_repository") as patient:
            yield patient

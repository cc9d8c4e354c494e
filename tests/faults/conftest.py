from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from link import link_or_copy
from patient import Patient, admit
from proxy import Proxy
from scorecard import Scorecard, render_table

from livewarden_ensemble.server import Server

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"
RESULTS = ROOT / ".faults" / "scorecard.json"


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


@pytest.fixture(scope="module")
def patient(repository: Path) -> Iterator[Patient]:
    with admit(repository) as patient:
        yield patient


@pytest.fixture(scope="module")
def faulty(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """A server whose models do harm on request: see faulty_leaf.py and faulty_pipeline.py."""
    root = tmp_path_factory.mktemp("faulty")
    for name in ("model_repository", "bundles"):
        shutil.copytree(repository.parent / name, root / name, copy_function=link_or_copy)
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

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from livewarden_client import Client
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.server import Server
from livewarden_ensemble.state_token import parse_keys

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository that `make export` fills; without it nothing here can run."""
    if not (REPOSITORY / "moderation" / "live.json").exists():
        pytest.fail("no live bundle: run `make export` first")
    return REPOSITORY


@pytest.fixture(scope="session")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "tritonserver.log"


@pytest.fixture(scope="session")
def server(repository: Path, log_file: Path) -> Iterator[Server]:
    """One real server for all tests that leave it unharmed, with everything that it can log."""
    with Server(
        repository=repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        log_level="info",
        log_file=log_file,
    ) as server:
        server.wait_ready(120)
        yield server


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[Client]:
    with Client(server.grpc_url, timeout=30, on_failure="raise") as client:
        yield client


@pytest.fixture(scope="session")
def local_pipeline(repository: Path) -> Pipeline:
    """The same models and policy in this process, one thread: the slow obvious reference."""
    return Pipeline(
        load_bundle(repository / "moderation"),
        load_policy(ROOT / "policies" / "default.yaml"),
        LocalLeaves(repository, threads=1),
        server="local",
        keys=parse_keys("test:" + "00" * 32),
    )

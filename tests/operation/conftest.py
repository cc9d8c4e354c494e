from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from link import link_or_copy
from monitor import Prometheus

from livewarden_client import Client
from livewarden_ensemble.server import Server

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, in links, with its bundles beside it: drills publish into it."""
    if not (REPOSITORY / "moderation" / "live.json").exists():
        pytest.fail("no live bundle: run `make export` first")
    root = tmp_path_factory.mktemp("site")
    for name in ("model_repository", "bundles"):
        shutil.copytree(ROOT / name, root / name, copy_function=link_or_copy)
    return root / "model_repository"


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the policy that ships, for a drill to break."""
    return Path(
        shutil.copy(
            ROOT / "policies" / "default.yaml", tmp_path_factory.mktemp("policy") / "policy.yaml"
        )
    )


@pytest.fixture(scope="module")
def server(repository: Path, policy_file: Path) -> Iterator[Server]:
    """One real server for each file: what a drill broke still fires for a while."""
    with Server(
        repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        health_port=0,
        policy=policy_file,
    ) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.grpc_url, timeout=30, on_failure="raise") as client:
        yield client


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus on both targets of the server."""
    targets = {
        "livewarden": f"127.0.0.1:{server.ports.metrics}",
        "livewarden-supervisor": f"127.0.0.1:{server.health_port}",
    }
    with Prometheus(tmp_path_factory.mktemp("prometheus"), targets) as prometheus:
        prometheus.wait("count(up == 1)", lambda value: value == 2)
        yield prometheus

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from proxy import Proxy

from livewarden_ensemble.server import Server

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@pytest.fixture(scope="module")
def real_server() -> Iterator[Server]:
    """One real tritonserver for all tests of a module; the harm is done before it."""
    if not (REPOSITORY / "moderation" / "live.json").exists():
        pytest.fail("no live bundle: run `make export` first")
    with Server(REPOSITORY, grpc_port=0, http_port=0, metrics_port=0) as server:
        server.wait_ready(120)
        yield server


@pytest.fixture
def make_proxy(real_server: Server) -> Iterator[Callable[[], Proxy]]:
    """Make proxies before the real server: `make_proxy()`."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Proxy(real_server.grpc_url))

"""Several servers behind one Envoy, as one object: the loss of one is nothing that callers see.

with Replicas("model_repository", count=2, grpc_port=0) as replicas:
    client = livewarden_client.Client(replicas.grpc_url)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from livewarden_ensemble.envoy_config import MIB, Backend, Tls
from livewarden_ensemble.front import FrontProcess, find_envoy
from livewarden_ensemble.launch import choose_port
from livewarden_ensemble.server import Server, open_health
from livewarden_ensemble.supervisor import Notice, Phase

_ENDED: Final = frozenset({Phase.STOPPED, Phase.FAILED})
_LOOK_S: Final = 0.2


class Replicas:
    """`count` servers on the loopback, and Envoy on `host`:`grpc_port` (0: any free one).

    `tls` is what callers must speak, None for plain text. `health_port` answers for all of them:
    ready while one is. `tell` hears of each change of a replica. The other options are those of
    Server, and every replica's. Raises ServerFailed before anything is started.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        count: int,
        host: str = "127.0.0.1",
        grpc_port: int = 8001,
        health_port: int | None = None,
        tls: Tls | None = None,
        max_message_bytes: int = 32 * MIB,
        tell: Callable[[Notice], None] = lambda _notice: None,
        **options: Any,
    ) -> None:
        find_envoy()
        self._host = host
        self._port = choose_port(host, grpc_port, "--grpc-port")
        self._tls = tls
        self._max_message_bytes = max_message_bytes
        self._front: FrontProcess | None = None
        # One stream's clips may go to any of them.
        keys = f"launch:{secrets.token_hex(32)}"

        def tell_of(number: int) -> Callable[[Notice], None]:
            name = f"replica {number}"
            return lambda notice: tell(
                replace(notice, detail=f"{name}: {notice.detail}" if notice.detail else name)
            )

        self.servers = tuple(
            Server(
                repository,
                grpc_port=0,
                http_port=0,
                metrics_port=0,
                health_port=0,
                tell=tell_of(number),
                state_keys=keys,
                replica=str(number),
                **options,
            )
            for number in range(count)
        )
        self._health = open_health(host, health_port, lambda: self.ready)

    @property
    def grpc_url(self) -> str:
        """Address for callers, HOST:PORT."""
        return f"{self._host}:{self._port}"

    @property
    def health_url(self) -> str | None:
        """Address of `/ready` and `/live` for all of them; None where nobody asked for it."""
        return f"http://{self._host}:{self._health.port}" if self._health else None

    @property
    def ready(self) -> bool:
        """Whether a replica is ready, and Envoy there to pass clips to it."""
        front = self._front
        return front is not None and front.error is None and any(s.ready for s in self.servers)

    def start(self) -> Self:
        """Start the replicas, and Envoy once all of them are ready."""
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait_ready()
        self._front = FrontProcess(
            [Backend(grpc=s.ports.grpc, health=s.health_port or 0) for s in self.servers],
            host=self._host,
            port=self._port,
            tls=self._tls,
            max_message_bytes=self._max_message_bytes,
        )
        return self

    def wait_ended(self, timeout: float) -> bool:
        """Whether none is left, after `timeout` seconds at most. ServerFailed if all broke."""
        if self._front is not None and self._front.error is not None:
            raise self._front.error
        alive = [server for server in self.servers if server.phase not in _ENDED]
        if not alive:
            self.servers[0].wait_ended(0)
            return True
        alive[0].wait_phase(_ENDED, timeout)
        return False

    def close(self) -> None:
        """Drain all replicas at once, then end Envoy; harmless when repeated."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(Server.close, self.servers))
        if self._front is not None:
            self._front.close()
            self._front = None
        if self._health is not None:
            self._health.close()
            self._health = None

    def __enter__(self) -> Self:
        """Start them and wait until they are ready."""
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close them."""
        self.close()

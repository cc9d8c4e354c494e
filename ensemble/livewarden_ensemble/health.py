"""Health for load balancers: what the supervisor knows, over HTTP.

Triton 2.51 says ready with every model dead, so its own answer decides nothing. `GET /ready` is 200
only while clips are known to go through every stage, else 503; `GET /live` is 200 as long as the
supervisor works; `GET /metrics` is for Prometheus, where there are any. Anything else is 404.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final

_TIMEOUT_S: Final = 5.0
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Answers on `host`:`port` (0: any free one) until closed; `is_ready` is asked each time.

    `render` writes the metrics. Raises OSError where the port cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        is_ready: Callable[[], bool],
        render: Callable[[], bytes] | None = None,
    ) -> None:
        class Handler(_Handler):
            paths: ClassVar = {"/live": lambda: True, "/ready": is_ready}
            metrics: ClassVar = {"/metrics": render} if render else {}

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    paths: ClassVar[Mapping[str, Callable[[], bool]]]
    metrics: ClassVar[Mapping[str, Callable[[], bytes]]]
    timeout = _TIMEOUT_S  # of a caller who says nothing
    server_version, sys_version = "livewarden", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one probe."""
        if (render := self.metrics.get(self.path)) is not None:
            self._write(HTTPStatus.OK, render(), _PROMETHEUS)
            return
        ask = self.paths.get(self.path)
        if ask is None:
            paths = sorted([*self.paths, *self.metrics])
            self._answer(HTTPStatus.NOT_FOUND, {"paths": paths})
        elif ask():
            self._answer(HTTPStatus.OK, {"ok": True})
        else:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"ok": False})

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come every second."""

    def _answer(self, status: HTTPStatus, body: object) -> None:
        self._write(status, json.dumps(body).encode(), "application/json")

    def _write(self, status: HTTPStatus, raw: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

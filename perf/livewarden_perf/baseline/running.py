"""A baseline's processes: started, waited for, and ended with everything below them.

The keeper that ends tritonserver for Livewarden does it for these: nothing outlives the command.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from livewarden_ensemble import keeper
from livewarden_ensemble.claim import take_claim
from livewarden_perf.baseline.protocol import HOST
from livewarden_perf.errors import BaselineFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

_START_S: Final = 90.0
_LOOK_S: Final = 0.1
_GRACE_S: Final = 5.0
_LOG_LINES: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A folder for a start's own files, and the prefix of its names in shared memory."""

    runtime: Path
    prefix: str


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, and when it is up.

    `loaded` worker processes leave a file in the runtime folder, then `ready_path` answers on
    `ready_port`. Callers go to `port`.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    ready_port: int
    ready_path: str
    loaded: int = 0


class Running:
    """A started server; with a `with` it is ready inside and gone outside. BaselineFailed."""

    def __init__(self, build: Callable[[Place], Command]) -> None:
        self._claim = take_claim()
        place = Place(self._claim.runtime, self._claim.name_prefix(0))
        self._log = place.runtime / "log"
        self._runtime = place.runtime
        try:
            self._command = build(place)
            self._keeper = self._start(place)
        except BaseException:
            self._claim.release()
            raise

    @property
    def port(self) -> int:
        """Where it answers."""
        return self._command.port

    @property
    def pid(self) -> int:
        """Its first process."""
        return self._pid

    def _start(self, place: Place) -> subprocess.Popen[bytes]:
        settings = (place.prefix, str(self._claim.lock_path), str(place.runtime), str(_GRACE_S))
        with self._log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own file, run by our own Python
                [sys.executable, "-I", "-S", keeper.__file__, *settings, *self._command.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._command.environment},
                cwd=place.runtime,
                start_new_session=True,
                pass_fds=(self._claim.lock,),
            )
        assert process.stdout is not None
        with process.stdout as stdout:
            self._pid = int(stdout.readline() or -1)
        return process

    def __enter__(self) -> Self:
        """Wait until it is ready."""
        try:
            self._wait_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self._end()

    def _wait_ready(self) -> None:
        end = time.monotonic() + _START_S
        while not self._is_ready():
            if self._keeper.poll() is not None or time.monotonic() > end:
                lines = self._log.read_text(errors="replace").splitlines()
                tail = "; ".join(line.strip() for line in lines[-_LOG_LINES:])
                raise BaselineFailed(f"it does not come up: {tail or 'it said nothing'}")
            time.sleep(_LOOK_S)

    def _is_ready(self) -> bool:
        if len(list(self._runtime.glob("loaded-*"))) < self._command.loaded:
            return False
        with contextlib.closing(
            http.client.HTTPConnection(HOST, self._command.ready_port, timeout=5)
        ) as connection:
            try:
                connection.request("GET", self._command.ready_path)
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False

    def _end(self) -> None:
        assert self._keeper.stdin is not None
        with contextlib.suppress(ProcessLookupError):
            self._keeper.send_signal(signal.SIGTERM)
        try:
            self._keeper.wait(_GRACE_S + keeper.KILL_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper.stdin.close()
        # Deletes the files.
        self._claim.release()

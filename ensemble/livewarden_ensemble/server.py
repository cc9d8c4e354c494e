"""The server: a supervised tritonserver as one object, for `livewarden serve`, demos and tests.

with Server("model_repository", grpc_port=0) as server:
    client = livewarden_client.Client(server.grpc_url)
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from livewarden_ensemble.admin import Record, write_record
from livewarden_ensemble.canary import Canary, ModerationCanary
from livewarden_ensemble.claim import take_claim
from livewarden_ensemble.errors import BundleInvalid, ServerFailed
from livewarden_ensemble.health import Health
from livewarden_ensemble.installation import find_installation
from livewarden_ensemble.integrity import check_repository
from livewarden_ensemble.launch import Launch, LogLevel, Ports, choose_ports, explain_bind, read_key
from livewarden_ensemble.log_line import format_line, format_notice
from livewarden_ensemble.process import ServerProcess
from livewarden_ensemble.routing import derive_server_key
from livewarden_ensemble.server_metric import ServerMetrics
from livewarden_ensemble.serverlog import ServerLog
from livewarden_ensemble.supervisor import Notice, Phase, Supervisor
from livewarden_ensemble.vitals import Timing

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LogFormat = Literal["text", "json"]

_ENDED: Final = frozenset({Phase.STOPPED, Phase.FAILED})


class Server:
    """A tritonserver on `repository` that is ready only when it answers, and is kept so.

    A port of 0 means any free one. `policy` is the policy file for the models;
    `model_config_name` picks `configs/<name>.pbtxt` (the target); `tritonserver` is another binary
    than the wheel's; `log_file` keeps the log, which else goes with the server; `canary` replaces
    the clip that proves readiness; `tell` hears of each change, in another thread.
    `require_signature` is a public key (PEM): bundles that it did not sign are refused;
    `policy_key` is the same for the policy, at the start and whenever it changes. `shared_memory`
    is a file with a key: callers of this machine who send it may hand over decoded frames in system
    shared memory; nobody may otherwise. `health_port` is where load balancers ask (health.py); None
    for nowhere. `otlp` is the URL of a collector of traces (trace.py). With `log_format` "json" the
    log is lines of JSON, clips among them, on standard error where there is no `log_file`.
    `replica` tells this server from others on the same machine, and `state_keys` ("id:hex") is what
    they share, so that a stream may go from one to the other. `cache_mib` is the launch's.

    Raises ServerFailed where a port is in use, a path is wrong, or there is no tritonserver;
    nothing has been started then. Before each start of tritonserver, every file of the bundles that
    it would serve is checked, and ServerFailed names the one that was changed.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        host: str = "127.0.0.1",
        grpc_port: int = 8001,
        http_port: int = 8000,
        metrics_port: int = 8002,
        policy: str | Path | None = None,
        model_config_name: str | None = None,
        tritonserver: str | Path | None = None,
        log_level: LogLevel = "warning",
        log_file: str | Path | None = None,
        canary: Canary | None = None,
        timing: Timing | None = None,
        tell: Callable[[Notice], None] | None = None,
        require_signature: str | Path | None = None,
        policy_key: str | Path | None = None,
        shared_memory: str | Path | None = None,
        health_port: int | None = None,
        state_keys: str | None = None,
        replica: str = "",
        cache_mib: int | None = None,
        otlp: str | None = None,
        log_format: LogFormat = "text",
    ) -> None:
        self._installation = find_installation(Path(tritonserver) if tritonserver else None)
        self._launch = Launch(
            repository=Path(repository).resolve(),
            host=host,
            ports=choose_ports(host, Ports(grpc_port, http_port, metrics_port)),
            policy=_find_file(policy, "policy file"),
            public_key=_find_file(require_signature, "public key"),
            policy_key=_find_file(policy_key, "policies' public key"),
            model_config_name=model_config_name,
            log_level=log_level,
            shared_memory_key=_read_key(shared_memory),
            replica=replica,
            cache_mib=cache_mib,
            otlp=otlp,
            log_clips=log_format == "json",
            **({"state_keys": state_keys} if state_keys else {}),
        )
        self._log_format = log_format
        self._log_file = Path(log_file).resolve() if log_file else None
        key = derive_server_key(self._launch.secret)
        self._canary = canary or ModerationCanary(server_key=key)
        self._timing = timing or Timing()
        self._tell = tell or _ignore
        self._metrics = ServerMetrics()
        self._supervisor: Supervisor | None = None
        # Held from here on, so that a port in use is told before anything starts.
        self._health = open_health(
            host, health_port, lambda: self.ready, lambda: self._metrics.render(ready=self.ready)
        )

    @property
    def health_url(self) -> str | None:
        """Address of `/ready`, `/live` and `/metrics`; None where nobody asked for it."""
        return f"http://{self._locate(self._health.port)}" if self._health else None

    @property
    def health_port(self) -> int | None:
        """The port of `health_url`."""
        return self._health.port if self._health else None

    @property
    def ports(self) -> Ports:
        """The ports of tritonserver."""
        return self._launch.ports

    @property
    def grpc_url(self) -> str:
        """Address for gRPC clients, HOST:PORT."""
        return self._locate(self._launch.ports.grpc)

    @property
    def http_url(self) -> str:
        """Address for HTTP clients, http://HOST:PORT."""
        return f"http://{self._locate(self._launch.ports.http)}"

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics."""
        return f"http://{self._locate(self._launch.ports.metrics)}/metrics"

    @property
    def phase(self) -> Phase:
        """Where the server is in its life."""
        return self._supervisor.phase if self._supervisor else Phase.STOPPED

    @property
    def ready(self) -> bool:
        """Whether every stage answered, and nothing has been found wrong since."""
        return (
            self.phase is Phase.READY
            and self._supervisor is not None
            and not (self._supervisor.doubted)
        )

    @property
    def restarts(self) -> int:
        """How many times the server was started anew."""
        return self._supervisor.restarts if self._supervisor else 0

    @property
    def pid(self) -> int | None:
        """Process id of tritonserver; None while there is none."""
        process = self._supervisor.process if self._supervisor else None
        return process.pid if process else None

    @property
    def stub_pids(self) -> tuple[int, ...]:
        """Process ids of the stubs, one per Python model instance; empty until ready."""
        process = self._supervisor.process if self._supervisor else None
        return process.stub_pids if process else ()

    def start(self) -> Self:
        """Start it and return at once."""
        if self._supervisor is not None:
            raise ServerFailed("This server was started before; make another Server.")
        self._claim = take_claim()
        try:
            self._backends = self._installation.prepare_backends(self._claim.runtime)
            self._log = self._open_log(self._claim.runtime)
            self._record = Record(
                repository=str(self._launch.repository),
                grpc=self.grpc_url,
                metrics=self.metrics_url,
                secret=self._launch.secret,
                public_key=str(self._launch.public_key) if self._launch.public_key else None,
            )
            write_record(self._claim.runtime, self._record)
        except BaseException:
            self._claim.release()
            raise
        self._supervisor = Supervisor(
            self._start_process,
            self._metrics.watch(self._canary),
            self.grpc_url,
            self._timing,
            self._hear,
        )
        self._supervisor.start()
        return self

    def wait_ready(self, timeout: float | None = None) -> None:
        """Return once it is ready. Raises ServerFailed if it fails, ends or takes too long."""
        phase = self.wait_phase(_ENDED | {Phase.READY}, timeout)
        if phase is not Phase.READY:
            raise ServerFailed(f"The server is not ready: after {timeout} s it is still {phase}.")

    def wait_ended(self, timeout: float | None = None) -> bool:
        """Whether it stopped, waiting at most `timeout` seconds. ServerFailed if it broke."""
        return self.wait_phase(_ENDED, timeout) in _ENDED

    def close(self) -> None:
        """Drain it, end every process of it and delete its files; harmless when repeated."""
        if self._supervisor is None or self._claim.released:
            self._close_health()
            return
        self._supervisor.stop()
        self._close_health()
        self._log.close()
        self._claim.release()
        if isinstance(self._canary, ModerationCanary):
            self._canary.close()

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def wait_phase(self, phases: frozenset[Phase], timeout: float | None) -> Phase:
        """The phase, once it is one of `phases` or after `timeout` s. ServerFailed if it broke."""
        if self._supervisor is None:
            raise ServerFailed("The server has not been started.")
        phase = self._supervisor.wait(phases, timeout)
        if phase is Phase.FAILED and self._supervisor.error is not None:
            raise self._supervisor.error
        return phase

    def _open_log(self, runtime: Path) -> ServerLog:
        file = self._log_file or runtime / "tritonserver.log"
        if self._log_format == "text":
            return ServerLog(file)
        # A file that nobody named goes with the server: then the lines are for whoever collects
        # what the command writes.
        return ServerLog(file, format_line, _ignore if self._log_file else _write_line)

    def _hear(self, notice: Notice) -> None:
        self._metrics.note(notice)
        if self._log_format == "json":
            _write_line(format_notice(notice))
        self._tell(notice)

    def _close_health(self) -> None:
        health, self._health = self._health, None
        if health is not None:
            health.close()

    def _start_process(self, generation: int) -> ServerProcess:
        try:
            check_repository(self._launch.repository, self._launch.public_key)
        except (BundleInvalid, OSError) as error:
            raise ServerFailed(str(error)) from None
        return ServerProcess(
            self._launch,
            installation=self._installation,
            backends=self._backends,
            claim=self._claim,
            generation=generation,
            log=self._log,
            record=self._record,
        )

    def _locate(self, port: int) -> str:
        return self._launch.locate(port)


def open_health(
    host: str,
    port: int | None,
    is_ready: Callable[[], bool],
    render: Callable[[], bytes] | None = None,
) -> Health | None:
    """Answer load balancers on `port`, if there is one. ServerFailed where it cannot be had."""
    if port is None:
        return None
    try:
        return Health(host, port, is_ready, render)
    except OSError as error:
        raise ServerFailed(explain_bind(error, host, port, "--health-port")) from None


def _read_key(file: str | Path | None) -> str | None:
    found = _find_file(file, "key file")
    return read_key(found) if found else None


def _find_file(file: str | Path | None, what: str) -> Path | None:
    if file is None:
        return None
    path = Path(file).resolve()
    if not path.is_file():
        raise ServerFailed(f"The {what} {path} does not exist.")
    return path


def _ignore(_: object) -> None:
    """Tell nobody."""


def _write_line(line: str) -> None:
    # One write, so that lines of several threads do not mix.
    # Who reads it may be gone (OSError), or it may be closed (ValueError): the server is not.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

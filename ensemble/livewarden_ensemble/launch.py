"""The launch: what a server is asked to be, and the command line that makes tritonserver that."""

from __future__ import annotations

import errno
import math
import os
import re
import secrets
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from livewarden_client.wire import LEAVES
from livewarden_ensemble.answer_cache import CACHE_VARIABLE
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.keeper import SHARED_MEMORY
from livewarden_ensemble.log_line import CLIPS_VARIABLE
from livewarden_ensemble.policy_watcher import POLICY_KEY_VARIABLE
from livewarden_ensemble.routing import SERVER_KEY_VARIABLE, derive_server_key
from livewarden_ensemble.trace import HEADERS, OTLP_VARIABLE, check_installed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LogLevel = Literal["error", "warning", "info"]
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("error", "warning", "info")

# What Triton gets to end, once nothing is in flight any more (drain.py), and what the keeper gives
# it before it kills. A server that was sent many cancelled requests never ends by itself.
EXIT_TIMEOUT_S: Final = 2
GRACE_S: Final = 2.0
# Callers need none of these. Metadata, config and statistics stay open: load tools read them.
RESTRICTED: Final = ("shared-memory", "model-repository", "trace", "logging")
# The exception, where it is asked for: over gRPC, and with a key of its own.
SHARED_FRAMES: Final = "shared-memory"
# Neither "=" nor ",", which divide the flag.
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{16,256}")
_SHELL_SIGN: Final = re.compile(r"[^\w@%+=:,./-]")

_MIB: Final = 1024 * 1024
_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a table, not a bind
_ITEM_BYTES: Final = {"UINT8": 1, "INT32": 4, "INT64": 8, "FP32": 4, "BYTES": 0}


def size_shared_memory() -> int:
    """Bytes of shared memory per model instance: the largest full batch of a leaf, as 2^n MiB.

    Below that, the first full batch would make the pool grow while requests wait; Triton never
    shrinks it again, so it also grows in steps of this size.
    """
    largest: int = max(
        leaf.max_batch
        * sum(
            _ITEM_BYTES[tensor.dtype] * math.prod(tensor.dims)
            for tensor in (*leaf.inputs, *leaf.outputs)
            if -1 not in tensor.dims
        )
        for leaf in LEAVES
    )
    return _MIB << math.ceil(math.log2(largest / _MIB))


def count_copies(repository: Path) -> int:
    """How many models of `repository` need shared memory of their own at a start."""
    models = list(repository.glob("*/config.pbtxt"))
    # A leaf runs once per version, and a publish loads one more beside those.
    versions = [path for path in repository.glob("*/[0-9]*") if path.is_dir()]
    return max(len(models), len(versions))


@dataclass(frozen=True, slots=True)
class Ports:
    """The three ports of a server, in the order and with the names of the command's flags."""

    grpc: int
    http: int
    metrics: int


def choose_port(host: str, wanted: int, flag: str) -> int:
    """`wanted`, or a free port where it is 0; ServerFailed names `flag` where it cannot be had."""
    with ExitStack() as held:
        return _hold_port(held, host, wanted, flag)


def choose_ports(host: str, wanted: Ports) -> Ports:
    """`wanted` with each 0 replaced by a free port.

    Raises ServerFailed naming port and flag where one is in use or the host is not of this machine.
    """
    chosen = {}
    with ExitStack() as held:
        for name in ("grpc", "http", "metrics"):
            chosen[name] = _hold_port(held, host, getattr(wanted, name), f"--{name}-port")
    return Ports(**chosen)


def _hold_port(held: ExitStack, host: str, port: int, flag: str) -> int:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = held.enter_context(socket.socket(family))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except socket.gaierror:
        raise ServerFailed(f"--host {host} is not an address of this machine.") from None
    except OSError as error:
        raise ServerFailed(explain_bind(error, host, port, flag)) from None
    return int(listener.getsockname()[1])


def explain_bind(error: OSError, host: str, port: int, flag: str) -> str:
    """Say for people why `port`, asked for with `flag`, cannot be opened."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is in use already. "
            f"Choose another with {flag}, or {flag} 0 for any free one."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine."
    return f"Port {port} of {host} ({flag}) cannot be opened: {os.strerror(error.errno or 0)}."


def read_key(file: Path) -> str:
    """Read the key for shared memory; ServerFailed where it is none or others may read it."""
    key = file.read_text().strip()
    if not _KEY.fullmatch(key):
        raise ServerFailed(
            f"{file} holds no key for shared memory: 16 to 256 of A-Z a-z 0-9 _ - are accepted. "
            f"Make one with: openssl rand -hex 24 > {file}"
        )
    if file.stat().st_mode & 0o007:
        raise ServerFailed(f"Everyone may read {file}. Run: chmod o-rwx {file}")
    return key


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that a start of tritonserver depends on; the same for every restart.

    `secret` opens the restricted endpoints to whoever sends it as the header `livewarden-admin`
    (gRPC: `triton-grpc-protocol-livewarden-admin`). With `public_key` only bundles that it signed
    are served; with `policy_key` only policies that it signed decide. `shared_memory_key` lets
    callers register system shared memory, if they send it as the header
    `triton-grpc-protocol-livewarden-shared-memory`; without it nobody can. `cache_mib` bounds what
    each pipeline remembers of its encoders: 0 nothing, None what the environment says. `otlp` is
    the collector of traces (trace.py). With `log_clips` the pipeline logs clips (log_line.py).
    """

    repository: Path
    host: str
    ports: Ports
    policy: Path | None = None
    public_key: Path | None = None
    policy_key: Path | None = None
    model_config_name: str | None = None
    log_level: LogLevel = "warning"
    shared_memory_key: str | None = field(default=None, repr=False)
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    state_keys: str = field(default_factory=lambda: f"launch:{secrets.token_hex(32)}", repr=False)
    replica: str = ""
    cache_mib: int | None = None
    otlp: str | None = None
    log_clips: bool = False

    def __post_init__(self) -> None:
        """Raise ServerFailed where the repository holds no model or its memory does not fit.

        Also where `otlp` is given and the extra [traces] is not installed.
        """
        if self.otlp:
            check_installed()
        if _SHELL_SIGN.search(str(self.repository)):
            # Triton's Python backend puts the path into a shell command without quotes, and then
            # waits for ever for a stub that never started.
            raise ServerFailed(
                f"{self.repository} has a space or a sign in its path that Triton's Python backend "
                "cannot take. Move it to a path of letters, digits and . _ - alone."
            )
        models = [path.parent.name for path in self.repository.glob("*/config.pbtxt")]
        if not models:
            raise ServerFailed(
                f"{self.repository} holds no model (no */config.pbtxt). "
                "Name the model repository with --repository."
            )
        stats = os.statvfs(SHARED_MEMORY)
        copies = count_copies(self.repository)
        free, needed = stats.f_bavail * stats.f_frsize, copies * size_shared_memory()
        if free < needed:
            raise ServerFailed(
                f"{SHARED_MEMORY} has {free // _MIB} MiB free; {copies} models need "
                f"{needed // _MIB} MiB. In a container, start it with --shm-size=1g."
            )

    @property
    def secrets(self) -> list[str]:
        """What stands in the command line and nobody else may read."""
        return [secret for secret in (self.secret, self.shared_memory_key) if secret]

    def locate(self, port: int) -> str:
        """The address HOST:PORT by which a process of this machine reaches `port`."""
        host = _EVERY_ADDRESS.get(self.host, self.host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def build_command(self, binary: Path, backends: Path, prefix: str) -> list[str]:
        """The command line; `prefix` begins the names of its shared memory in /dev/shm."""
        memory = size_shared_memory()
        admin = f"livewarden-admin={self.secret}"
        level = LOG_LEVELS.index(self.log_level)
        flags = {
            "model-repository": self.repository,
            "backend-directory": backends,
            # Everything is loaded at the start; later loads need the secret, and happen beside
            # what serves: that is how a bundle is published.
            "model-control-mode": "explicit",
            "load-model": "*",
            "grpc-address": self.host,
            "http-address": self.host,
            "metrics-address": self.host,
            "grpc-port": self.ports.grpc,
            "http-port": self.ports.http,
            "metrics-port": self.ports.metrics,
            "http-restricted-api": f"{','.join(RESTRICTED)}:{admin}",
            # Finds a caller that vanished within 40 s, and lets callers ping as often as that.
            "grpc-keepalive-time": 30_000,
            "grpc-keepalive-timeout": 10_000,
            "grpc-keepalive-permit-without-calls": 1,
            "grpc-http2-min-recv-ping-interval-without-data": 10_000,
            "grpc-header-forward-pattern": HEADERS,
            "http-header-forward-pattern": HEADERS,
            "exit-timeout-secs": EXIT_TIMEOUT_S,
            "log-info": str(level >= LOG_LEVELS.index("info")).lower(),
            "log-warning": str(level >= LOG_LEVELS.index("warning")).lower(),
        }
        if self.model_config_name is not None:
            flags["model-config-name"] = self.model_config_name
        return [
            str(binary),
            "--disable-auto-complete-config",
            *(f"--{name}={value}" for name, value in flags.items()),
            *(f"--grpc-restricted-protocol={lock}" for lock in self._lock_protocols(admin)),
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            f"--backend-config=python,shm-default-byte-size={memory}",
            f"--backend-config=python,shm-growth-byte-size={memory}",
        ]

    def _lock_protocols(self, admin: str) -> list[str]:
        if self.shared_memory_key is None:
            return [f"{','.join(RESTRICTED)}:{admin}"]
        others = ",".join(name for name in RESTRICTED if name != SHARED_FRAMES)
        own = f"{SHARED_FRAMES}:livewarden-shared-memory={self.shared_memory_key}"
        return [f"{others}:{admin}", own]

    def build_environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with what the models read of the launch."""
        environment = {
            **base,
            "LIVEWARDEN_REPOSITORY": str(self.repository),
            # Where a shadowed clip is sent again.
            "LIVEWARDEN_GRPC": self.locate(self.ports.grpc),
            SERVER_KEY_VARIABLE: derive_server_key(self.secret),
        }
        if self.otlp:
            environment[OTLP_VARIABLE] = self.otlp
        if self.log_clips:
            environment[CLIPS_VARIABLE] = "1"
        if self.replica:
            environment["LIVEWARDEN_REPLICA"] = self.replica
        if self.cache_mib is not None:
            environment[CACHE_VARIABLE] = str(self.cache_mib)
        if self.policy is not None:
            environment["LIVEWARDEN_POLICY"] = str(self.policy)
        if self.policy_key is not None:
            environment[POLICY_KEY_VARIABLE] = str(self.policy_key)
        if not {"LIVEWARDEN_STATE_KEYS", "LIVEWARDEN_STATE_KEYS_FILE"} & environment.keys():
            # All instances must share a key, and all servers that one stream may reach.
            environment["LIVEWARDEN_STATE_KEYS"] = self.state_keys
        return environment

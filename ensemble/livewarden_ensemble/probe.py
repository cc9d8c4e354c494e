"""Reads the facts of this machine that `doctor.py` judges; changes nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from livewarden_client.wire import LEAVES, MODERATION
from livewarden_ensemble.bundle import read_pointer
from livewarden_ensemble.claim import START, list_claims
from livewarden_ensemble.errors import BundleInvalid, PolicyInvalid, ServerFailed
from livewarden_ensemble.fact import (
    Facts,
    Pin,
    Port,
    parse_cpu_flags,
    parse_gpu,
    parse_memory_free,
    parse_pins,
    parse_quota,
)
from livewarden_ensemble.front import find_envoy
from livewarden_ensemble.installation import find_installation
from livewarden_ensemble.integrity import check_release, find_orphans
from livewarden_ensemble.keeper import SHARED_MEMORY
from livewarden_ensemble.launch import choose_port, count_copies, size_shared_memory
from livewarden_ensemble.policy import lint, load_policy, locate_policy
from livewarden_ensemble.policy_watcher import POLICY_KEY_VARIABLE
from livewarden_ensemble.signature import verify_policy_signature

if TYPE_CHECKING:
    from collections.abc import Mapping

# Packages above this one say here whether a bundle is older than its sources:
# (folder of the bundle, models file) -> what changed, "" where nothing did.
STALENESS: Final = "livewarden.doctor"

_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")
_GPUS: Final = Path("/proc/driver/nvidia/gpus")
_RUN_TIMEOUT_S: Final = 20.0
# What adjtimex(2) answers where nothing keeps the clock right, and more than its struct takes.
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512
_TENSORRT: Final = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx")


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be served, and with what: the options of `livewarden serve`."""

    repository: Path
    host: str
    ports: Mapping[str, int]
    policy: Path | None = None
    tritonserver: Path | None = None
    replicas: bool = False
    constraints: Path = Path("constraints.txt")
    models: Path = Path("models.yaml")


def gather_facts(wish: Wish) -> Facts:
    """Read everything that the doctor looks at; takes about two seconds, most of it hashing."""
    shm = os.statvfs(SHARED_MEMORY)
    triton, triton_fault = _try_triton(wish.tritonserver)
    bundle, bundle_fault, stale = _read_bundle(wish.repository, wish.models)
    policy, policy_fault, warnings = _read_policy(wish)
    leaked, leftovers = _find_leftovers()
    return Facts(
        cpu_flags=parse_cpu_flags(_read("/proc/cpuinfo")),
        cores=len(os.sched_getaffinity(0)),
        quota=parse_quota(_read(_CONTROL_GROUP / "cpu.max")),
        memory_free=parse_memory_free(
            _read("/proc/meminfo"),
            *(_read(_CONTROL_GROUP / f"memory.{name}") for name in ("max", "current", "stat")),
        ),
        shm_total=shm.f_blocks * shm.f_frsize,
        shm_free=shm.f_bavail * shm.f_frsize,
        shm_needed=count_copies(wish.repository) * size_shared_memory(),
        shm_leaked=leaked,
        leftovers=leftovers,
        ports=tuple(_try_port(wish.host, flag, port) for flag, port in wish.ports.items() if port),
        python=sys.version_info[:3],
        pins=_read_pins(wish.constraints),
        triton=triton,
        triton_fault=triton_fault,
        envoy_wanted=wish.replicas,
        envoy_fault=_try_envoy(),
        gpus=tuple(parse_gpu(_read(path)) for path in sorted(_GPUS.glob("*/information"))),
        tensorrt=next(filter(None, map(_read_version, _TENSORRT)), ""),
        disk_free=shutil.disk_usage(wish.repository if wish.repository.is_dir() else ".").free,
        open_files=_read_limit(resource.RLIMIT_NOFILE),
        core_bytes=_read_limit(resource.RLIMIT_CORE),
        clock_synchronised=_ask_clock(),
        clock_behind_s=_measure_clock_lag(wish.repository),
        bundle=bundle,
        bundle_fault=bundle_fault,
        stale=stale,
        policy=policy,
        policy_fault=policy_fault,
        policy_warnings=warnings,
        configs_missing=tuple(
            model.name
            for model in (MODERATION, *LEAVES)
            if not (wish.repository / model.name / "config.pbtxt").is_file()
        ),
        orphans=_count_orphans(wish.repository),
    )


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _read_limit(kind: int) -> int:
    soft, _ = resource.getrlimit(kind)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _read_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _read_pins(constraints: Path) -> tuple[Pin, ...] | None:
    if not constraints.is_file():
        return None
    pins = parse_pins(constraints.read_text())
    # What follows "+" says where a build came from, as in 2.13.0+cpu.
    found = {name: _read_version(name).partition("+")[0] for name in pins}
    return tuple(Pin(name, wanted, found[name]) for name, wanted in pins.items())


def _try_port(host: str, flag: str, number: int) -> Port:
    try:
        choose_port(host, number, flag)
    except ServerFailed as error:
        holder, ours = _find_holder(number)
        return Port(flag, number, str(error), holder, ours)
    return Port(flag, number)


def _find_holder(number: int) -> tuple[str, bool]:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (number,)
            if listens and connection.pid:
                process = psutil.Process(connection.pid)
                ours = any(
                    f"={START}{token}_" in part or f"livewarden-{token}" in part
                    for token in list_claims()
                    for part in process.cmdline()
                )
                return f"{process.name()} (process {connection.pid})", ours
    return "", False


def _find_leftovers() -> tuple[dict[str, int], tuple[int, ...]]:
    """Files in /dev/shm, with their sizes, and processes, of servers whose supervisor is dead."""
    held = tuple(f"{START}{token}" for token, taken in list_claims().items() if taken)
    leaked = {}
    for path in SHARED_MEMORY.glob(f"{START}*"):
        with contextlib.suppress(OSError):  # just released; another user's
            if not path.name.startswith(held) and path.stat().st_uid == os.getuid():
                leaked[path.name] = path.stat().st_size
    lost = {name.removesuffix(".lock") for name in leaked if name.endswith(".lock")}
    leftovers = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(f"{token}_" in part for token in lost for part in process.info["cmdline"] or ())
    ]
    return leaked, tuple(leftovers)


def _try_triton(binary: Path | None) -> tuple[str, str]:
    """The binary and why it cannot be run, by having it print its usage."""
    try:
        installation = find_installation(binary)
        ran = subprocess.run(  # noqa: S603 - the binary that serve would run
            [installation.binary, "--help"],
            env=installation.build_environment(os.environ),
            capture_output=True,
            check=False,
            timeout=_RUN_TIMEOUT_S,
        )
    except ServerFailed as error:
        return "", str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"tritonserver cannot be run: {error}"
    if b"Usage" not in ran.stdout + ran.stderr:
        last = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return "", f"{installation.binary} does not run: {last or f'exit code {ran.returncode}'}"
    return str(binary or f"nvidia-pytriton {_read_version('nvidia-pytriton')}"), ""


def _try_envoy() -> str:
    try:
        binary = find_envoy()
    except ServerFailed as error:
        return str(error)
    return "" if os.access(binary, os.X_OK) else f"{binary} is not an executable file."


def _ask_clock() -> bool | None:
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # modes 0: only read
    return None if answer < 0 else answer != _TIME_ERROR


def _measure_clock_lag(repository: Path) -> float:
    """Seconds by which the newest config in `repository` lies in the future; 0 or less: none."""
    newest = max((path.stat().st_mtime for path in repository.glob("*/config.pbtxt")), default=0.0)
    return newest - time.time()


def _read_bundle(repository: Path, models: Path) -> tuple[str, str, str | None]:
    """The live bundle, why it cannot be served, and what of its sources has changed since."""
    try:
        releases = read_pointer(repository / MODERATION.name).list_releases()
        for release in releases.values():
            check_release(repository, release)
    except (BundleInvalid, OSError) as error:
        return "", str(error), None
    live = releases["live"]
    folder = (repository / MODERATION.name / live.path).resolve()
    return f"bundle {live.bundle}", "", _find_staleness(folder, models)


def _find_staleness(folder: Path, models: Path) -> str | None:
    if not models.is_file():
        return None
    changed = []
    for entry in entry_points(group=STALENESS):
        try:
            changed.append(entry.load()(folder, models))
        except ImportError:  # the extra `export` is not installed
            return None
    return ", ".join(filter(None, changed)) if changed else None


def _read_policy(wish: Wish) -> tuple[str, str, int]:
    """The policy file, why it cannot be used, and how many warnings lint has on it."""
    file = wish.policy or locate_policy(wish.repository)
    try:
        policy = load_policy(file)
        if key := os.environ.get(POLICY_KEY_VARIABLE):
            verify_policy_signature(policy, Path(key))
    except (PolicyInvalid, OSError) as error:
        first, *more = str(error).splitlines()
        return str(file), f"{first} (and {len(more)} more)" if more else first, 0
    findings = lint(policy, now_ms=round(time.time() * 1e3))
    return str(file), "", sum(finding.severity != "note" for finding in findings)


def _count_orphans(repository: Path) -> int:
    try:
        return len(find_orphans(repository))
    except BundleInvalid:
        return 0

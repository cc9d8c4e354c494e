"""The doctor: what facts about a machine mean for serving, each with what to do about it. Pure.

check = facts -> Finding        CHECKS is the table of all of them, in the order of reading
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from livewarden_ensemble.fact import Facts

_MIB: Final = 2**20
_GIB: Final = 2**30
# What one server holds, and what an export holds at its peak.
_MEMORY_LEAST: Final = 700 * _MIB
_MEMORY_GOOD: Final = 4 * _GIB
_DISK_LEAST: Final = 256 * _MIB
_DISK_GOOD: Final = 2 * _GIB
_FILES_LEAST: Final = 1024
_FILES_GOOD: Final = 4096
_CORES_GOOD: Final = 2
_PYTHONS: Final = ((3, 11), (3, 12))
# The first 3.11 with the fix for CVE-2026-3276 (SECURITY.md).
_PYTHON_MENDED: Final = (3, 11, 16)
_PINS_SHOWN: Final = 4
_CLOCK_SLACK_S: Final = 60.0


class State(StrEnum):
    """How a finding ends: serve as it is, serve but know this, do not serve."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says; `remedy` is what to do, empty where there is nothing to do."""

    state: State
    detail: str
    remedy: str = ""


def _fine(detail: str) -> Finding:
    return Finding(State.OK, detail)


def _warn(detail: str, remedy: str) -> Finding:
    return Finding(State.WARN, detail, remedy)


def _fail(detail: str, remedy: str) -> Finding:
    return Finding(State.FAIL, detail, remedy)


def _judge_cpu(facts: Facts) -> Finding:
    flags = facts.cpu_flags
    if not flags:
        return _warn(
            "the instruction sets cannot be read",
            "Measure what it is worth: livewarden perf smoke",
        )
    if "avx2" not in flags:
        return _warn(
            "no AVX2: several times slower than the figures in docs/performance.md",
            "Serve on an x86-64 CPU of 2013 or later; in a virtual machine, pass the host's CPU on",
        )
    if "amx_bf16" in flags:
        return _fine("AVX-512 and AMX with bf16: leaves proven in bf16 serve at their fastest")
    if "avx512_bf16" in flags:
        return _fine("AVX-512 with bf16: leaves proven in bf16 serve in bf16; no AMX")
    wide = "AVX-512" if "avx512f" in flags else "AVX2"
    return _warn(
        f"{wide} without bf16: leaves that could serve in bf16 serve in f32, about half as fast",
        "Nothing is wrong. For the speed, take a CPU with avx512_bf16 or amx_bf16",
    )


def _judge_cores(facts: Facts) -> Finding:
    cores, quota = facts.cores, facts.quota
    if quota is not None and quota < cores:
        return _warn(
            f"{cores} cores are visible, {quota:g} may be used at once: threads will be paused",
            "Raise the limit of the container to whole cores, or pin it to as many (--cpuset-cpus)",
        )
    if cores < _CORES_GOOD:
        return _warn(f"{cores} core", "Give a server two cores or more")
    return _fine(f"{cores} cores")


def _judge_memory(facts: Facts) -> Finding:
    free = _show_bytes(facts.memory_free)
    if facts.memory_free < _MEMORY_LEAST:
        return _fail(
            f"{free} free; one server needs {_show_bytes(_MEMORY_LEAST)}",
            "Free memory, or raise the limit of the container",
        )
    if facts.memory_free < _MEMORY_GOOD:
        return _warn(
            f"{free} free: enough to serve, little for an export",
            f"Export where {_show_bytes(_MEMORY_GOOD)} are free, and serve the bundle here",
        )
    return _fine(f"{free} free")


def _judge_shared_memory(facts: Facts) -> Finding:
    free, total = _show_bytes(facts.shm_free), _show_bytes(facts.shm_total)
    place = "/dev/shm"  # noqa: S108 - told to people, not opened
    if facts.shm_free < facts.shm_needed:
        return _fail(
            f"{place}: {free} of {total} free, the models need {_show_bytes(facts.shm_needed)}",
            "In a container: --shm-size=1g. Elsewhere: mount -o remount,size=1g /dev/shm",
        )
    return _fine(f"{place}: {free} of {total} free, {_show_bytes(facts.shm_needed)} needed")


def _judge_leaks(facts: Facts) -> Finding:
    if facts.shm_leaked or facts.leftovers:
        size = _show_bytes(sum(facts.shm_leaked.values()))
        parts = [
            f"shared memory files: {len(facts.shm_leaked)} ({size})" if facts.shm_leaked else "",
            f"processes {', '.join(map(str, facts.leftovers))}" if facts.leftovers else "",
        ]
        return _warn(
            f"left by a server that was killed: {' and '.join(filter(None, parts))}",
            "The next `livewarden serve` removes both",
        )
    return _fine("nothing of a dead server is left")


def _judge_ports(facts: Facts) -> Finding:
    blocked = [port for port in facts.ports if port.refusal and not port.ours]
    if blocked:
        told = "; ".join(
            port.refusal + (f" It is held by {port.holder}." if port.holder else "")
            for port in blocked
        )
        flags = " ".join(f"{port.flag} 0" for port in blocked)
        return _fail(told, f"End what listens there, or: livewarden serve {flags}")
    held = [str(port.number) for port in facts.ports if port.ours]
    if held:
        return _fine(f"a Livewarden server listens on {', '.join(held)}")
    free = ", ".join(str(port.number) for port in facts.ports)
    return _fine(f"{free} can be had" if free else "any free ones will do")


def _judge_python(facts: Facts) -> Finding:
    shown = ".".join(map(str, facts.python))
    if facts.python[:2] not in _PYTHONS:
        return _fail(f"Python {shown}", "Install Python 3.11 or 3.12; make setup PYTHON=python3.12")
    if facts.python[:2] == _PYTHON_MENDED[:2] and facts.python < _PYTHON_MENDED:
        mended = ".".join(map(str, _PYTHON_MENDED))
        return _warn(f"Python {shown} has CVE-2026-3276", f"Install Python {mended} or later")
    return _fine(f"Python {shown}")


def _judge_packages(facts: Facts) -> Finding:
    if facts.pins is None:
        return _fine("no constraints.txt here; versions were not compared")
    wrong = [pin for pin in facts.pins if pin.found and pin.found != pin.wanted]
    if wrong:
        shown = ", ".join(f"{p.name} {p.found} (pinned {p.wanted})" for p in wrong[:_PINS_SHOWN])
        more = f" and {len(wrong) - _PINS_SHOWN} more" if len(wrong) > _PINS_SHOWN else ""
        return _warn(
            f"not as pinned: {shown}{more}",
            "pip install -c constraints.txt 'livewarden[server]', or make setup",
        )
    found = sum(bool(pin.found) for pin in facts.pins)
    return _fine(f"{found} of {len(facts.pins)} pinned packages are installed, each as pinned")


def _judge_triton(facts: Facts) -> Finding:
    if facts.triton_fault:
        return _fail(facts.triton_fault, "pip install --force-reinstall 'livewarden[server]'")
    return _fine(f"{facts.triton} runs")


def _judge_envoy(facts: Facts) -> Finding:
    if not facts.envoy_fault:
        return _fine("found; used by `livewarden serve --replicas`")
    if facts.envoy_wanted:
        return _fail(facts.envoy_fault, "pip install 'livewarden[replicas]'")
    return _fine("not installed; only `livewarden serve --replicas` needs it")


def _judge_gpu(facts: Facts) -> Finding:
    if not facts.gpus:
        return _fine("no NVIDIA GPU; leaves run on the CPU")
    shown = ", ".join(facts.gpus)
    if not facts.tensorrt:
        return _warn(
            f"{shown}, but no TensorRT: leaves run on the CPU",
            "docs/gpu.md: build plans with `livewarden export --target tensorrt`",
        )
    return _fine(f"{shown}; TensorRT {facts.tensorrt}")


def _judge_disk(facts: Facts) -> Finding:
    free = _show_bytes(facts.disk_free)
    if facts.disk_free < _DISK_LEAST:
        return _fail(f"{free} free", "Free disk space; old bundles: livewarden bundle list")
    if facts.disk_free < _DISK_GOOD:
        return _warn(f"{free} free; an export needs up to {_show_bytes(_DISK_GOOD)}", "Free some")
    return _fine(f"{free} free")


def _judge_limits(facts: Facts) -> Finding:
    if facts.open_files < _FILES_LEAST:
        return _fail(f"{facts.open_files} open files allowed", f"ulimit -n {_FILES_GOOD}")
    if facts.open_files < _FILES_GOOD:
        return _warn(
            f"{facts.open_files} open files allowed: as many callers' connections at most",
            f"ulimit -n {_FILES_GOOD}",
        )
    if facts.core_bytes:
        return _warn(
            "core files are on: after a crash one would hold callers' frames and texts",
            "ulimit -c 0",
        )
    return _fine(f"{facts.open_files} open files allowed, core files off")


def _judge_clock(facts: Facts) -> Finding:
    if facts.clock_behind_s > _CLOCK_SLACK_S:
        return _fail(
            f"the clock is {facts.clock_behind_s:.0f} s behind files that exist already",
            "Set the clock: deadlines are absolute, and clips would come too late or never",
        )
    if facts.clock_synchronised is None:
        return _fine("whether it is synchronised cannot be read here")
    if not facts.clock_synchronised:
        return _warn(
            "the kernel says that the clock is not synchronised",
            "Run chrony or systemd-timesyncd: callers' deadlines are absolute times",
        )
    return _fine("synchronised")


def _judge_bundle(facts: Facts) -> Finding:
    if facts.bundle_fault:
        return _fail(facts.bundle_fault, "livewarden export; or livewarden bundle rollback")
    if facts.stale:
        return _warn(
            f"{facts.bundle} is intact, and older than its sources: {facts.stale}",
            "livewarden export",
        )
    fresh = "" if facts.stale is None else ", made from the sources that are here"
    return _fine(f"{facts.bundle}: every hash is right{fresh}")


def _judge_policy(facts: Facts) -> Finding:
    check = f"livewarden policy check {facts.policy}"
    if facts.policy_fault:
        return _fail(facts.policy_fault, check)
    if facts.policy_warnings:
        return _warn(f"{facts.policy} can be used; {facts.policy_warnings} warnings", check)
    return _fine(f"{facts.policy} can be used")


def _judge_repository(facts: Facts) -> Finding:
    if facts.configs_missing:
        return _fail(
            f"no config.pbtxt of {', '.join(facts.configs_missing)}",
            "livewarden export --write-configs, or name the folder with --repository",
        )
    if facts.orphans:
        return _warn(
            f"version folders that no pointer names: {facts.orphans}",
            "The next `livewarden serve` removes them",
        )
    return _fine("every model has its config; no strange version folder")


CHECKS: Final[Mapping[str, Callable[[Facts], Finding]]] = {
    "cpu": _judge_cpu,
    "cores": _judge_cores,
    "memory": _judge_memory,
    "shared memory": _judge_shared_memory,
    "leftovers": _judge_leaks,
    "ports": _judge_ports,
    "python": _judge_python,
    "packages": _judge_packages,
    "tritonserver": _judge_triton,
    "envoy": _judge_envoy,
    "gpu": _judge_gpu,
    "disk": _judge_disk,
    "limits": _judge_limits,
    "clock": _judge_clock,
    "repository": _judge_repository,
    "bundle": _judge_bundle,
    "policy": _judge_policy,
}


def examine(facts: Facts) -> dict[str, Finding]:
    """What each check says, by its name, in the order of CHECKS."""
    return {name: judge(facts) for name, judge in CHECKS.items()}


def is_fit(findings: Iterable[Finding]) -> bool:
    """Whether a server can be started: nothing failed."""
    return all(finding.state is not State.FAIL for finding in findings)


def _show_bytes(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"

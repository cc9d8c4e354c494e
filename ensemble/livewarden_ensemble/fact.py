"""What is known of a machine and an installation before anything is started. Pure.

Facts are read by `probe.py` and judged by `doctor.py`; texts of the kernel are parsed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PIN: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;#]+)")
_MODEL: Final = re.compile(r"^Model:\s*(?P<name>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a server wants; `holder` names the process that listens there, "" if none.

    `ours` says that the holder is a server of ours; `refusal` why it cannot be opened.
    """

    flag: str
    number: int
    refusal: str = ""
    holder: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Pin:
    """A package that is pinned: the version that is wanted, and the one that is there, or ""."""

    name: str
    wanted: str
    found: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the doctor looks at; sizes are bytes.

    A text that ends in `_fault` says why the thing cannot be used, and is empty where it can. None
    means that nobody could find out.
    """

    cpu_flags: frozenset[str]
    cores: int
    quota: float | None
    memory_free: int
    shm_total: int
    shm_free: int
    shm_needed: int
    shm_leaked: Mapping[str, int]
    leftovers: tuple[int, ...]
    ports: tuple[Port, ...]
    python: tuple[int, int, int]
    pins: tuple[Pin, ...] | None
    triton: str
    triton_fault: str
    envoy_wanted: bool
    envoy_fault: str
    gpus: tuple[str, ...]
    tensorrt: str
    disk_free: int
    open_files: int
    core_bytes: int
    clock_synchronised: bool | None
    clock_behind_s: float
    bundle: str
    bundle_fault: str
    stale: str | None
    policy: str
    policy_fault: str
    policy_warnings: int
    configs_missing: tuple[str, ...]
    orphans: int


def parse_cpu_flags(text: str) -> frozenset[str]:
    """Instruction sets of the first core of /proc/cpuinfo, in the kernel's words."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def parse_memory_free(meminfo: str, limit: str, usage: str, stat: str = "") -> int:
    """Bytes that a new process can have: what /proc/meminfo and the control group still give.

    `limit`, `usage` and `stat` are memory.max, memory.current and memory.stat; each may be empty.
    Cached file pages count as used there, and are given up when somebody needs them.
    """
    free = _read_number(meminfo, "MemAvailable:") * 1024
    if limit.strip().isdigit() and usage.strip().isdigit():
        used = int(usage) - _read_number(stat, "inactive_file")
        free = min(free, max(0, int(limit) - used))
    return free


def _read_number(text: str, name: str) -> int:
    rows = (line.split() for line in text.splitlines())
    return next((int(row[1]) for row in rows if row[:1] == [name] and len(row) > 1), 0)


def parse_quota(text: str) -> float | None:
    """Cores that a control group may use at once, from its cpu.max; None where it has no limit."""
    quota, _, period = text.strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def parse_pins(text: str) -> dict[str, str]:
    """Versions by package, from the lines `name==version` of a constraints file."""
    found = (_PIN.match(line.strip()) for line in text.splitlines())
    return {pin["name"]: pin["version"] for pin in found if pin}


def parse_gpu(text: str) -> str:
    """The name of a GPU, from its file `information` in /proc/driver/nvidia/gpus."""
    found = _MODEL.search(text)
    return found["name"].strip() if found else "unknown GPU"

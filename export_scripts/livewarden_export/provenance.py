"""Where a bundle was made: the commit of the code, the processor, the GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

_TIMEOUT_S: Final = 10
# The instruction sets that decide which precisions a processor computes by itself.
_FLAGS: Final = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
)


def read_provenance() -> dict[str, Any]:
    """As JSON values, for the manifest. What cannot be found out is null or empty."""
    return {"git": _read_git(), "cpu": _read_cpu(), "gpu": _read_gpus()}


def _read_git() -> dict[str, Any] | None:
    folder = str(Path(__file__).parent)
    commit = _ask("git", "-C", folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _ask("git", "-C", folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "clean": changes == ""}


def _read_cpu() -> dict[str, Any]:
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    flags = facts.get("flags", "").split()
    return {
        "model": facts.get("model name", ""),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _FLAGS if flag in flags],
    }


def _read_gpus() -> list[dict[str, str]]:
    fields = ("name", "driver_version", "compute_cap", "memory.total")
    answer = _ask("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    return [
        dict(zip(fields, map(str.strip, line.split(",")), strict=False))
        for line in (answer or "").splitlines()
    ]


def _ask(program: str, *arguments: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [path, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

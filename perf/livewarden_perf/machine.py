"""What figures were measured on: hardware, versions, bundle and policy. No figure goes without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import tritonclient.grpc as triton

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_perf.served import Answer

_PACKAGES: Final = ("livewarden", "openvino", "numpy", "tritonclient", "opencv-python-headless")
_GIB: Final = 1024**3
# Instruction sets that decide how fast the encoders are.
_EXTENSIONS: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")


def describe_machine() -> dict[str, str]:
    """Describe hardware and software of this machine, for people, in reading order."""
    model, flags = _read_processor()
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join(
        f"{name} {version}" for name in _PACKAGES if (version := _find_version(name))
    )
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{model}, {cores} of {os.cpu_count()} cores",
        "extensions": " ".join(name for name in _EXTENSIONS if name in flags) or "none of note",
        "memory": f"{psutil.virtual_memory().total / _GIB:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f} (1 min)",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": versions,
    }


def describe_served(url: str, answer: Answer) -> dict[str, str]:
    """Describe what answers at `url` (gRPC), by its own word."""
    policy = answer.provenance.policy
    client = triton.InferenceServerClient(url)
    try:
        metadata = client.get_server_metadata()
        server = f"{metadata.name} {metadata.version}"
    except triton.InferenceServerException:
        server = "says nothing of itself"
    finally:
        client.close()
    return {
        "server": server,
        "bundle": answer.provenance.bundle,
        "policy": f"{policy.id} {policy.version} ({policy.digest})",
    }


def _find_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read_processor(path: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    fields: Mapping[str, Any] = {}
    try:
        first = path.read_text(encoding="utf-8").partition("\n\n")[0]
        fields = {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in first.splitlines())
        }
    except OSError:
        pass
    return (
        fields.get("model name") or platform.processor() or platform.machine(),
        frozenset(fields.get("flags", "").split()),
    )

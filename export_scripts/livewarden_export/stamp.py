"""What an export depends on, and the key that says whether it must be done again.

Reads files and package metadata only: a run with nothing to do never imports torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, Final

import livewarden_client
import livewarden_ensemble
import livewarden_export
from livewarden_client.wire import LABELS, TAXONOMY_VERSION, WIRE_VERSION
from livewarden_export.bundle import hash_file
from livewarden_export.errors import ExportFailed
from livewarden_export.recipe import RECIPES, Precision

# Whose versions can change what an export writes, or what its parity figures are.
_TOOLS: Final = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "pillow",
    "scikit-image",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Everything that decides what an export gives: code, tools, sources, and the precisions."""

    code: str
    tools: Mapping[str, str]
    sources: Mapping[str, str]
    precisions: Mapping[str, Precision]

    @property
    def key(self) -> str:
        """SHA-256 over all of it: two exports with one key would give the same bundle."""
        parts = [self.code, dict(self.tools), dict(self.sources), dict(self.precisions)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def to_facts(self) -> dict[str, Any]:
        """As JSON values, for the manifest."""
        return {
            "key": self.key,
            "wire_version": WIRE_VERSION,
            "taxonomy": TAXONOMY_VERSION,
            "labels": list(LABELS),
            "precision": dict(self.precisions),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "tools": dict(self.tools),
            "sources": dict(self.sources),
            "code": self.code,
        }


def read_stamp(*, bf16: bool) -> Stamp:
    """The stamp of an export done now; `bf16` lets leaves be proven and served in bf16.

    Raises ExportFailed naming the package that is not installed.
    """
    try:
        tools = {name: version(name) for name in _TOOLS}
        sources = {
            name: f"{version(name)} sha256:{_hash_package(name)}"
            for recipe in RECIPES
            for name in recipe.sources
        }
    except PackageNotFoundError as error:
        raise ExportFailed(
            f"the package {error.name!r} is not installed; run: pip install 'livewarden[export]'"
        ) from None
    precisions = {r.model.name: r.precision if bf16 else "f32" for r in RECIPES}
    return Stamp(_hash_code(), tools, sources, precisions)


def _hash_code() -> str:
    """SHA-256 over the modules that make or run a leaf: this package, the wire, the executor."""
    package = _locate(livewarden_export)
    files = sorted(package.rglob("*.py")) + sorted(package.rglob("*.safetensors"))
    files += [_locate(livewarden_client) / "wire.py", _locate(livewarden_ensemble) / "leaf.py"]
    lines = "".join(f"{path.name} {hash_file(path)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


@functools.cache
def _hash_package(name: str) -> str:
    """SHA-256 over the data and code files that the distribution `name` installed."""
    lines = "".join(
        f"{file} {hash_file(Path(str(file.locate())))}\n"
        for file in sorted(distribution(name).files or ())
        if ".dist-info" not in str(file)
        and not str(file).endswith(".pyc")
        and ".." not in str(file)
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def _locate(package: Any) -> Path:
    return Path(package.__file__).parent

"""What an export depends on, and the key that says whether it must be done again.

Reads files and package metadata only: a run with nothing to do never imports torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
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
from livewarden_export.recipe import Models, Precision
from livewarden_export.source import list_files, list_packages

# Whose versions can change what an export writes, or what its parity figures are.
_TOOLS: Final = (
    "numpy",
    "nncf",
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
    """Everything that decides what an export gives: code, tools, sources, recipes, precisions.

    `precisions` is what is asked for: with `search` it is the most that each leaf may end at.
    """

    code: str
    tools: Mapping[str, str]
    sources: Mapping[str, str]
    recipes: str
    precisions: Mapping[str, Precision]
    targets: tuple[str, ...] = ("openvino",)
    bf16: bool = False
    search: bool = False

    @property
    def key(self) -> str:
        """SHA-256 over all of it: two exports with one key would give the same bundle."""
        parts = [
            self.code,
            dict(self.tools),
            dict(self.sources),
            self.recipes,
            dict(self.precisions),
            self.targets,
            self.bf16,
            self.search,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def to_facts(self) -> dict[str, Any]:
        """As JSON values, for the manifest."""
        return {
            "key": self.key,
            "wire_version": WIRE_VERSION,
            "taxonomy": TAXONOMY_VERSION,
            "labels": list(LABELS),
            "targets": list(self.targets),
            "recipes": self.recipes,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "tools": dict(self.tools),
            "sources": dict(self.sources),
            "code": self.code,
        }


def read_stamp(
    models: Models,
    *,
    bf16: bool,
    slowest: bool = False,
    search: bool = False,
    targets: tuple[str, ...] = ("openvino",),
) -> Stamp:
    """The stamp of an export done now; `bf16` says whether this CPU computes it.

    `slowest` asks for f32 everywhere. Raises ExportFailed naming the package that is not installed
    or the file that is not there.
    """
    try:
        tools = {name: version(name) for name in _TOOLS}
        packages = sorted({name for recipe in models.recipes for name in list_packages(recipe)})
        sources = {name: f"{version(name)} sha256:{_hash_package(name)}" for name in packages}
    except PackageNotFoundError as error:
        raise ExportFailed(
            f"the package {error.name!r} is not installed; run: pip install 'livewarden[export]'"
        ) from None
    files = {path for recipe in models.recipes for path in list_files(recipe)}
    folder = models.path.resolve().parent
    sources |= {
        os.path.relpath(path, folder): f"sha256:{hash_file(path)}" for path in sorted(files)
    }
    precisions = {
        recipe.model.name: limit_precision(recipe.openvino.precision, bf16=bf16, slowest=slowest)
        for recipe in models.recipes
    }
    recipes = f"sha256:{hash_file(models.path)} policy sha256:{hash_file(models.decisions.policy)}"
    return Stamp(_hash_code(), tools, sources, recipes, precisions, targets, bf16, search)


def limit_precision(wanted: Precision, *, bf16: bool, slowest: bool = False) -> Precision:
    """The precision that can be proven here instead of `wanted`."""
    if slowest or (wanted == "bf16" and not bf16):
        return "f32"
    return wanted


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

"""The bill of materials of a bundle, in CycloneDX JSON.

It is part of what the digest covers, so it holds neither a time nor a random number.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_ROOT: Final = "bundle"
_ARTEFACTS: Final = (".onnx", ".bin", ".xml", ".plan", ".engine")


def write_sbom(path: Path, facts: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Write what the bundle is made of and by.

    Sources are the packages in `facts["sources"]` (name -> "version ..."), tools those in
    `facts["tools"]` (name -> version); `files` maps each file to its SHA-256.
    """
    root = Component(type=ComponentType.MACHINE_LEARNING_MODEL, name="livewarden-bundle")
    root.bom_ref.value = _ROOT
    sources = {
        name: _make_package(name, str(text).split()[0], "source")
        for name, text in facts.get("sources", {}).items()
    }
    tools = {
        name: _make_package(name, str(version), "tool")
        for name, version in facts.get("tools", {}).items()
    }
    parts = [*sources.values(), *(tools[name] for name in tools if name not in sources)]
    parts += [_make_file(name, digest) for name, digest in files.items()]
    bom = Bom(components=parts)
    bom.metadata.component = root
    bom.register_dependency(root, parts)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    document.pop("serialNumber", None)
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, text)}"
    path.unlink(missing_ok=True)  # it may share its content with another bundle's file
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def _make_package(name: str, version: str, role: str) -> Component:
    component = Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        purl=PackageURL("pypi", None, name, version),
        properties=[Property(name="livewarden:role", value=role)],
    )
    component.bom_ref.value = f"pkg:pypi/{name}@{version}"
    return component


def _make_file(name: str, digest: str) -> Component:
    kind = ComponentType.MACHINE_LEARNING_MODEL if name.endswith(_ARTEFACTS) else ComponentType.FILE
    component = Component(
        type=kind, name=name, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)]
    )
    component.bom_ref.value = f"file:{name}"
    return component

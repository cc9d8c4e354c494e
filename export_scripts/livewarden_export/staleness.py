"""Whether a bundle is older than what it was made from; `livewarden doctor` asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from livewarden_ensemble.integrity import read_manifest
from livewarden_export.model_file import load_models
from livewarden_export.stamp import read_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# What a manifest says of its export, and how people call it.
_PARTS: Final[Mapping[str, str]] = {
    "code": "the code of the export",
    "recipes": "models.yaml or the policy that it names",
    "labels": "the labels",
    "taxonomy": "the taxonomy",
    "wire_version": "the wire contract",
}
_GROUPS: Final = ("tools", "sources")


def find_staleness(folder: Path, models: Path) -> str:
    """What has changed since the bundle in `folder` was made from the file `models`; "" if nothing.

    Precisions do not count: they are chosen per export. Raises ExportFailed and BundleInvalid.
    """
    # bf16 decides precisions alone, which are not compared.
    now = read_stamp(load_models(models), bf16=False).to_facts()
    return ", ".join(compare_facts(read_manifest(folder), now))


def compare_facts(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two exports' facts, in words."""
    for name, words in _PARTS.items():
        if then.get(name) != now[name]:
            yield words
    for group in _GROUPS:
        before, after = then.get(group, {}), now[group]
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield name

"""Flattening: what a layer says, as dotted leaves with the place of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from livewarden_ensemble.policy.built_in import LABEL
from livewarden_ensemble.policy.layer import Layer, Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_ensemble.policy.fault import Faults, Path

# What describes a label or a list, and is no value that a layer could change.
_ABOUT: Final = frozenset({"description", "aliases", "parent", "label"})
_CONTENT: Final = frozenset({"phrases", "patterns", "file", "hashes", "languages", "variants"})
_GENERAL: Final = ("fail_safe", "review", "state", "blocklists", "hash_banks")
_LISTS: Final = ("blocklists", "hash_banks")
_THRESHOLD: Final = frozenset({f"thresholds.{name}" for name in ("review", "restrict", "block")})


def flatten_layer(name: str, data: Mapping[str, Any] | None, path: Path, faults: Faults) -> Layer:
    """Flatten the checked data of one layer, which stands at `path`."""
    data = data or {}
    flatten = _Flattener(name, faults)
    labels = {
        label: flatten.flatten_label(body, (*path, "labels", label))
        for label, body in (data.get("labels") or {}).items()
    }
    defaults = flatten.flatten_label(data.get("defaults") or {}, (*path, "defaults"))
    general: dict[str, Setting] = {}
    for section in _GENERAL:
        if section in data:
            general |= flatten.flatten_section(section, data[section], (*path, section))
    return Layer(name, defaults, labels, general)


class _Flattener:
    def __init__(self, layer: str, faults: Faults) -> None:
        self._layer = layer
        self._faults = faults

    def flatten_label(self, body: Mapping[str, Any] | None, path: Path) -> dict[str, Setting]:
        """Flatten one label's rule; null resets all of it."""
        if body is None:
            return {leaf: self._set(None, path) for leaf in LABEL}
        leaves: dict[str, Setting] = {}
        for key, value in body.items():
            if key not in _ABOUT:
                self._spread(key, value, (*path, key), leaves)
        return leaves

    def flatten_section(self, section: str, body: Any, path: Path) -> dict[str, Setting]:
        """Flatten a section that belongs to no label."""
        leaves: dict[str, Setting] = {}
        if section in _LISTS:
            for name, item in (body or {}).items():
                item_path = (*path, name)
                if item is None:
                    leaves[f"{section}.{name}"] = self._set(None, item_path)
                for key, value in (item or {}).items():
                    if key not in _ABOUT | _CONTENT:
                        leaves[f"{section}.{name}.{key}"] = self._set(value, (*item_path, key))
        else:
            self._spread(section, body, path, leaves)
        return leaves

    def _spread(self, leaf: str, value: Any, path: Path, into: dict[str, Setting]) -> None:
        if leaf in _THRESHOLD and isinstance(value, int | float):
            # One number is the whole threshold: where it ends follows from `hysteresis` again.
            into[f"{leaf}.enter"] = self._set(value, path)
            into[f"{leaf}.exit"] = self._set(None, path)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key != "description":
                    self._spread(f"{leaf}.{key}", inner, (*path, key), into)
        else:
            into[leaf] = self._set(value, path)

    def _set(self, value: Any, path: Path) -> Setting:
        place = self._faults.find_place(path)
        return Setting(
            tuple(value) if isinstance(value, list) else value,
            self._layer,
            place.line,
            place.column,
        )

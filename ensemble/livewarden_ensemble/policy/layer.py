"""Layers: the file's base and the overrides of regions, surfaces, audiences and rooms, merged.

Layers apply in that order, and the last one that names a value wins. Within a layer, `defaults`
come first, then the label's parent, then the label itself. null takes a value back to what it
would be without the label's own entries: to the defaults, and in `defaults` to the built-in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from livewarden_client.wire import LABELS
from livewarden_ensemble.policy.built_in import GENERAL, LABEL, LIST
from livewarden_ensemble.policy.resolve import (
    build_bank,
    build_fail_safe,
    build_label,
    build_list,
    build_sampling,
)
from livewarden_ensemble.policy.value import read_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from livewarden_ensemble.policy.blocklist import ListMatcher
    from livewarden_ensemble.policy.hashbank import BankMatcher
    from livewarden_ensemble.policy.rule import (
        BankRule,
        FailSafe,
        Floor,
        LabelRule,
        ListRule,
        Sampling,
    )

LayerKind = Literal["region", "surface", "audience", "room"]
LAYER_KINDS: Final[tuple[LayerKind, ...]] = ("region", "surface", "audience", "room")

# Places that are remembered; a platform has few surfaces, and its rooms mostly no layer.
MAX_CACHED: Final = 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the effective policy, the layer that it comes from, and where that stands.

    `layer` is "built-in", "base" or like "region:DE"; `line` and `column` count from 1, and are 0
    for built-in values.
    """

    value: Any
    layer: str
    line: int = 0
    column: int = 0


Settings = dict[str, Setting]


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer says: dotted leaf to setting. A setting of None is a reset of what it names.

    `general` holds what belongs to no label, like `fail_safe.frames.on_missing`.
    """

    name: str
    defaults: Mapping[str, Setting]
    labels: Mapping[str, Mapping[str, Setting]]
    general: Mapping[str, Setting]


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """One policy as it applies in one place: `labels` in taxonomy order.

    `settings` maps the dotted path of every value, like `labels.hate.thresholds.review.enter`, to
    where it comes from. `overrides` names the layers that applied, in order.
    """

    labels: tuple[LabelRule, ...]
    fail_safe: FailSafe
    sampling: Sampling
    lists: Mapping[str, ListRule]
    banks: Mapping[str, BankRule]
    state_ttl_ms: int
    on_refused: Floor
    overrides: tuple[str, ...]
    settings: Mapping[str, Setting] = field(repr=False)

    @property
    def by_label(self) -> Mapping[str, LabelRule]:
        """The labels' rules by their ids."""
        return {rule.id: rule for rule in self.labels}


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One policy file, checked and ready to decide by.

    `digest` covers the file and every file that it names; `files` maps each of them to the SHA-256
    of what was read. `shadows` are the policies evaluated beside this one, each with the Unix time
    in ms at which that ends. `parents` and `aliases` are between labels. `owners` maps each list
    and bank to its label.
    """

    id: str
    version: str
    digest: str
    path: Path
    files: Mapping[Path, str]
    base: Layer
    layers: Mapping[LayerKind, Mapping[str, Layer]]
    parents: Mapping[str, str]
    aliases: Mapping[str, str]
    list_owners: Mapping[str, str]
    bank_owners: Mapping[str, str]
    matcher: ListMatcher
    banks: BankMatcher
    shadows: tuple[tuple[Policy, int | None], ...] = ()
    _cache: dict[tuple[str, ...], EffectivePolicy] = field(default_factory=dict, repr=False)

    @property
    def ref(self) -> str:
        """How the policy is named beside others: `id@version`."""
        return f"{self.id}@{self.version}"


def effective(
    policy: Policy, region: str = "", surface: str = "", audience: str = "", room: str = ""
) -> EffectivePolicy:
    """Merge the layers that apply; a name that the policy has no layer for applies none.

    The result is kept with the policy, for the MAX_CACHED places that were asked for last.
    """
    named = zip(LAYER_KINDS, (region, surface, audience, room), strict=True)
    layers = [policy.layers[kind][name] for kind, name in named if name in policy.layers[kind]]
    key = tuple(layer.name for layer in layers)
    cache = policy._cache  # noqa: SLF001 - the cache is this function's
    found = cache.pop(key, None) or merge_layers(policy, layers)
    while len(cache) >= MAX_CACHED:
        # Another thread may have emptied it meanwhile.
        cache.pop(next(iter(cache), ()), None)
    cache[key] = found
    return found


def merge_layers(policy: Policy, layers: Sequence[Layer]) -> EffectivePolicy:
    """Merge `layers` over the policy's base, in their order."""
    chain = (policy.base, *layers)
    merged = {label: merge_label(policy, label, chain) for label in LABELS}
    general = merge_general(policy, chain)
    values = {leaf: setting.value for leaf, setting in general.items()}
    settings = {
        f"labels.{label}.{leaf}": setting
        for label, leaves in merged.items()
        for leaf, setting in leaves.items()
    }
    return EffectivePolicy(
        labels=tuple(
            build_label(label, {leaf: setting.value for leaf, setting in leaves.items()})
            for label, leaves in merged.items()
        ),
        fail_safe=build_fail_safe(values),
        sampling=build_sampling(values),
        lists={name: build_list(name, label, values) for name, label in policy.list_owners.items()},
        banks={name: build_bank(name, label, values) for name, label in policy.bank_owners.items()},
        state_ttl_ms=read_duration(values["state.ttl"]),
        on_refused=values["state.on_refused"],
        overrides=tuple(layer.name for layer in layers),
        settings=settings | general,
    )


def merge_label(policy: Policy, label: str, chain: Iterable[Layer]) -> Settings:
    """Merge what the layers of `chain` say of one label, every leaf of it."""
    defaults = {leaf: Setting(value, "built-in") for leaf, value in LABEL.items()}
    merged = dict(defaults)
    family = _list_family(policy, label)
    for layer in chain:
        for leaf, setting in _spread(layer.defaults, LABEL):
            if setting.value is None:
                setting = Setting(LABEL[leaf], layer.name, setting.line, setting.column)  # noqa: PLW2901 - resolved
            defaults[leaf] = merged[leaf] = setting
        for member in family:
            for leaf, setting in _spread(layer.labels.get(member, {}), LABEL):
                merged[leaf] = defaults[leaf] if setting.value is None else setting
    return merged


def merge_general(policy: Policy, chain: Iterable[Layer]) -> Settings:
    """Merge what the layers of `chain` say of anything but labels."""
    built_in = dict(GENERAL)
    for name in policy.list_owners:
        built_in |= {f"blocklists.{name}.{leaf}": LIST[leaf] for leaf in ("mode", "action")}
    for name in policy.bank_owners:
        built_in |= {f"hash_banks.{name}.{leaf}": value for leaf, value in LIST.items()}
    merged = {leaf: Setting(value, "built-in") for leaf, value in built_in.items()}
    for layer in chain:
        for leaf, setting in _spread(layer.general, merged):
            if setting.value is not None:
                merged[leaf] = setting
            elif leaf in built_in:
                merged[leaf] = Setting(built_in[leaf], layer.name, setting.line, setting.column)
            else:
                merged.pop(leaf, None)
    return merged


def _list_family(policy: Policy, label: str) -> list[str]:
    """The label and its ancestors, the eldest first."""
    family = [label]
    while parent := policy.parents.get(family[0]):
        family.insert(0, parent)
    return family


def _spread(
    given: Mapping[str, Setting], known: Mapping[str, Any]
) -> Iterable[tuple[str, Setting]]:
    """Turn the reset of a whole group into resets of the leaves in it."""
    for leaf, setting in given.items():
        if setting.value is None and leaf not in known:
            group = f"{leaf}."
            for inner in [name for name in known if name.startswith(group)]:
                yield inner, setting
        else:
            yield leaf, setting

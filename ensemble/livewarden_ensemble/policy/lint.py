"""Lint: what a policy that loads may still have wrong with it.

Each check is one function of the table CHECKS, and yields what it finds in no order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, islice, product
from typing import TYPE_CHECKING, Final, Literal

from livewarden_client.wire import LABELS
from livewarden_ensemble.dsa_table import CATEGORIES, RETIRED_CATEGORIES
from livewarden_ensemble.policy.fold import fold_phrase
from livewarden_ensemble.policy.layer import (
    LAYER_KINDS,
    EffectivePolicy,
    Layer,
    Policy,
    effective,
    merge_general,
    merge_label,
)
from livewarden_ensemble.policy.nearest import suggest
from livewarden_ensemble.policy.resolve import find_disorder
from livewarden_ensemble.policy.rule import RANK
from livewarden_ensemble.policy.value import read_duration, read_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from livewarden_ensemble.policy.layer import Setting

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")

# Pairs of layers that are looked at together; more of them would take minutes.
MAX_PAIRS: Final = 2_000
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark: a stable `code`, where it is about (`path` is dotted, lines count from 1)."""

    severity: Severity
    code: str
    path: str
    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a policy is looked at with: its base merged, and what is known of the server."""

    policy: Policy
    base: EffectivePolicy
    unsupported: Collection[str]
    now_ms: int | None

    def find(self, severity: Severity, code: str, path: str, message: str) -> Finding:
        """A finding about a value of the base, at the place that the value comes from."""
        setting = self.base.settings.get(path)
        if setting is None or not setting.line:
            # A value that the file does not name: the label that lacks it.
            own = self.policy.base.labels.get(path.split(".")[1], {}).values()
            setting = min(own, key=lambda one: (one.line, one.column), default=None)
        line, column = (setting.line, setting.column) if setting else (1, 1)
        return Finding(severity, code, path, line, column, message)


def lint(
    policy: Policy, *, unsupported: Collection[str] = (), now_ms: int | None = None
) -> list[Finding]:
    """Find what is wrong or odd, in the order of the file; errors first at one place.

    `unsupported` are labels that no loaded model scores; `now_ms` finds what has expired.
    """
    known = Circumstances(policy, effective(policy), unsupported, now_ms)
    found = {finding for check in CHECKS for finding in check(known)}
    return sorted(
        found, key=lambda f: (f.line, f.column, SEVERITIES.index(f.severity), f.code, f.path)
    )


def _check_categories(known: Circumstances) -> Iterator[Finding]:
    for rule in known.base.labels:
        path = f"labels.{rule.id}.dsa"
        if rule.category is None:
            if rule.mode != "off":
                message = f"{rule.id} has no DSA category; statements of reasons need one"
                yield known.find("warning", "dsa.missing", path, message)
        elif rule.category in RETIRED_CATEGORIES:
            instead = RETIRED_CATEGORIES[rule.category]
            message = f"{rule.category} is retired; write {instead}"
            yield known.find("warning", "dsa.retired", path, message)
        elif rule.category not in CATEGORIES:
            message = f"{rule.category} is no DSA category; {suggest(rule.category, CATEGORIES)}"
            yield known.find("error", "dsa.unknown", path, message)


def _check_scorers(known: Circumstances) -> Iterator[Finding]:
    for rule in known.base.labels:
        if rule.id in known.unsupported and rule.mode != "off":
            message = f"no loaded model has a signal for {rule.id}; its score says nothing"
            yield known.find("warning", "label.unsupported", f"labels.{rule.id}.mode", message)
        if rule.id not in known.policy.base.labels:
            message = f"{rule.id} is not in the file and follows the defaults"
            yield known.find("note", "label.unlisted", f"labels.{rule.id}.severity", message)


def _check_actions(known: Circumstances) -> Iterator[Finding]:
    """Actions that no score can reach, or that every score reaches."""
    for rule in known.base.labels:
        if rule.mode == "off":
            continue
        path = f"labels.{rule.id}.thresholds"
        if rule.enter.review == 0:
            message = f"{rule.id} asks for review whatever it scores"
            yield known.find("warning", "threshold.always", f"{path}.review.enter", message)
        for weak, strong in (("review", "restrict"), ("restrict", "block")):
            if getattr(rule.enter, weak) == getattr(rule.enter, strong):
                message = f"{rule.id} never asks for {weak}: {strong} starts at the same score"
                yield known.find("warning", "action.unreachable", f"{path}.{weak}.enter", message)
        ceiling = RANK[rule.max_automatic_action]
        for name in ("restrict", "block"):
            setting = known.policy.base.labels.get(rule.id, {}).get(f"thresholds.{name}.enter")
            if RANK[name] > ceiling and setting is not None and setting.value is not None:
                message = (
                    f"{rule.id} asks for {rule.max_automatic_action} at most, so {name} only "
                    "shows in `asked`"
                )
                yield known.find("note", "action.capped", f"{path}.{name}.enter", message)


def _check_memory(known: Circumstances) -> Iterator[Finding]:
    """Rules over time that can change nothing."""
    for rule in known.base.labels:
        path = f"labels.{rule.id}"
        shot = rule.single_shot_block
        if shot is not None and shot < rule.enter.block:
            message = f"{rule.id} blocks at {shot:g}, before its threshold {rule.enter.block:g}"
            yield known.find("warning", "shot.early", f"{path}.single_shot_block", message)
        for name, spent_ms in (("cooldown", rule.cooldown_ms), ("half_life", rule.half_life_ms)):
            if spent_ms > known.base.state_ttl_ms:
                message = f"the stream is forgotten (state.ttl) before the {name} is over"
                yield known.find("warning", "memory.short", f"{path}.{name}", message)
        if rule.ladder is not None:
            for violations, action in rule.ladder.rungs:
                if RANK[action] <= RANK[rule.ladder.counts]:
                    message = (
                        f"{violations} violations ask for {action}, which one asks for already"
                    )
                    yield known.find(
                        "warning", "ladder.no_effect", f"{path}.escalation.ladder", message
                    )
        if rule.repeat is not None:
            starts = getattr(rule.enter, rule.repeat.action)
            if rule.repeat.floor >= starts:
                message = f"one score of {starts:g} already asks for {rule.repeat.action}"
                yield known.find(
                    "warning", "repeat.no_effect", f"{path}.repeat.min_confidence", message
                )


def _check_expiry(known: Circumstances) -> Iterator[Finding]:
    if known.now_ms is None:
        return
    for layer in (known.policy.base, *_list_layers(known.policy)):
        for group, leaves in (("defaults", layer.defaults), *_list_labels(layer)):
            setting = leaves.get("mode_until")
            if setting and setting.value and read_instant(setting.value) <= known.now_ms:
                yield _find_at(
                    setting, "warning", "mode.expired", f"{group}.mode_until",
                    f"{setting.value} is over; the mode is enforce again",
                )  # fmt: skip
    for shadow, until_ms in known.policy.shadows:
        if until_ms is not None and until_ms <= known.now_ms:
            message = f"the trial of {shadow.ref} is over"
            yield Finding("warning", "shadow.expired", "shadow", 1, 1, message)


def _check_overrides(known: Circumstances) -> Iterator[Finding]:
    """Values of a layer that change nothing, or that make a stricter label looser by a default."""
    base = known.policy.base
    for layer in _list_layers(known.policy):
        for label in LABELS:
            before = merge_label(known.policy, label, (base,))
            after = merge_label(known.policy, label, (base, layer))
            others = {name: body for name, body in layer.labels.items() if name != label}
            without = merge_label(known.policy, label, (base, replace(layer, labels=others)))
            for leaf, setting in layer.labels.get(label, {}).items():
                # The reset of an exit is what a threshold of one number means, no override.
                implied = setting.value is None and leaf.endswith(".exit")
                if leaf in without and after[leaf].value == without[leaf].value and not implied:
                    path = f"{layer.name}.labels.{label}.{leaf}"
                    yield _find_at(
                        setting, "note", "override.no_effect", path,
                        f"is {without[leaf].value!r} without this line too",
                    )  # fmt: skip
            for leaf in ("review", "restrict", "block"):
                name = f"thresholds.{leaf}.enter"
                given = layer.defaults.get(name)
                if given is None or after[name] is not given:
                    continue
                if given.value > before[name].value:
                    yield _find_at(
                        given, "warning", "override.loosens", f"{layer.name}.defaults.{name}",
                        f"raises {label} from {before[name].value:g} to {given.value:g}; "
                        f"name the label in {layer.name} to keep it",
                    )  # fmt: skip
        general = merge_general(known.policy, (base,))
        changed = merge_general(known.policy, (base, layer))
        for leaf, setting in layer.general.items():
            if leaf in general and changed[leaf].value == general[leaf].value:
                yield _find_at(
                    setting, "note", "override.no_effect", f"{layer.name}.{leaf}",
                    f"is {general[leaf].value!r} without this layer too",
                )  # fmt: skip


def _check_pairs(known: Circumstances) -> Iterator[Finding]:
    """Two layers whose thresholds are in order alone, and out of order together."""
    layers = known.policy.layers
    pairs = (
        pair
        for first, second in combinations(LAYER_KINDS, 2)
        for pair in product(layers[first].values(), layers[second].values())
    )
    for one, other in islice(pairs, MAX_PAIRS):
        for label in LABELS:
            merged = merge_label(known.policy, label, (known.policy.base, one, other))
            problem = find_disorder({leaf: setting.value for leaf, setting in merged.items()})
            if problem:
                setting = next(
                    (s for leaf, s in merged.items() if leaf.startswith("thresholds.")
                     and s.layer == other.name),
                    merged["thresholds.review.enter"],
                )  # fmt: skip
                yield _find_at(
                    setting, "warning", "threshold.pair", f"{other.name}.labels.{label}.thresholds",
                    f"{problem}, together with {one.name}; the stricter value wins",
                )  # fmt: skip


def _check_lists(known: Circumstances) -> Iterator[Finding]:
    modes = {rule.id: rule.mode for rule in known.base.labels}
    for section, rules in (("blocklists", known.base.lists), ("hash_banks", known.base.banks)):
        for name, rule in rules.items():
            path = f"{section}.{name}.mode"
            if rule.mode != "off" and modes[rule.label] in {"off", "shadow"}:
                message = f"{rule.label} is {modes[rule.label]}, so {name} never acts"
                yield known.find("warning", "list.silent", path, message)
            if rule.mode == "evidence" and RANK[rule.action] > RANK["review"]:
                message = f"evidence that asks for {rule.action}; mode hard says what is meant"
                yield known.find("note", "list.strong_evidence", path, message)
    matcher = known.policy.matcher
    entries = {
        fold_phrase(phrase): one.name for one in matcher.lists.values() for phrase in one.phrases
    }
    for allow in matcher.allowed.values():
        for phrase in allow.phrases:
            folded, path = fold_phrase(phrase), f"allow_phrases.{allow.name}"
            if folded in entries:
                message = (
                    f"a phrase is itself an entry of {entries[folded]}, which it always spares"
                )
                yield Finding("warning", "allow.spares_entry", path, 1, 1, message)
            elif not matcher.spares_anything(phrase):
                message = "a phrase holds no entry of any list, and so spares nothing"
                yield Finding("note", "allow.no_effect", path, 1, 1, message)


def _check_sampling(known: Circumstances) -> Iterator[Finding]:
    sampling = known.base.sampling
    drawn = sampling.random or (sampling.band and sampling.band_share) or sampling.strata
    if drawn and not sampling.salt:
        message = "clips are sampled without a salt; whoever names clips can avoid the sample"
        yield known.find("warning", "sample.salt", "review.salt", message)
    if read_duration(known.base.settings["state.ttl"].value) < _MINUTE_MS:
        message = "a stream is forgotten in less than a minute"
        yield known.find("note", "state.short", "state.ttl", message)


# In the order of the file's sections.
CHECKS: Final[tuple[Callable[[Circumstances], Iterator[Finding]], ...]] = (
    _check_categories,
    _check_scorers,
    _check_actions,
    _check_memory,
    _check_expiry,
    _check_overrides,
    _check_pairs,
    _check_lists,
    _check_sampling,
)


def _list_layers(policy: Policy) -> list[Layer]:
    return [layer for kind in LAYER_KINDS for layer in policy.layers[kind].values()]


def _list_labels(layer: Layer) -> Iterator[tuple[str, dict[str, Setting]]]:
    for label, leaves in layer.labels.items():
        yield f"labels.{label}", dict(leaves)


def _find_at(setting: Setting, severity: Severity, code: str, path: str, message: str) -> Finding:
    return Finding(severity, code, path, setting.line or 1, setting.column or 1, message)

"""Meaning: what the types of a document cannot say. Names that exist, groups that agree."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.wire import LABELS, TAXONOMY_VERSION
from livewarden_ensemble.policy.nearest import suggest
from livewarden_ensemble.policy.region import REGIONS
from livewarden_ensemble.policy.value import read_duration, read_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from livewarden_ensemble.policy.document import Document
    from livewarden_ensemble.policy.fault import Faults, Path

# A token must not outlive the keys that signed it.
MAX_TTL_MS: Final = 86_400_000
MIN_TTL_MS: Final = 1_000


def read_aliases(document: Document, faults: Faults) -> dict[str, str]:
    """Map every alias to its label."""
    aliases: dict[str, str] = {}
    for label, body in document.labels.items():
        for index, alias in enumerate((body.aliases if body else None) or ()):
            path = ("labels", label, "aliases", index)
            if alias in LABELS:
                faults.add(path, f"{alias!r} is a label of its own")
            elif aliases.setdefault(alias, label) != label:
                faults.add(path, f"{alias!r} already stands for {aliases[alias]!r}")
    return aliases


def rename_labels(data: Any, aliases: Mapping[str, str], faults: Faults) -> Any:
    """Replace aliases by the labels that they stand for, wherever a label is named."""

    def rename(body: Any, path: Path) -> Any:
        if not isinstance(body, dict):
            return body
        renamed: dict[str, Any] = {}
        for key, value in body.items():
            if path and path[-1] == "labels" and key in aliases:
                target = aliases[key]
                if target in body:
                    faults.add((*path, key), f"is another name of {target}, which stands here too")
                    continue
                _move_places(faults, (*path, key), (*path, target))
                renamed[target] = rename(value, (*path, target))
            elif key in {"label", "parent"} and isinstance(value, str):
                renamed[key] = aliases.get(value, value)
            else:
                renamed[key] = rename(value, (*path, key))
        return renamed

    return rename(data, ()) if aliases else data


def _move_places(faults: Faults, old: Path, new: Path) -> None:
    places = dict(faults.places)
    for path, place in faults.places.items():
        if path[: len(old)] == old:
            places[new + path[len(old) :]] = place
    faults.places = places


def check_meaning(data: Mapping[str, Any], sections: Mapping[Any, str], faults: Faults) -> None:
    """Note names that do not exist and values that contradict each other."""
    for path, body in _list_layers(data, sections):
        for label, rule in (body.get("labels") or {}).items():
            _check_label_name(label, (*path, "labels", label), faults)
            _check_rule(rule or {}, (*path, "labels", label), faults, base=not path)
        if body.get("defaults"):
            _check_rule(body["defaults"], (*path, "defaults"), faults, base=False)
        _check_general(body, path, faults)
        _check_patches(data, body, path, faults)
    _check_layer_names(data, sections, faults)
    _check_lists(data, faults)
    _check_parents(data, faults)


def _check_patches(
    data: Mapping[str, Any], body: Mapping[str, Any], path: Path, faults: Faults
) -> None:
    """Note what a layer changes of lists and banks that the file does not have."""
    for section in ("blocklists", "hash_banks"):
        known = data.get(section) or {}
        for name in body.get(section) or {}:
            if name not in known:
                faults.add((*path, section, name), f"does not exist; {suggest(name, known)}")


def _check_layer_names(
    data: Mapping[str, Any], sections: Mapping[Any, str], faults: Faults
) -> None:
    for name in data.get("regions") or {}:
        if name not in REGIONS:
            hint = suggest(name.upper(), REGIONS) if len(name) == 2 else "write DE, FR, US, ..."  # noqa: PLR2004 - ISO 3166-1 alpha-2
            faults.add(("regions", name), f"is no country of ISO 3166-1; {hint}")
    for name in sections.values():
        if "" in (data.get(name) or {}):
            faults.add((name, ""), "is empty; a layer needs a name")


def _list_layers(
    data: Mapping[str, Any], sections: Mapping[Any, str]
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    yield (), data
    for section in sections.values():
        for name, body in (data.get(section) or {}).items():
            yield (section, name), body or {}


def _check_label_name(label: str, path: Path, faults: Faults) -> None:
    if label not in LABELS:
        faults.add(path, f"is no label of taxonomy {TAXONOMY_VERSION}; {suggest(label, LABELS)}")


def _check_rule(rule: Mapping[str, Any], path: Path, faults: Faults, *, base: bool) -> None:
    for key in ("aliases", "parent"):
        if key in rule and not base:
            faults.add((*path, key), "can only stand in a label of the file's own `labels`")
    for key in ("half_life", "cooldown"):
        _check_value(rule.get(key), read_duration, (*path, key), faults)
    _check_value(rule.get("mode_until"), read_instant, (*path, "mode_until"), faults)
    for group in ("confirm", "repeat"):
        _check_count(rule.get(group) or {}, (*path, group), faults)
    escalation = rule.get("escalation") or {}
    _check_value(escalation.get("forget"), read_duration, (*path, "escalation", "forget"), faults)
    rungs = [(rung["violations"], rung["action"]) for rung in escalation.get("ladder") or ()]
    ranks = {"review": 1, "restrict": 2, "block": 3}
    for index, ((low, weak), (high, strong)) in enumerate(pairwise(rungs), 1):
        if high <= low or ranks[strong] <= ranks[weak]:
            faults.add(
                (*path, "escalation", "ladder", index),
                "must ask for more, after more violations, than the rung before",
            )
    lists = [(name, rule.get("requires", {}) or {}) for name in ("all", "any")]
    for name, needs in lists:
        _check_repeats(needs.get(name) or (), (*path, "requires", name), faults)
    _check_repeats(rule.get("visibility") or (), (*path, "visibility"), faults)
    if rule.get("visibility") == []:
        faults.add((*path, "visibility"), "is empty; a restriction needs a way to be carried out")


def _check_count(count: Mapping[str, Any], path: Path, faults: Faults) -> None:
    _check_value(count.get("within"), read_duration, (*path, "within"), faults)
    hits, of = count.get("hits"), count.get("of")
    if hits is not None and of is not None and hits > of:
        faults.add((*path, "hits"), f"asks for {hits} hits of {of} clips")


def _check_general(body: Mapping[str, Any], path: Path, faults: Faults) -> None:
    fail_safe = body.get("fail_safe") or {}
    _check_repeats(fail_safe.get("required") or (), (*path, "fail_safe", "required"), faults)
    for modality in fail_safe.get("required") or ():
        if (fail_safe.get(modality) or {}).get("on_missing") in ("allow", "ignore"):
            faults.add(
                (*path, "fail_safe", modality, "on_missing"),
                f"must be review or more: {modality} is required",
            )
    ttl = (body.get("state") or {}).get("ttl")
    ttl_path = (*path, "state", "ttl")
    _check_value(ttl, read_duration, ttl_path, faults)
    if ttl is not None and not faults.found and not MIN_TTL_MS <= read_duration(ttl) <= MAX_TTL_MS:
        faults.add(ttl_path, f"is {ttl}; accepted is 1s to 1d")
    for name, stratum in ((body.get("review") or {}).get("strata") or {}).items():
        place = (*path, "review", "strata", name)
        if stratum is None:
            continue
        _check_label_name(stratum["label"], (*place, "label"), faults)
        if stratum["low"] >= stratum["high"]:
            faults.add((*place, "low"), "must be under high")


def _check_lists(data: Mapping[str, Any], faults: Faults) -> None:
    for section in ("blocklists", "hash_banks"):
        for name, body in (data.get(section) or {}).items():
            _check_label_name(body["label"], (section, name, "label"), faults)
    lists = data.get("blocklists") or {}
    for name, body in (data.get("allow_phrases") or {}).items():
        for index, target in enumerate(body.get("lists") or ()):
            if target not in lists:
                faults.add(
                    ("allow_phrases", name, "lists", index),
                    f"{target!r} is no blocklist; {suggest(target, lists)}",
                )
        if name in lists:
            faults.add(("allow_phrases", name), "is the name of a blocklist too")


def _check_parents(data: Mapping[str, Any], faults: Faults) -> None:
    parents = {
        label: body["parent"]
        for label, body in data["labels"].items()
        if body and body.get("parent")
    }
    for label, parent in parents.items():
        path = ("labels", label, "parent")
        _check_label_name(parent, path, faults)
        seen, at = {label}, parent
        while at not in seen and at in parents:
            seen.add(at)
            at = parents[at]
        if at in seen:
            faults.add(path, f"makes a circle: {label} descends from itself")


def _check_value(value: str | None, read: Callable[[str], int], path: Path, faults: Faults) -> None:
    if value is not None:
        try:
            read(value)
        except ValueError as error:
            faults.add(path, str(error))


def _check_repeats(items: Any, path: Path, faults: Faults) -> None:
    for index, item in enumerate(items):
        if item in items[:index]:
            faults.add((*path, index), f"{item!r} stands here twice")

"""Merged values into the rules that the engine walks.

What two layers say together may be out of order although each alone is not. The stricter value
then wins: a merge can never take an action away that one of its thresholds asks for.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.verdict import Thresholds
from livewarden_ensemble.policy.built_in import GAPS, MODALITIES
from livewarden_ensemble.policy.rule import (
    BankRule,
    Count,
    FailSafe,
    LabelRule,
    Ladder,
    ListMode,
    ListRule,
    Sampling,
    Stratum,
)
from livewarden_ensemble.policy.value import MAX_DURATION_MS, read_duration, read_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_client.wire import Action

# What a hit asks for in each mode, where the list does not say.
MODE_ACTIONS: Final[Mapping[ListMode, Action]] = {
    "evidence": "review",
    "hard": "block",
    "shadow": "review",
    "off": "allow",
}


def build_label(label: str, values: Mapping[str, Any]) -> LabelRule:
    """Build one label's rule from its merged leaves."""
    enter, leave = _read_thresholds(values)
    cooldown_ms = _read_optional(values["cooldown"], 0)
    rungs = values["escalation.ladder"]
    until, shot = values["mode_until"], values["single_shot_block"]
    return LabelRule(
        id=label,
        mode=values["mode"],
        mode_until_ms=None if until is None else read_instant(until),
        enter=enter,
        exit=leave,
        confirm=_read_count("confirm", "needed_for", values, enter.review),
        repeat=_read_count("repeat", "action", values, enter.review),
        half_life_ms=_read_optional(values["half_life"], 0),
        cooldown_ms=cooldown_ms,
        ladder=Ladder(
            counts=values["escalation.counts"],
            cooldown_ms=cooldown_ms,
            forget_ms=_read_optional(values["escalation.forget"], MAX_DURATION_MS),
            rungs=tuple((rung["violations"], rung["action"]) for rung in rungs),
        )
        if rungs
        else None,
        single_shot_block=None if shot == "never" else shot,
        max_automatic_action=values["max_automatic_action"],
        always_review=values["always_review"],
        visibility=tuple(values["visibility"]),
        severity=values["severity"],
        category=values["dsa"],
        needs_all=frozenset(values["requires.all"]),
        needs_any=frozenset(values["requires.any"]),
        gaps={gap: values[f"fail_safe.on_{gap}"] for gap in GAPS},
    )


def find_disorder(values: Mapping[str, Any]) -> str | None:
    """Say which of a label's merged thresholds do not rise, or end above where they start."""
    enters = [(name, values[f"thresholds.{name}.enter"]) for name in _RISING]
    for (low, below), (high, above) in pairwise(enters):
        if below > above:
            return f"must rise: {low} {below:g} is over {high} {above:g}"
    for name, enter in enters:
        leave = values[f"thresholds.{name}.exit"]
        if leave is not None and leave > enter:
            return f"{name} must end at or under where it starts: exit {leave:g}, enter {enter:g}"
    return None


_RISING: Final = ("review", "restrict", "block")


def _read_thresholds(values: Mapping[str, Any]) -> tuple[Thresholds, Thresholds]:
    block = values["thresholds.block.enter"]
    restrict = min(values["thresholds.restrict.enter"], block)
    review = min(values["thresholds.review.enter"], restrict)
    enters = (review, restrict, block)
    exits = []
    for name, enter in zip(_RISING, enters, strict=True):
        leave = values[f"thresholds.{name}.exit"]
        exits.append(max(0.0, enter - values["hysteresis"]) if leave is None else min(leave, enter))
    return Thresholds(*map(float, enters)), Thresholds(*map(float, exits))


def _read_count(group: str, action: str, values: Mapping[str, Any], review: float) -> Count | None:
    hits, of = values[f"{group}.hits"], values[f"{group}.of"]
    if hits is None:
        return None
    of = hits if of is None else of
    floor = values[f"{group}.min_confidence"]
    return Count(
        hits=min(hits, of),
        of=of,
        within_ms=_read_optional(values[f"{group}.within"], MAX_DURATION_MS),
        floor=review if floor is None else float(floor),
        action=values[f"{group}.{action}"],
    )


def _read_optional(duration: str | None, otherwise: int) -> int:
    return otherwise if duration is None else read_duration(duration)


def build_fail_safe(values: Mapping[str, Any]) -> FailSafe:
    """Build what unseen content asks for."""
    default = values["fail_safe.default"]
    return FailSafe(
        gaps={
            (modality, gap): values[f"fail_safe.{modality}.on_{gap}"] or default
            for modality in MODALITIES
            for gap in GAPS
        },
        required=frozenset(values["fail_safe.required"]),
        min_scored_frames=values["fail_safe.min_scored_frames"],
        nothing_scored=values["fail_safe.nothing_scored"] or default,
        visibility=tuple(values["fail_safe.visibility"]),
    )


def build_sampling(values: Mapping[str, Any]) -> Sampling:
    """Build the rules of the review sample; strata in the order of their names."""
    prefix = "review.strata."
    names = {
        leaf.removeprefix(prefix).rsplit(".", 1)[0] for leaf in values if leaf.startswith(prefix)
    }
    return Sampling(
        salt=values["review.salt"],
        random=values["review.random"],
        band=values["review.near_threshold.band"],
        band_share=values["review.near_threshold.share"],
        strata=tuple(
            Stratum(name, **{part: values[f"{prefix}{name}.{part}"] for part in _STRATUM})
            for name in sorted(names)
            if all(f"{prefix}{name}.{part}" in values for part in _STRATUM)
        ),
    )


_STRATUM: Final = ("label", "low", "high", "share")


def build_list(name: str, label: str, values: Mapping[str, Any]) -> ListRule:
    """Build what a hit of one blocklist asks for."""
    mode, action = (values[f"blocklists.{name}.{leaf}"] for leaf in ("mode", "action"))
    return ListRule(name, label, mode, action or MODE_ACTIONS[mode])


def build_bank(name: str, label: str, values: Mapping[str, Any]) -> BankRule:
    """Build what a match of one hash bank asks for."""
    get = {
        leaf: values[f"hash_banks.{name}.{leaf}"]
        for leaf in ("mode", "action", "max_distance", "min_quality", "enabled_ratio")
    }
    return BankRule(name, label, **get | {"action": get["action"] or MODE_ACTIONS[get["mode"]]})

"""Matches: what hits of blocklists and hash banks ask for, and the evidence that they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from livewarden_client.verdict import Evidence, Reason
from livewarden_ensemble.policy.rule import RANK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from livewarden_client.wire import Action
    from livewarden_ensemble.context import Context
    from livewarden_ensemble.policy.hit import HashHit, Hits, ListHit
    from livewarden_ensemble.policy.layer import EffectivePolicy, Policy
    from livewarden_ensemble.policy.rule import BankRule, ListRule

_PDQ_BITS = 256


@dataclass(frozen=True, slots=True)
class Matches:
    """What matched: reasons, evidence, and flags for what is only tried out."""

    reasons: tuple[Reason, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    flags: tuple[str, ...] = ()


NO_MATCHES = Matches()


def judge_hits(
    hits: Hits,
    policy: Policy,
    rules: EffectivePolicy,
    context: Context,
    ceilings: Mapping[str, Action],
) -> Matches:
    """Judge hits by the lists and banks as they apply here; hits of lists gone by are ignored."""
    if not (hits.lists or hits.hashes):
        return NO_MATCHES
    found: dict[str, tuple[ListRule | BankRule, list[Evidence]]] = {}
    for key, listed, item in _pick_lists(hits.lists, policy, rules, context):
        found.setdefault(key, (listed, []))[1].append(item)
    for key, bank, item in _pick_banks(hits.hashes, rules, context):
        found.setdefault(key, (bank, []))[1].append(item)
    reasons: list[Reason] = []
    shown: list[Evidence] = []
    flags: list[str] = []
    for key, (rule, evidence) in found.items():
        action = min(rule.action, ceilings[rule.label], key=RANK.__getitem__)
        if rule.mode == "shadow" or action == "allow":
            flags.append(f"{key}.shadow>={rule.action}")
            continue
        shown += evidence
        what = "an image in the hash bank" if key.startswith("bank.") else "an entry of the list"
        message = f"{what.capitalize()} {rule.name} was found ({len(evidence)} times)."
        reasons.append(Reason(f"{key}.hit", action, message, rule.label))
    return Matches(tuple(reasons), tuple(shown), tuple(flags))


def _pick_lists(
    hits: tuple[ListHit, ...], policy: Policy, rules: EffectivePolicy, context: Context
) -> Iterator[tuple[str, ListRule, Evidence]]:
    for hit in hits:
        rule = rules.lists.get(hit.name)
        if rule is None or rule.mode == "off" or hit.text >= len(context.texts):
            continue
        if hit.allowed_by is not None:
            # A hard list is spared only by phrases that name it.
            allow = policy.matcher.allowed.get(hit.allowed_by)
            if rule.mode != "hard" or (allow and allow.lists and hit.name in allow.lists):
                continue
        info = context.texts[hit.text]
        yield (
            f"list.{hit.name}",
            rule,
            Evidence(
                rule.label,
                info.kind,
                f"texts[{hit.text}]",
                1.0,
                kind="list",
                ts_ms=info.ts_ms,
                span=hit.span,
                normalised=hit.normalised,
                source=hit.name,
                entry=hit.entry,
            ),
        )


def _pick_banks(
    hits: tuple[HashHit, ...], rules: EffectivePolicy, context: Context
) -> Iterator[tuple[str, BankRule, Evidence]]:
    for hit in hits:
        rule = rules.banks.get(hit.name)
        if rule is None or rule.mode == "off":
            continue
        near = hit.distance <= rule.max_distance and hit.quality >= rule.min_quality
        if not near or hit.pick >= rule.enabled_ratio:
            continue
        times = context.frame_ts_ms
        yield (
            f"bank.{hit.name}",
            rule,
            Evidence(
                rule.label,
                "visual",
                f"frames[{hit.frame}]",
                1 - hit.distance / _PDQ_BITS,
                kind="hash",
                ts_ms=times[hit.frame] if hit.frame < len(times) else None,
                source=hit.name,
                entry=hit.entry,
                distance=hit.distance,
            ),
        )

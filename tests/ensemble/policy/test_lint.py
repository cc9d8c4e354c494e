from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from livewarden_client.wire import LABELS
from livewarden_ensemble.policy import Policy, lint

Make = Callable[..., Any]
DSA = {label: {"dsa": "VIOLENCE"} for label in LABELS}
LAYER = {"labels": {"hate": {"severity": 3}}}
WORDS = {"label": "hate", "phrases": ["bad"]}

# What a policy says beyond a clean one, and the one finding that it must get: code and path.
FINDINGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no category": ({"labels": {"hate": {"dsa": None}}}, "dsa.missing", "labels.hate.dsa"),
    "an old category": (
        {"labels": {"hate": {"dsa": "UNSAFE_AND_ILLEGAL_PRODUCTS"}}},
        "dsa.retired",
        "labels.hate.dsa",
    ),
    "a made-up category": (
        {"labels": {"hate": {"dsa": "VIOLENT"}}},
        "dsa.unknown",
        "labels.hate.dsa",
    ),
    "always review": (
        {"labels": {"hate": {"thresholds": {"review": 0}}}},
        "threshold.always",
        "labels.hate.thresholds.review.enter",
    ),
    "no room for review": (
        {"labels": {"hate": {"thresholds": {"review": 0.7}}}},
        "action.unreachable",
        "labels.hate.thresholds.review.enter",
    ),
    "no room for restrict": (
        {"labels": {"hate": {"thresholds": {"restrict": 0.9}}}},
        "action.unreachable",
        "labels.hate.thresholds.restrict.enter",
    ),
    "a capped threshold": (
        {"labels": {"hate": {"max_automatic_action": "restrict", "thresholds": {"block": 0.92}}}},
        "action.capped",
        "labels.hate.thresholds.block.enter",
    ),
    "a shot before the block": (
        {"labels": {"hate": {"single_shot_block": 0.6}}},
        "shot.early",
        "labels.hate.single_shot_block",
    ),
    "a cooldown over the memory": (
        {"labels": {"hate": {"cooldown": "2h"}}},
        "memory.short",
        "labels.hate.cooldown",
    ),
    "a ladder that adds nothing": (
        {"labels": {"hate": {"escalation": {"ladder": [{"violations": 2, "action": "review"}]}}}},
        "ladder.no_effect",
        "labels.hate.escalation.ladder",
    ),
    "a repeat that adds nothing": (
        {"labels": {"hate": {"repeat": {"hits": 2, "of": 3, "min_confidence": 0.6}}}},
        "repeat.no_effect",
        "labels.hate.repeat.min_confidence",
    ),
    "an override of nothing": (
        {"labels": {"hate": {"severity": 3}}, "regions": {"DE": LAYER}},
        "override.no_effect",
        "region:DE.labels.hate.severity",
    ),
    "an override of nothing general": (
        {"regions": {"DE": {"state": {"ttl": "1h"}}}},
        "override.no_effect",
        "region:DE.state.ttl",
    ),
    "defaults that loosen a label": (
        {
            "labels": {"hate": {"thresholds": {"review": 0.2}}},
            "surfaces": {"kids": {"defaults": {"thresholds": {"review": 0.4}}}},
        },
        "override.loosens",
        "surface:kids.defaults.thresholds.review.enter",
    ),
    "two layers out of order": (
        {
            "regions": {"DE": {"labels": {"hate": {"thresholds": {"review": 0.65}}}}},
            "rooms": {"r": {"labels": {"hate": {"thresholds": {"restrict": 0.6}}}}},
        },
        "threshold.pair",
        "room:r.labels.hate.thresholds",
    ),
    "a list of a silent label": (
        {"labels": {"hate": {"mode": "shadow"}}, "blocklists": {"w": WORDS}},
        "list.silent",
        "blocklists.w.mode",
    ),
    "evidence that blocks": (
        {"blocklists": {"w": WORDS | {"action": "block"}}},
        "list.strong_evidence",
        "blocklists.w.mode",
    ),
    "a phrase that spares itself": (
        {"blocklists": {"w": WORDS}, "allow_phrases": {"f": {"phrases": ["BAD"]}}},
        "allow.spares_entry",
        "allow_phrases.f",
    ),
    "a phrase that spares nothing": (
        {"blocklists": {"w": WORDS}, "allow_phrases": {"f": {"phrases": ["good"]}}},
        "allow.no_effect",
        "allow_phrases.f",
    ),
    "a sample without a salt": ({"review": {"random": 0.1}}, "sample.salt", "review.salt"),
    "a short memory": ({"state": {"ttl": "5s"}}, "state.short", "state.ttl"),
    "a mode that is over": (
        {"labels": {"hate": {"mode": "shadow", "mode_until": "2020-01-01"}}},
        "mode.expired",
        "labels.hate.mode_until",
    ),
}


def clean(change: dict[str, Any]) -> dict[str, Any]:
    """`change`, with a category for every label that has none of its own."""
    labels = {label: DSA[label] | change.get("labels", {}).get(label, {}) for label in LABELS}
    return change | {"labels": labels}


def test_a_clean_policy_has_no_findings(make_policy: Make) -> None:
    """The policy that the others are made of gives nothing to remark."""
    assert lint(make_policy(clean({})), now_ms=1_700_000_000_000) == []


@pytest.mark.parametrize("name", FINDINGS)
def test_every_finding(name: str, make_policy: Make) -> None:
    """Each odd policy gets its one finding, at a line that exists."""
    change, code, path = FINDINGS[name]
    policy = make_policy(clean(change))
    found = lint(policy, now_ms=1_700_000_000_000)
    assert [(finding.code, finding.path) for finding in found] == [(code, path)]
    lines = policy.path.read_text().splitlines()
    assert 1 <= found[0].line <= len(lines)
    assert 1 <= found[0].column <= len(lines[found[0].line - 1]) + 1


def test_a_label_that_no_model_scores(make_policy: Make) -> None:
    """Only labels that are switched on are remarked."""
    policy = make_policy(clean({"labels": {"gambling": {"mode": "off"}}}))
    found = lint(policy, unsupported=("gambling", "hate"))
    assert [(finding.code, finding.path) for finding in found] == [
        ("label.unsupported", "labels.hate.mode")
    ]


def test_a_label_that_the_file_leaves_out(make_policy: Make) -> None:
    """A label that only the defaults speak of is noted, once."""
    found = lint(make_policy({"defaults": {"dsa": "VIOLENCE"}, "labels": {"hate": {}}}))
    assert {finding.code for finding in found} == {"label.unlisted"}
    assert len(found) == len(LABELS) - 1


def test_the_policy_that_ships_is_clean(policy: Policy) -> None:
    """Nothing worse than a note stands against it."""
    assert [finding for finding in lint(policy) if finding.severity != "note"] == []


def test_expired_shadows(make_policy: Make) -> None:
    """A trial that is over is remarked."""
    shadow = 'policy: {id: next, version: "2", taxonomy: t1.0}\ndefaults: {}\nlabels: {}\n'
    policy = make_policy(
        clean({"shadow": [{"file": "next.yaml", "until": "2020-01-01"}]}), next__yaml=shadow
    )
    assert [finding.code for finding in lint(policy, now_ms=1_700_000_000_000)] == [
        "shadow.expired"
    ]

"""What holds where a policy says nothing. The strict side: unseen content is reviewed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from livewarden_client.wire import TEXT_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_ensemble.policy.rule import Gap, Modality

MODALITIES: Final[tuple[Modality, ...]] = ("frames", *TEXT_KINDS)
GAPS: Final[tuple[Gap, ...]] = ("missing", "corrupt", "timeout", "model_error", "skipped")

# Dotted leaf of a label's rule to its value; None means that there is no such rule.
LABEL: Final[Mapping[str, Any]] = {
    "severity": 0,
    "dsa": None,
    "mode": "enforce",
    "mode_until": None,
    "thresholds.review.enter": 0.5,
    "thresholds.review.exit": None,
    "thresholds.restrict.enter": 0.8,
    "thresholds.restrict.exit": None,
    "thresholds.block.enter": 0.95,
    "thresholds.block.exit": None,
    "hysteresis": 0.0,
    "confirm.hits": None,
    "confirm.of": None,
    "confirm.within": None,
    "confirm.min_confidence": None,
    "confirm.needed_for": "restrict",
    "repeat.hits": None,
    "repeat.of": None,
    "repeat.within": None,
    "repeat.min_confidence": None,
    "repeat.action": "review",
    "half_life": None,
    "cooldown": None,
    "escalation.counts": "restrict",
    "escalation.forget": "1h",
    "escalation.ladder": None,
    "single_shot_block": None,
    "max_automatic_action": "block",
    "always_review": False,
    "visibility": ("demote",),
    "requires.all": (),
    "requires.any": (),
    **{f"fail_safe.on_{gap}": "review" for gap in GAPS},
}

# The rest. A `fail_safe` leaf that is None follows `fail_safe.default`.
GENERAL: Final[Mapping[str, Any]] = {
    "fail_safe.default": "review",
    **{f"fail_safe.{modality}.on_{gap}": None for modality in MODALITIES for gap in GAPS},
    "fail_safe.required": (),
    "fail_safe.min_scored_frames": 0,
    "fail_safe.nothing_scored": None,
    "fail_safe.visibility": ("demote",),
    "review.salt": "",
    "review.random": 0.0,
    "review.near_threshold.band": 0.0,
    "review.near_threshold.share": 1.0,
    "state.ttl": "1h",
    "state.on_refused": "review",
}

# One blocklist (the first two) or hash bank. An action of None is what its mode asks for.
LIST: Final[Mapping[str, Any]] = {
    "mode": "evidence",
    "action": None,
    "max_distance": 31,
    "min_quality": 50,
    "enabled_ratio": 1.0,
}

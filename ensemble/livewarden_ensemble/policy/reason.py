"""Reasons: what each label asks for in words, with a code for machines.

A code is `<label>.<cause>`, or `<label>.score>=<action>` where the score alone decides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from livewarden_client.verdict import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livewarden_client.wire import Action
    from livewarden_ensemble.policy.rule import LabelRule
    from livewarden_ensemble.policy.temporal import Cause, Judged


def _say_score(rule: LabelRule, score: float, judged: Judged) -> str:
    threshold = getattr(rule.enter, judged.asked)
    return (
        f"{rule.id} scored {score:.2f}, at or over the threshold {threshold:.2f} for {judged.asked}"
    )


def _say_single_shot(rule: LabelRule, score: float, _: Judged) -> str:
    return (
        f"{rule.id} scored {score:.2f}, at or over {rule.single_shot_block:.2f}, "
        "which blocks at once"
    )


def _say_confirm(rule: LabelRule, score: float, judged: Judged) -> str:
    if rule.confirm is None:
        return f"{rule.id} waits to be confirmed"
    return (
        f"{rule.id} scored {score:.2f}; {judged.hits} of the last {rule.confirm.of} clips confirm "
        f"it, and {rule.confirm.action} needs {rule.confirm.hits}"
    )


def _say_repeat(rule: LabelRule, _: float, judged: Judged) -> str:
    if rule.repeat is None:
        return f"{rule.id} came back too often"
    return (
        f"{rule.id} scored {rule.repeat.floor:.2f} or more in {rule.repeat.hits} or more of the "
        f"last {rule.repeat.of} clips, which asks for {judged.asked}"
    )


def _say_hold(rule: LabelRule, _: float, judged: Judged) -> str:
    if judged.stream_score is None:
        return f"{rule.id} was not scored, so the stream stays at {judged.asked}"
    ends = getattr(rule.exit, judged.asked)
    return (
        f"{rule.id} stays at {judged.asked}: the stream is at {judged.stream_score:.2f}, and that "
        f"ends under {ends:.2f} in a clip that was fully seen"
    )


def _say_escalate(rule: LabelRule, _: float, judged: Judged) -> str:
    return f"{rule.id} has offended {judged.memory.violations} times, which asks for {judged.asked}"


def _say_cool(rule: LabelRule, _: float, judged: Judged) -> str:
    return (
        f"{rule.id} stays at {judged.asked} for the {rule.cooldown_ms / 1000:g} s of its cooldown"
    )


# Cause to the end of its code, and its sentence.
CAUSES: Final[Mapping[Cause, tuple[str, Callable[[LabelRule, float, Judged], str]]]] = {
    "score": ("score", _say_score),
    "single_shot": ("single_shot", _say_single_shot),
    "confirm": ("unconfirmed", _say_confirm),
    "repeat": ("repeated", _say_repeat),
    "hold": ("held", _say_hold),
    "escalate": ("escalated", _say_escalate),
    "cool": ("cooldown", _say_cool),
}


def explain_label(rule: LabelRule, score: float | None, judged: Judged, action: Action) -> Reason:
    """Explain what a label asks for; `action` is what is left of it under the label's ceiling."""
    if judged.cause == "score" and score is not None and math.isnan(score):
        code, message = "score.invalid", f"{rule.id} has no score that is a number"
    else:
        code, say = CAUSES[judged.cause]
        message = say(rule, math.nan if score is None else score, judged)
        if judged.cause == "score":
            code = f"score>={judged.asked}"
    if action != judged.asked:
        message += f"; the policy lets it ask for {action} at most"
    return Reason(f"{rule.id}.{code}", action, f"{message}.", rule.id)

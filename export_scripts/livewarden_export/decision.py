"""Would a verdict change? The pipeline, the shipped policy and real clips, on other artefacts.

A difference of 0.01 in an embedding means nothing to a moderator; an action that flips does. The
evaluation clips are the pictures and sentences of `sample.py` with one sentence that speaks for
each label, so that every action and both sides of the thresholds occur.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import ECHO, LABELS, LEAVES, NONCE, TEXT_KINDS, Action
from livewarden_ensemble.bundle import Bundle, read_calibration
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.leaf_call import Arrays, LeafCall
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import Policy, effective, load_policy
from livewarden_export.errors import DecisionBreach
from livewarden_export.parity import Infer
from livewarden_export.prototype import BENIGN, PROTOTYPES
from livewarden_export.recipe import DecisionBudget, Tensors
from livewarden_export.sample import SENTENCES, load_frames
from livewarden_export.table import format_rows

CLIPS: Final = 24


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the pipeline said of one clip; `scores` [L], NaN where a label was not scored."""

    clip: str
    action: Action
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shift:
    """How one clip's verdict moved.

    `largest` is the largest change of a score, at `label`. `slack` is how much more any score could
    have moved before it met a threshold of its label: below 0, one has crossed.
    """

    clip: str
    before: Action
    after: Action
    label: str
    largest: float
    slack: float

    @property
    def flipped(self) -> bool:
        """Whether the action is another one."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Decisions:
    """All clips' shifts for one set of artefacts, against their sources."""

    shifts: tuple[Shift, ...]

    @property
    def flips(self) -> int:
        """Clips whose action is another one."""
        return sum(shift.flipped for shift in self.shifts)

    @property
    def largest(self) -> float:
        """The largest change of any score."""
        return max(shift.largest for shift in self.shifts)

    @property
    def slack(self) -> float:
        """The least slack of any clip."""
        return min(shift.slack for shift in self.shifts)

    def fits(self, budget: DecisionBudget) -> bool:
        """Whether no more moved than is allowed."""
        return self.flips <= budget.max_flips and self.largest <= budget.max_shift

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for the manifest."""
        return {
            "clips": len(self.shifts),
            "flips": self.flips,
            "largest_shift": self.largest,
            "least_slack": self.slack,
            "shifts": [asdict(shift) for shift in self.shifts],
        }


def judge_clips(
    leaves: Mapping[str, Infer], policy: Policy, tokenizer: Path
) -> tuple[Judgement, ...]:
    """Run the evaluation clips through the pipeline on `leaves`, one callable per leaf.

    `tokenizer` is a tokenizer.json in a folder that is read like a bundle's, with the calibration
    beside it. A leaf that fails raises: a partial verdict is nothing to compare with.
    """

    def infer(calls: Sequence[LeafCall]) -> list[Arrays]:
        return [leaves[call.model.name](call.inputs) for call in calls]

    bundle = Bundle(
        digest="evaluation",
        folder=tokenizer.parent,
        versions={leaf.name: "1" for leaf in LEAVES},
        calibration=read_calibration(tokenizer.parent),
    )
    pipeline = Pipeline(bundle, policy, infer, server="export")
    judgements = []
    for name, clip in make_clips():
        (outcome,) = pipeline.moderate([clip])
        assert outcome.verdict is not None
        assert outcome.scores is not None
        judgements.append(Judgement(name, outcome.verdict.action, outcome.scores))
    return tuple(judgements)


def remember_answers(infer: Infer) -> Infer:
    """`infer` that computes nothing twice: a search asks the same clips of most leaves again."""
    known: dict[bytes, Mapping[str, NDArray[Any]]] = {}

    def answer(inputs: Tensors) -> Mapping[str, NDArray[Any]]:
        digest = hashlib.sha256()
        for name in sorted(inputs.keys() - {NONCE.name}):
            digest.update(f"{name} {inputs[name].shape} ".encode())
            digest.update(np.ascontiguousarray(inputs[name]).data)
        key = digest.digest()
        if key not in known:
            known[key] = infer(inputs)
        return {**known[key], ECHO.name: inputs[NONCE.name]}

    return answer


def compare_judgements(
    before: Sequence[Judgement], after: Sequence[Judgement], policy: Policy
) -> Decisions:
    """Clip by clip, how far `after` is from `before`."""
    return Decisions(
        tuple(_compare(old, new, policy) for old, new in zip(before, after, strict=True))
    )


def check_decisions(decisions: Decisions, budget: DecisionBudget, what: str) -> None:
    """Raise DecisionBreach, with a table of the clips that moved most, unless within `budget`."""
    if decisions.fits(budget):
        return
    raise DecisionBreach(
        f"{what}: {decisions.flips} of {len(decisions.shifts)} evaluation clips change their "
        f"action (allowed: {budget.max_flips}), largest score change {decisions.largest:.3f} "
        f"(allowed: {budget.max_shift:.3f})",
        format_shifts(decisions.shifts),
    )


def format_shifts(shifts: Iterable[Shift]) -> str:
    """The shifts as a text table, flips first, then the least slack."""
    rows = sorted(shifts, key=lambda shift: (not shift.flipped, shift.slack))
    return format_rows(
        ("clip", "before", "after", "label moved most", "by", "slack", ""),
        [
            (
                row.clip,
                row.before,
                row.after,
                row.label,
                f"{row.largest:.4f}",
                f"{row.slack:+.4f}",
                "FLIP" if row.flipped else "",
            )
            for row in rows
        ],
    )


def load_decision_policy(budget: DecisionBudget) -> Policy:
    """The policy that the budget names."""
    return load_policy(budget.policy)


def make_clips() -> list[tuple[str, RawClip]]:
    """The evaluation clips, each with its name: one to three pictures, none to three texts."""
    frames = load_frames()
    loud = [(label, texts[-1]) for label, texts in PROTOTYPES.items()]
    clips = []
    for index in range(CLIPS):
        shown = frames[[(index * 5 + step) % len(frames) for step in range(1 + index % 3)]]
        if index < len(loud):
            label, sentence = loud[index]
            name, texts = f"{index:02} {label}", [sentence, SENTENCES[index % len(SENTENCES)]]
        else:
            name = f"{index:02} benign"
            texts = [*SENTENCES[: index % 3], BENIGN[index % len(BENIGN)]]
        infos = [{"kind": TEXT_KINDS[(index + i) % len(TEXT_KINDS)]} for i in range(len(texts))]
        context = json.dumps({"texts": infos}).encode()
        clips.append((name, RawClip(context, (), [text.encode() for text in texts], shown)))
    return clips


def _compare(before: Judgement, after: Judgement, policy: Policy) -> Shift:
    known = np.isfinite(before.scores)
    if not np.array_equal(known, np.isfinite(after.scores)):
        return Shift(before.clip, before.action, after.action, "", np.inf, -np.inf)
    moved = np.where(known, np.abs(after.scores - before.scores), 0.0)
    distances = [
        min(abs(float(score) - bound) for bound in _list_bounds(policy, label)) - float(move)
        for label, score, move in zip(LABELS, before.scores, moved, strict=True)
        if np.isfinite(score)
    ]
    worst = int(moved.argmax())
    return Shift(
        before.clip,
        before.action,
        after.action,
        LABELS[worst],
        float(moved[worst]),
        min(distances, default=np.inf),
    )


def _list_bounds(policy: Policy, label: str) -> tuple[float, float, float]:
    bounds = effective(policy).by_label[label].enter
    return bounds.review, bounds.restrict, bounds.block

"""Clips that are written down: what was scored of them, and what became of the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Final

import msgspec
import numpy as np

from livewarden_client.verdict import Coverage, ModalityCoverage
from livewarden_client.wire import LABELS, MODALITIES, TEXT_KINDS, Action, TextKind
from livewarden_ensemble.coverage import (
    SEEN_FRAME,
    SEEN_TEXT,
    WHOLE_FRAME,
    WHOLE_TEXT,
    FrameState,
    TextState,
)
from livewarden_ensemble.fuse import ClipScores
from livewarden_ensemble.policy.document import Duration, Part, Score
from livewarden_ensemble.policy.fault import Faults, Path
from livewarden_ensemble.policy.nearest import suggest
from livewarden_ensemble.policy.rule import Modality, Visibility

_STATES: Final[Mapping[str, type[FrameState | TextState]]] = {
    "frames": FrameState,
    **dict.fromkeys(TEXT_KINDS, TextState),
}


class Expectation(Part, frozen=True):
    """What must come out; what is left out may be anything.

    `reasons` are codes that must be among the reasons, `absent` codes that must not. `review` says
    whether a person is to look, `visibility` how a restriction is carried out.
    """

    action: Action
    label: str | msgspec.UnsetType | None = msgspec.UNSET
    reasons: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    review: bool | None = None
    visibility: tuple[Visibility, ...] | None = None


class GivenText(Part, frozen=True):
    """One text; its words matter only to blocklists."""

    kind: TextKind
    text: str = ""
    lang: str = ""


_WHOLE_TEXTS: Final = tuple(GivenText(kind) for kind in TEXT_KINDS)


class GivenClip(Part, frozen=True, kw_only=True):
    """One clip. `at` is its time since the first one, 5 s after the one before if left out.

    `scores` gives a label one score, or one per modality; the others have 0. `states` says what
    became of frames or texts: of all of a kind, or of how many. `failed` maps stages to causes.
    `scored: false` is a clip that no model answered for.
    """

    expect: Action | Expectation | None = None
    at: Duration | None = None
    scores: Mapping[str, Score | dict[str, Score]] = {}
    frames: Annotated[int, msgspec.Meta(ge=0, le=64)] = 4
    texts: Annotated[tuple[GivenText, ...], msgspec.Meta(max_length=64)] = _WHOLE_TEXTS
    states: Mapping[Modality, str | dict[str, int]] = {}
    failed: Mapping[str, str] = {}
    scored: bool = True


def check_clip(clip: GivenClip, path: Path, faults: Faults) -> None:
    """Check what the types cannot say: names of labels, modalities and states."""
    for label, score in clip.scores.items():
        here = (*path, "scores", label)
        if label not in LABELS:
            faults.add(here, f"is no label; {suggest(label, LABELS)}")
        for name in score if isinstance(score, dict) else ():
            if name not in MODALITIES:
                faults.add((*here, name), f"is no modality; {suggest(name, MODALITIES)}")
    for kind, given in clip.states.items():
        known = [state.value for state in _STATES[kind]]
        for state in given if isinstance(given, dict) else (given,):
            if state not in known:
                faults.add((*path, "states", kind), f"is no state; {suggest(state, known)}")


def score_clip(clip: GivenClip, coverage: Coverage) -> ClipScores | None:
    """The scores that the clip gives; None where nothing of it was seen."""
    if not clip.scored or not coverage.frames.scored + coverage.texts.scored:
        return None
    present = tuple(name not in coverage.missing for name in MODALITIES)
    modality = np.zeros((len(MODALITIES), len(LABELS)), np.float32)
    joint = np.zeros(len(LABELS), np.float32)
    for label, given in clip.scores.items():
        column = LABELS.index(label)
        scores = given if isinstance(given, dict) else dict.fromkeys(MODALITIES, given)
        for row, name in enumerate(MODALITIES):
            modality[row, column] = scores.get(name, 0.0) if present[row] else 0.0
        joint[column] = max(scores.values(), default=0.0)
    none = np.zeros((0, len(LABELS)), np.float32)
    return ClipScores(joint, modality, none, none, present)


def cover_clip(clip: GivenClip) -> Coverage:
    """Write the coverage of a clip in these states."""
    frames = _list_states(clip.states.get("frames"), clip.frames, FrameState)
    texts = [TextState.OK.value] * len(clip.texts)
    for kind in TEXT_KINDS:
        own = [index for index, text in enumerate(clip.texts) if text.kind == kind]
        states = _list_states(clip.states.get(kind), len(own), TextState)
        for index, state in zip(own, states, strict=True):
            texts[index] = state
    sent = {text.kind for text in clip.texts} | ({"visual"} if clip.frames else set())
    return Coverage(
        frames=_count_states(frames, SEEN_FRAME if clip.scored else ()),
        texts=_count_states(texts, SEEN_TEXT if clip.scored else ()),
        missing=tuple(name for name in MODALITIES if name not in sent),
        failed=clip.failed,
        degraded=bool(clip.failed)
        or not clip.scored
        or not (WHOLE_FRAME.issuperset(frames) and WHOLE_TEXT.issuperset(texts)),
    )


def _list_states(
    given: str | dict[str, int] | None, count: int, kind: type[FrameState | TextState]
) -> list[str]:
    """One state per item, in the order in which they are given; the rest is ok."""
    named = {given: count} if isinstance(given, str) else given or {}
    listed = [state for state, times in named.items() for _ in range(times)][:count]
    return [*listed, *[kind.OK.value] * (count - len(listed))]


def _count_states(states: Sequence[str], seen: Collection[str]) -> ModalityCoverage:
    scored = sum(state in seen for state in states)
    return ModalityCoverage(
        sent=len(states),
        decoded=scored,
        scored=scored,
        states={
            state: tuple(index for index, other in enumerate(states) if other == state)
            for state in dict.fromkeys(states)
            if state != "ok"
        },
    )

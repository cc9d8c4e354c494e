"""The record of one clip: all that a policy needs to decide on it again, without its content.

No pixels, no texts, no author, nothing that the caller passed through: scores, coverage, places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np

from livewarden_client.verdict import Coverage
from livewarden_ensemble.context import Context
from livewarden_ensemble.fuse import ClipScores
from livewarden_ensemble.policy import NO_HITS, Hits, decide
from livewarden_ensemble.stream_state import FRESH, Fault, StreamState

if TYPE_CHECKING:
    from livewarden_ensemble.policy import Decision, Policy

RECORD_SCHEMA: Final = "livewarden.record/v1"
_NO_LABEL: Final = np.zeros((0, 0), np.float32)


class Scores(msgspec.Struct, frozen=True):
    """A clip's scores as numbers: `joint` [L], `modality` [M][L], `present` [M].

    `frames` [T][L] and `texts` [S][L] may be left out: no decision depends on them.
    """

    joint: tuple[float, ...]
    modality: tuple[tuple[float, ...], ...]
    present: tuple[bool, ...]
    frames: tuple[tuple[float, ...], ...] = ()
    texts: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def from_clip(cls, scores: ClipScores) -> Scores:
        """The numbers of `scores` that decide."""
        return cls(
            joint=tuple(scores.joint.tolist()),
            modality=tuple(map(tuple, scores.modality.tolist())),
            present=scores.present,
        )

    def to_clip(self) -> ClipScores:
        """The arrays again, equal to the last bit."""
        return ClipScores(
            np.array(self.joint, np.float32),
            np.array(self.modality, np.float32),
            np.array(self.frames, np.float32) if self.frames else _NO_LABEL,
            np.array(self.texts, np.float32) if self.texts else _NO_LABEL,
            self.present,
        )


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What `decide` was asked about one clip. One JSON object per line makes a file of records.

    `start` says what the stream's state was taken from: `token` is the one of its clip before,
    `none` a fresh state, and any other why a token was refused. Replaying a stream's records in
    their order, each with the state that the last one left, gives its verdicts again.
    """

    now_ms: int
    context: Context
    coverage: Coverage
    scores: Scores | None = None
    hits: Hits = NO_HITS
    start: Literal["token", "none"] | Fault = "none"
    schema: str = RECORD_SCHEMA


def make_record(
    scores: ClipScores | None,
    coverage: Coverage,
    context: Context,
    state: StreamState,
    now_ms: int,
    hits: Hits = NO_HITS,
) -> Record:
    """Make the record of what `decide` is asked, with everything personal or secret left out."""
    options = msgspec.structs.replace(context.options, server_key="")
    texts = tuple(msgspec.structs.replace(text, author_ref=None) for text in context.texts)
    return Record(
        now_ms=now_ms,
        context=msgspec.structs.replace(
            context, nonce="", state=None, pass_through=None, texts=texts, options=options
        ),
        coverage=coverage,
        scores=None if scores is None else Scores.from_clip(scores),
        hits=hits,
        start=state.fault or ("none" if state.seq < 0 else "token"),
    )


def decide_record(
    record: Record, state: StreamState, policy: Policy
) -> tuple[Decision, StreamState]:
    """Decide on a record again; `state` is what the stream's record before left, FRESH at first."""
    if record.start == "none":
        state = FRESH
    elif record.start != "token":
        state = StreamState(fault=record.start)
    scores = None if record.scores is None else record.scores.to_clip()
    return decide(
        scores, record.coverage, record.context, state, policy, record.now_ms, record.hits
    )

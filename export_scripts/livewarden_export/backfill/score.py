"""One part, scored by a client: every clip of it ends as a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from livewarden_client.client import Client
from livewarden_client.clip import Clip
from livewarden_client.errors import (
    DeadlineExceeded,
    FarSideFailed,
    ModerationError,
    Overloaded,
    Unavailable,
)
from livewarden_client.verdict import Verdict
from livewarden_export.backfill.row import RecordedClip, Row

# What may be over in a while: a restart, a publish, a flood of other callers.
_PASSING: Final = (Unavailable, Overloaded, DeadlineExceeded)
_ROUNDS: Final = 3
# States of frames and texts that another try may mend.
_UNFINISHED: Final = ("late", "unscored")


def score_part(
    clips: Iterable[RecordedClip], client: Client, in_flight: int, patience_s: float
) -> list[Row]:
    """Score `clips` with `in_flight` of them on their way; rows come in the order of `clips`.

    Clips that the server could not take are asked again, twice at most, once it has become ready
    within `patience_s`; so are those that it could not score in full. One that stays so is a row
    with the error Overloaded: a verdict of the server's load says nothing of the clip. `client`
    must raise on failure. Media are read as they are needed.
    """
    waiting = list(clips)
    rows: dict[str, Row] = {}
    order = [clip.id for clip in waiting]
    for turn in range(_ROUNDS):
        if turn and not _wait_for(client, patience_s):
            break
        failed = []
        for clip, row, passing in _score_once(waiting, client, in_flight):
            rows[clip.id] = row
            if passing:
                failed.append(clip)
        waiting = failed
        if not waiting:
            break
    return [rows[identity] for identity in order]


def _score_once(
    clips: list[RecordedClip], client: Client, in_flight: int
) -> Iterator[tuple[RecordedClip, Row, bool]]:
    """Ask for each of `clips` once; tell with each row whether its failure may pass."""
    sent: list[RecordedClip] = []
    unread: list[tuple[RecordedClip, Exception]] = []

    def load() -> Iterator[Clip]:
        for clip in clips:
            try:
                loaded = clip.load()
            except (OSError, ModerationError) as error:
                unread.append((clip, error))
            else:
                sent.append(clip)
                yield loaded

    for index, outcome in client.moderate_many(load(), concurrency=in_flight):
        if isinstance(outcome, Verdict) and _is_unfinished(outcome):
            outcome = Overloaded("the clip was not scored in full")  # noqa: PLW2901 - it is one
        if isinstance(outcome, ModerationError):
            row = Row.from_error(sent[index], outcome)
            yield sent[index], row, isinstance(outcome, _PASSING)
        else:
            yield sent[index], Row.from_verdict(sent[index], outcome), False
    for clip, error in unread:
        yield clip, Row.from_error(clip, error), False


def _is_unfinished(verdict: Verdict) -> bool:
    """Whether a verdict leaves out what was sent for want of time or of a stage, not for itself."""
    coverage = verdict.coverage
    return bool(coverage.failed) or any(
        modality.states.get(state)
        for modality in (coverage.frames, coverage.texts)
        for state in _UNFINISHED
    )


def _wait_for(client: Client, seconds: float) -> bool:
    try:
        client.wait_for_ready(seconds)
    except FarSideFailed:
        return False
    return True

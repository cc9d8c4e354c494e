"""Replay: what policies say of recorded clips, and where two of them differ.

The old side is another policy, or what was decided live. Streams keep their own state under each
policy, so a replay tells what would have happened, not what one clip alone would have got.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from livewarden_client.wire import ACTIONS, Action
from livewarden_ensemble.record import decide_record
from livewarden_ensemble.recording import sum_up_decision
from livewarden_ensemble.stream_state import FRESH

if TYPE_CHECKING:
    from livewarden_ensemble.context import Context
    from livewarden_ensemble.policy import Policy
    from livewarden_ensemble.recording import Decided, Recording
    from livewarden_ensemble.stream_state import StreamState

# Of a clip whose recording does not say what was decided.
UNKNOWN: Final = "unknown"
Side = Literal["old", "new"]


class Change(msgspec.Struct, frozen=True):
    """One clip on which the two sides differ, by its record's line; `codes` are the new ones."""

    line: int
    request_id: str
    stream_id: str
    clip_seq: int
    place: str
    old: Action
    new: Action
    old_label: str | None
    new_label: str | None
    codes: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """Counts over the clips of a replay, and the clips on which its sides differ.

    `actions` counts (old, new); `labels` counts (label, old, new) for what each label asked;
    `codes` counts (side, reason code), `reviews` the clips that a side wants a person to see,
    `switches` how often a side's action changed along a stream. Of `changes` at most `keep` are
    kept for each pair of actions, the first of the file; None keeps all.
    """

    keep: int | None = None
    records: int = 0
    streams: int = 0
    actions: Counter[tuple[str, Action]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str, Action]] = field(default_factory=Counter)
    codes: Counter[tuple[Side, str]] = field(default_factory=Counter)
    reviews: Counter[Side] = field(default_factory=Counter)
    switches: Counter[Side] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many clips get another action, of those whose old one is known."""
        return sum(n for (old, new), n in self.actions.items() if old not in {new, UNKNOWN})

    @property
    def stricter(self) -> int:
        """How many clips get a stronger action."""
        return sum(
            n
            for (old, new), n in self.actions.items()
            if old != UNKNOWN and ACTIONS.index(old) < ACTIONS.index(new)
        )

    def count_action(self, action: Action, side: Side) -> int:
        """How many clips `side` gives `action`."""
        return sum(n for pair, n in self.actions.items() if pair[side == "new"] == action)

    def count_label(self, label: str, action: Action, side: Side) -> int:
        """For how many clips `label` asks for `action` on `side`."""
        return sum(
            n
            for (name, *pair), n in self.labels.items()
            if (name, pair[side == "new"]) == (label, action)
        )

    def count_moves(self, label: str) -> tuple[int, int]:
        """For how many clips `label` asks for less than before, and for how many more."""
        milder = stricter = 0
        for (name, old, new), count in self.labels.items():
            if name == label and old != UNKNOWN:
                step = ACTIONS.index(new) - ACTIONS.index(old)
                milder += count * (step < 0)
                stricter += count * (step > 0)
        return milder, stricter


def merge_tallies(tallies: Iterable[Tally], keep: int | None) -> Tally:
    """Merge the tallies of parts of a file; the parts make no difference to the result."""
    merged = Tally(keep)
    for tally in tallies:
        merged.records += tally.records
        merged.streams += tally.streams
        for name in ("actions", "labels", "codes", "reviews", "switches"):
            getattr(merged, name).update(getattr(tally, name))
        merged.changes += tally.changes
    merged.changes.sort(key=lambda change: change.line)
    return merged if keep is None else keep_examples(merged, keep)


def keep_examples(tally: Tally, keep: int) -> Tally:
    """Keep of each change of action the `keep` that come first."""
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for change in tally.changes:
        seen[change.old, change.new] += 1
        if seen[change.old, change.new] <= keep:
            kept.append(change)
    return replace(tally, keep=keep, changes=kept)


@dataclass(slots=True)
class _Stream:
    """One stream on both sides: its states, and what its clip before got."""

    old: StreamState = FRESH
    new: StreamState = FRESH
    last: dict[Side, Action] = field(default_factory=dict)


@dataclass(slots=True)
class Replayer:
    """Takes recordings, each stream's in their order, and fills `tally`.

    `old` is None where the live decisions of the recordings are the old side.
    """

    new: Policy
    old: Policy | None = None
    tally: Tally = field(default_factory=Tally)
    _streams: dict[str, _Stream] = field(default_factory=dict)

    def take(self, line: int, recording: Recording) -> None:
        """Replay the recording that stands on line `line`."""
        stream = self._find_stream(recording.context.stream_id)
        decision, stream.new = decide_record(recording, stream.new, self.new)
        new, old = sum_up_decision(decision), recording.decided
        if self.old is not None:
            decision, stream.old = decide_record(recording, stream.old, self.old)
            old = sum_up_decision(decision)
        self._count_side("new", stream, new)
        if old is not None:
            self._count_side("old", stream, old)
        self._count_pair(new, old)
        if old is not None and old.action != new.action:
            self._keep_change(line, recording.context, old, new)

    def _find_stream(self, name: str) -> _Stream:
        if not name:
            return _Stream()  # a clip without a stream has no memory
        if name not in self._streams:
            self._streams[name] = _Stream()
            self.tally.streams += 1
        return self._streams[name]

    def _count_side(self, side: Side, stream: _Stream, decided: Decided) -> None:
        tally = self.tally
        tally.codes.update((side, code) for code in decided.codes)
        tally.reviews[side] += decided.review
        tally.switches[side] += stream.last.get(side, decided.action) != decided.action
        stream.last[side] = decided.action

    def _count_pair(self, new: Decided, old: Decided | None) -> None:
        tally = self.tally
        tally.records += 1
        if old is None:
            tally.actions[UNKNOWN, new.action] += 1
            tally.labels.update((label, UNKNOWN, action) for label, action in new.labels.items())
            return
        tally.actions[old.action, new.action] += 1
        for label in {**old.labels, **new.labels}:
            pair = old.labels.get(label, "allow"), new.labels.get(label, "allow")
            tally.labels[label, *pair] += 1

    def _keep_change(self, line: int, context: Context, old: Decided, new: Decided) -> None:
        tally = self.tally
        # The counts hold this clip already.
        if tally.keep is not None and tally.actions[old.action, new.action] > tally.keep:
            return
        tally.changes.append(
            Change(
                line=line,
                request_id=context.request_id,
                stream_id=context.stream_id,
                clip_seq=context.clip_seq,
                place="/".join(filter(None, (context.region, context.surface, context.audience))),
                old=old.action,
                new=new.action,
                old_label=old.label,
                new_label=new.label,
                codes=new.codes,
            )
        )

"""A replay's counts, put in the order in which people read them: for the terminal and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from livewarden_client.wire import ACTIONS, LABELS
from livewarden_ensemble.replay import UNKNOWN, Change, Side, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CODES: Final = 12


@dataclass(frozen=True, slots=True)
class Title:
    """What was compared with what, in a few words each."""

    old: str
    new: str
    records: str


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both sides; `old` is None where the old side is not known."""

    name: str
    old: int | None
    new: int


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One label: clips on which it asks for less or more, and what it asks for on each side."""

    label: str
    milder: int
    stricter: int
    actions: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """A replay in figures. `matrix[old][new]` counts clips; `rows` names its old sides."""

    title: Title
    records: int
    streams: int
    is_known: bool
    changed: int
    stricter: int
    milder: int
    rows: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    actions: tuple[Line, ...]
    figures: tuple[Line, ...]
    labels: tuple[LabelLine, ...]
    codes: tuple[Line, ...]
    changes: tuple[Change, ...]


def summarise_replay(tally: Tally, title: Title) -> ReplaySummary:
    """Put the counts of `tally` in order: most first, and nothing that is 0 on both sides."""
    unknown = sum(n for (old, _), n in tally.actions.items() if old == UNKNOWN)
    is_known = unknown < tally.records
    rows = (ACTIONS if is_known else ()) + ((UNKNOWN,) if unknown else ())
    labels = [_read_label(tally, label, is_known=is_known) for label in LABELS]
    return ReplaySummary(
        title=title,
        records=tally.records,
        streams=tally.streams,
        is_known=is_known,
        changed=tally.changed,
        stricter=tally.stricter,
        milder=tally.changed - tally.stricter,
        rows=rows,
        matrix=tuple(tuple(tally.actions[old, new] for new in ACTIONS) for old in rows),
        actions=tuple(
            _compare(
                action,
                tally.count_action(action, "old"),
                tally.count_action(action, "new"),
                is_known=is_known,
            )
            for action in ACTIONS
        ),
        figures=tuple(
            _compare(name, counts["old"], counts["new"], is_known=is_known)
            for name, counts in (
                ("clips for a person to see", tally.reviews),
                ("changes of action within streams", tally.switches),
            )
        ),
        labels=tuple(
            sorted(
                (line for line in labels if any(one.old or one.new for one in line.actions)),
                key=lambda line: (-line.milder - line.stricter, LABELS.index(line.label)),
            )
        ),
        codes=tuple(_list_codes(tally, is_known=is_known))[:MAX_CODES],
        changes=tuple(tally.changes),
    )


def _compare(name: str, old: int, new: int, *, is_known: bool) -> Line:
    return Line(name, old if is_known else None, new)


def _read_label(tally: Tally, label: str, *, is_known: bool) -> LabelLine:
    milder, stricter = tally.count_moves(label)
    return LabelLine(
        label,
        milder,
        stricter,
        tuple(
            _compare(
                action,
                tally.count_label(label, action, "old"),
                tally.count_label(label, action, "new"),
                is_known=is_known,
            )
            for action in ACTIONS[1:]
        ),
    )


def _list_codes(tally: Tally, *, is_known: bool) -> Iterator[Line]:
    """List reason codes, those first whose number changed most."""
    sides: dict[str, dict[Side, int]] = {}
    for (side, code), count in tally.codes.items():
        sides.setdefault(code, {"old": 0, "new": 0})[side] = count

    def rank(code: str) -> tuple[int, int, str]:
        old, new = sides[code]["old"], sides[code]["new"]
        return -abs(new - old) if is_known else 0, -new, code

    for code in sorted(sides, key=rank):
        yield _compare(code, sides[code]["old"], sides[code]["new"], is_known=is_known)

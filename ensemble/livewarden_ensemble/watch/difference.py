"""The difference: where two sides of one recording part. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from livewarden_client.wire import ACTIONS, Action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livewarden_client.verdict import Verdict
    from livewarden_ensemble.watch.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one side said: the action, the label that decided, and the codes of the reasons."""

    action: Action
    label: str | None
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parting:
    """Moments in a row, by index, on which A and B take two actions; the rulings of the first."""

    first: int
    last: int
    start_ms: int
    end_ms: int
    a: Ruling
    b: Ruling

    @property
    def count(self) -> int:
        """How many clips it has."""
        return self.last - self.first + 1

    @property
    def is_stricter(self) -> bool:
        """Whether B takes the stronger action."""
        return ACTIONS.index(self.b.action) > ACTIONS.index(self.a.action)


@dataclass(frozen=True, slots=True)
class Difference:
    """All partings of two sides, in time order."""

    partings: tuple[Parting, ...]

    @property
    def places(self) -> frozenset[int]:
        """The indices of all moments that differ."""
        return frozenset(index for one in self.partings for index in range(one.first, one.last + 1))

    @property
    def stricter(self) -> int:
        """On how many clips B takes the stronger action."""
        return sum(one.count for one in self.partings if one.is_stricter)

    @property
    def milder(self) -> int:
        """On how many clips B takes the milder action."""
        return len(self.places) - self.stricter


def find_difference(a: Timeline, b: Timeline) -> Difference:
    """Compare two sides of one recording, moment by moment. ValueError where they are of two."""
    if [one.start_ms for one in a.moments] != [one.start_ms for one in b.moments]:
        raise ValueError("the two sides are not of the same recording, cut in the same way")
    return Difference(tuple(_find_partings(a, b)))


def _find_partings(a: Timeline, b: Timeline) -> Iterator[Parting]:
    both = zip(a.moments, b.moments, strict=True)
    pairs = [(left.verdict, right.verdict) for left, right in both]

    def tell(index: int) -> tuple[Action, str | None, Action, str | None]:
        left, right = pairs[index]
        return left.action, left.label, right.action, right.label

    for (left, _, right, _), group in groupby(range(len(pairs)), tell):
        members = list(group)
        if left != right:
            first, last = members[0], members[-1]
            yield Parting(
                first=first,
                last=last,
                start_ms=a.moments[first].start_ms,
                end_ms=a.moments[last].end_ms,
                a=_sum_up(pairs[first][0]),
                b=_sum_up(pairs[first][1]),
            )


def _sum_up(verdict: Verdict) -> Ruling:
    codes = tuple(dict.fromkeys(reason.code for reason in verdict.reasons))
    return Ruling(verdict.action, verdict.label, codes)

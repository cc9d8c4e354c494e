"""Many calls under way for one caller, a few at a time. It never waits."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Self

from livewarden_client.errors import InvalidClip, ModerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from livewarden_client.clip import Clip
    from livewarden_client.fleet import Landing
    from livewarden_client.flight import Flight
    from livewarden_client.verdict import Verdict

Outcome = tuple[int, "Verdict | ModerationError"]
Landed = tuple[int, "Landing"]


class Batch:
    """The calls for `clips`, at most `limit` at a time; `clips` is read no further ahead.

    `open_flight(clip, deliver)` begins a call; `put` gets the number of a clip with each landing.
    Leaving the context leaves the calls that have not ended.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        limit: int,
        open_flight: Callable[[Clip, Callable[[Landing], None]], Flight],
        put: Callable[[Landed], None],
    ) -> None:
        self._source = enumerate(clips)
        self._limit = limit
        self._open_flight = open_flight
        self._put = put
        self._more = True
        self._flights: dict[int, Flight] = {}
        self._looks: dict[int, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for flight in self._flights.values():
            flight.leave()

    @property
    def next_look(self) -> float | None:
        """The monotonic time to call `advance` at, None when all calls are over."""
        if self._more and len(self._flights) < self._limit:
            return 0.0
        return min(self._looks.values(), default=None)

    def receive(self, landed: Landed) -> None:
        """Take what a sending ended in."""
        index, landing = landed
        if index in self._flights:
            self._flights[index].receive(landing)
            self._looks[index] = 0.0

    def advance(self) -> list[Outcome]:
        """Begin calls, do what is due in those under way, and give the outcomes of the ended.

        It is a list, so that what lands while the caller looks at one is received before any other
        call is found to be late.
        """
        outcomes = self._begin()
        now = time.monotonic()
        for index in [index for index, at in self._looks.items() if at <= now]:
            until = self._flights[index].advance()
            if until is not None:
                self._looks[index] = until
            else:
                outcomes.append(self._end(index))
        return outcomes

    def _begin(self) -> list[Outcome]:
        refused: list[Outcome] = []
        while self._more and len(self._flights) + len(refused) < self._limit:
            index, clip = next(self._source, (-1, None))
            if clip is None:
                self._more = False
                break
            try:
                self._flights[index] = self._open_flight(clip, partial(self._deliver, index))
            except InvalidClip as error:
                refused.append((index, error))
            else:
                self._looks[index] = 0.0
        return refused

    def _deliver(self, index: int, landing: Landing) -> None:
        self._put((index, landing))

    def _end(self, index: int) -> Outcome:
        del self._looks[index]
        with self._flights.pop(index) as flight:
            try:
                return index, flight.conclude()
            except ModerationError as error:
                return index, error

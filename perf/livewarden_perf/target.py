"""The seam between load and what is loaded: anything that takes a clip by number.

A target sends clip `number` at once and returns; later, from any thread, it calls `done(ok)`. A
clip without a full answer is `done(False, reason)`, where the reason is one of REASONS or the name
of an error. Baselines and the real server are both targets, so all of them meet the same load.
"""

from __future__ import annotations

from typing import Final, Protocol

# Refused at once or shed: the server said no, which is right under overload.
REJECTED: Final = "rejected"
# A verdict came, but something that was sent was not fully scored.
DEGRADED: Final = "degraded"
# A full verdict came, but after its caller had given up.
LATE: Final = "late"
# No answer by the end of the run.
UNANSWERED: Final = "unanswered"


class Done(Protocol):
    """Hears of the end of one clip, exactly once."""

    def __call__(self, ok: bool, reason: str = "", /) -> None:  # noqa: FBT001 - the seam's own form
        """Take note of it."""


class Target(Protocol):
    """Takes clips."""

    def send(self, number: int, done: Done) -> None:
        """Send clip `number` and return without waiting for its answer."""

    def close(self) -> None:
        """Give up connections and everything that was started."""


class InstantTarget:
    """Answers at once: what remains is the cost of the generator itself."""

    def send(self, number: int, done: Done) -> None:  # noqa: ARG002 - part of the protocol
        """Answer."""
        done(True)  # noqa: FBT003 - positional by the protocol

    def close(self) -> None:
        """Do nothing."""

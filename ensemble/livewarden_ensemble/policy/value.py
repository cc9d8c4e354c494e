"""Values as files write them, and as the engine reckons: durations and instants."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]+)(ms|s|m|h|d)")
MAX_DURATION_MS: Final = 366 * _UNITS_MS["d"]


def read_duration(text: str) -> int:
    """Read `30s` and the like as milliseconds; ValueError where it is over a year."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("is no duration; write 1500ms, 30s, 5m, 2h or 1d")
    duration = int(match[1]) * _UNITS_MS[match[2]]
    if duration > MAX_DURATION_MS:
        raise ValueError(f"{text} is longer than a year")
    return duration


def read_instant(text: str) -> int:
    """Read a day or a time in UTC as Unix ms; ValueError where there is no such day or time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is no day or time of the calendar") from None
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)

"""When clips are due: arrival schedules, in seconds from the start, sorted.

A schedule is drawn before the run and knows nothing of the server: that is what makes a loop open.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_perf.errors import ScheduleInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Due = NDArray[np.float64]

_BURST_PERIOD_S: Final = 2.0
_BURST_SHARE: Final = 0.25
_SHOWN: Final = 40


def draw_steady(rate: float, seconds: float) -> Due:
    """Draw `rate` clips a second at even distances, from 0 up to but without `seconds`."""
    return np.asarray(np.arange(math.ceil(rate * seconds - 1e-9)) / rate, np.float64)


def draw_poisson(rate: float, seconds: float, seed: int = 0) -> Due:
    """Draw independent arrivals in [0, `seconds`), exactly `rate` * `seconds` of them, rounded.

    Given their number, the arrivals of a Poisson process are uniform. A number that is drawn as
    well would only make runs at the same rate differ in how much they ask for.
    """
    count = round(rate * seconds)
    return np.sort(np.random.default_rng(seed).uniform(0.0, seconds, count))


def draw_burst(
    rate: float,
    seconds: float,
    *,
    period_s: float = _BURST_PERIOD_S,
    share: float = _BURST_SHARE,
) -> Due:
    """Draw `rate` clips a second on average, all in the first `share` of every `period_s`."""
    even = draw_steady(rate, seconds)
    period = np.floor(even / period_s)
    return np.asarray(period * period_s + (even - period * period_s) * share, np.float64)


def read_recording(path: Path, speed: float = 1.0) -> Due:
    """Read due times from a text file, one number of seconds a line, and play them `speed` times.

    Times may start anywhere: the first is taken as 0. Empty lines and those that begin with `#` are
    skipped. Raises ScheduleInvalid, which names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScheduleInvalid(f"{path}: cannot be read ({type(error).__name__})") from None
    times = np.array(list(_parse_lines(path, lines)), np.float64)
    if not len(times):
        raise ScheduleInvalid(f"{path}: holds no time; it needs one number of seconds a line")
    times.sort()
    return np.asarray((times - times[0]) / speed, np.float64)


def join_phases(phases: Iterable[tuple[Due, float]]) -> Due:
    """Join schedules one after the other; each comes with the seconds that it lasts."""
    parts, start = [], 0.0
    for due, seconds in phases:
        parts.append(due + start)
        start += seconds
    return np.concatenate(parts)


def _parse_lines(path: Path, lines: Iterable[str]) -> Iterable[float]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise ScheduleInvalid(
                f"{path}, line {number}: {text[:_SHOWN]!r} is no number of seconds"
            )
        yield seconds


SCHEDULES: Final[Mapping[str, str]] = {
    "poisson": "independent arrivals",
    "steady": "even distances",
    "burst": f"all in the first {_BURST_SHARE:.0%} of every {_BURST_PERIOD_S:g} s",
}


def draw_schedule(kind: str, rate: float, seconds: float, seed: int = 0) -> Due:
    """Draw the schedule called `kind`, one of SCHEDULES."""
    if kind == "poisson":
        return draw_poisson(rate, seconds, seed)
    return {"steady": draw_steady, "burst": draw_burst}[kind](rate, seconds)

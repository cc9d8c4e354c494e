"""The drawing: a timeline's geometry, in percent of the time and units of the plots. Pure.

A plot is 1000 units wide and 100 high, score 1 at the top; it is stretched to the page, so that
words stay outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from livewarden_client.wire import ACTIONS, Action
from livewarden_ensemble.watch.sign import format_clock
from livewarden_ensemble.watch.timeline import is_held

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from livewarden_client.verdict import LabelVerdict
    from livewarden_ensemble.watch.timeline import Timeline, Track

WIDTH, HEIGHT = 1000, 100
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_MAX_TICKS: Final = 8
# Two names of thresholds closer than this would stand on each other.
_NAME_HEIGHT: Final = 15.0


@dataclass(frozen=True, slots=True)
class Run:
    """Clips in a row with the same action, `left` and `width` in percent of the time.

    `is_held`: the action is left from an earlier clip.
    """

    action: Action
    is_held: bool
    left: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Band:
    """Where an action, once begun, lasts: from `exit` up to `enter`, over part of the time."""

    action: Action
    x: float
    width: float
    enter: float
    height: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold's name beside the plot, `top` in percent of its height."""

    action: Action
    score: float
    top: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that the plot points at, in percent from the left and the top."""

    action: Action
    left: float
    top: float
    title: str


@dataclass(frozen=True, slots=True)
class Plot:
    """One label's plot: lines of SVG path data, bands, names, marks, and what it asked for."""

    scores: str
    stream_scores: str
    bands: tuple[Band, ...]
    thresholds: tuple[Threshold, ...]
    marks: tuple[Mark, ...]
    runs: tuple[Run, ...]


def draw_ticks(end_ms: int) -> list[tuple[float, str]]:
    """Where the axis has ticks, in percent, and what they say; at most _MAX_TICKS and one."""
    seconds = end_ms / 1000
    fitting = (step for step in _STEPS_S if seconds / step <= _MAX_TICKS)
    step = next(fitting, _STEPS_S[-1])
    return [
        (100 * tick * 1000 / end_ms, format_clock(tick * 1000))
        for tick in range(0, int(seconds) + 1, step)
    ]


def draw_verdicts(timeline: Timeline) -> Iterator[Run]:
    """Draw what the moments got."""
    verdicts = [moment.verdict for moment in timeline.moments]
    return _draw_runs(timeline, [(one.action, is_held(one)) for one in verdicts])


def _draw_runs(timeline: Timeline, told: Sequence[tuple[Action, bool]]) -> Iterator[Run]:
    """Draw actions, one for each moment and whether it is held, as runs."""
    moments, end = timeline.moments, timeline.end_ms
    for (action, held), group in groupby(range(len(told)), lambda index: told[index]):
        members = list(group)
        start, stop = moments[members[0]].start_ms, moments[members[-1]].end_ms
        yield Run(
            action=action,
            is_held=held,
            left=100 * start / end,
            width=100 * (stop - start) / end,
            title=f"{action}{' (held)' * held}, {format_clock(start)} to {format_clock(stop)}",
        )


def draw_track(timeline: Timeline, track: Track) -> Plot:
    """Draw one label of the timeline."""
    scores = [one.score if one and one.supported else None for one in track.points]
    streams = [one.stream_score if one and one.supported else None for one in track.points]
    last = next((one for one in reversed(track.points) if one), None)
    asked: list[tuple[Action, bool]] = [
        (one.action, one.state == "cooldown") if one else ("allow", False) for one in track.points
    ]
    return Plot(
        scores=_draw_line(timeline, scores),
        stream_scores=_draw_line(timeline, streams),
        bands=tuple(_draw_bands(timeline, track)),
        thresholds=tuple(_name_thresholds(last)) if last else (),
        marks=tuple(_mark(timeline, track)),
        runs=tuple(run for run in _draw_runs(timeline, asked) if run.action != "allow"),
    )


def _centre(timeline: Timeline, index: int) -> float:
    """The middle of a moment, 0..1 of the time."""
    moment = timeline.moments[index]
    return (moment.start_ms + moment.end_ms) / 2 / timeline.end_ms


def _draw_line(timeline: Timeline, values: Sequence[float | None]) -> str:
    """SVG path data; the line breaks where there is no value."""
    parts, is_open = [], False
    for index, value in enumerate(values):
        if value is not None:
            x, y = WIDTH * _centre(timeline, index), HEIGHT * (1 - value)
            parts.append(f"{'L' if is_open else 'M'}{x:.1f} {y:.1f}")
        is_open = value is not None
    return "".join(parts)


def _draw_bands(timeline: Timeline, track: Track) -> Iterator[Band]:
    """A band for each action, for as long as its thresholds stay the same."""
    moments, end = timeline.moments, timeline.end_ms
    points = track.points

    def bounds(index: int) -> tuple[object, object] | None:
        point = points[index]
        return (point.thresholds, point.exit) if point else None

    for _, group in groupby(range(len(points)), bounds):
        members = list(group)
        point = points[members[0]]
        if point is None:
            continue
        start, stop = moments[members[0]].start_ms, moments[members[-1]].end_ms
        for action in ACTIONS[1:]:
            enter = getattr(point.thresholds, action)
            leave = getattr(point.exit, action) if point.exit else enter
            yield Band(
                action=action,
                x=WIDTH * start / end,
                width=WIDTH * (stop - start) / end,
                enter=HEIGHT * (1 - enter),
                height=HEIGHT * max(enter - leave, 0),
            )


def _name_thresholds(point: LabelVerdict) -> Iterator[Threshold]:
    """The thresholds' names, from the lowest up, none nearer to the one below than it is high."""
    lowest = float(HEIGHT) + _NAME_HEIGHT
    for action in ACTIONS[1:]:
        score = getattr(point.thresholds, action)
        lowest = min(HEIGHT * (1 - score), lowest - _NAME_HEIGHT)
        yield Threshold(action, score, lowest)


def _mark(timeline: Timeline, track: Track) -> Iterator[Mark]:
    """The loudest moment of each span that the label decided."""
    for span in timeline.spans:
        if span.label == track.label and span.score is not None and not span.is_held:
            clock = format_clock(timeline.moments[span.loudest].start_ms)
            yield Mark(
                action=span.action,
                left=100 * _centre(timeline, span.loudest),
                top=100 * (1 - span.score),
                title=f"{span.action} at {clock}: {track.label} {span.score:.2f}",
            )

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from livewarden_ensemble.watch.drawing import draw_ticks, draw_track, draw_verdicts
from livewarden_ensemble.watch.timeline import build_timeline

CALM, LOUD = {"scam_spam": 0.01}, {"scam_spam": 0.99}


def test_runs_cover_the_time_and_tell_held_from_asked(make_moments: Callable) -> None:
    """Runs follow each other from 0 to 100 percent; a cooldown is a run of its own."""
    runs = list(draw_verdicts(build_timeline(make_moments([CALM, LOUD, *[CALM] * 6])[0])))
    assert runs[0].left == 0
    for one, following in pairwise(runs):
        assert abs(one.left + one.width - following.left) < 1e-9
    assert abs(runs[-1].left + runs[-1].width - 100) < 1e-9
    blocks = [run.is_held for run in runs if run.action == "block"]
    assert blocks == [False, True]


def test_a_plot_shows_scores_and_the_bands_between_enter_and_exit(make_moments: Callable) -> None:
    """Points are in the middle of their clips, score 1 at the top; bands go from enter to exit."""
    timeline = build_timeline(make_moments([CALM, {"scam_spam": 0.75}])[0])
    track = next(one for one in timeline.tracks if one.label == "scam_spam")
    plot = draw_track(timeline, track)
    assert plot.scores == "M250.0 99.0L750.0 25.0"
    point = track.points[0]
    assert point is not None
    assert point.exit is not None
    for band in plot.bands:
        assert abs(band.enter - 100 * (1 - getattr(point.thresholds, band.action))) < 1e-9
        bottom = 100 * (1 - getattr(point.exit, band.action))
        assert abs(band.enter + band.height - bottom) < 1e-9


def test_a_line_breaks_where_a_label_was_not_scored(make_moments: Callable) -> None:
    """A clip without a score is a hole in the line, and no point at 0."""
    moments, _ = make_moments([LOUD] * 3, states={1: {"frames": "corrupt", "chat": "unscored"}})
    timeline = build_timeline(moments)
    track = next(one for one in timeline.tracks if one.label == "scam_spam")
    points = (track.points[0], None, track.points[2])
    plot = draw_track(timeline, type(track)(track.label, points))
    assert re.findall("[ML]", plot.scores) == ["M", "M"]


def test_names_of_thresholds_never_stand_on_each_other(make_moments: Callable) -> None:
    """Thresholds that lie close together have their names apart, in the same order."""
    timeline = build_timeline(make_moments([{"sexual_suggestive": 0.5}])[0])
    for track in timeline.tracks:
        tops = [one.top for one in draw_track(timeline, track).thresholds]
        assert all(low - high >= 15 for low, high in pairwise(tops))


@given(st.integers(1, 24 * 3600 * 1000))
def test_the_axis_has_few_ticks_within_the_time(end_ms: int) -> None:
    """From 0 on, at most nine, evenly apart, none after the end."""
    ticks = draw_ticks(end_ms)
    assert ticks[0] == (0, "0:00")
    assert 1 <= len(ticks) <= 9
    assert all(0 <= left <= 100 for left, _ in ticks)
    assert len({name for _, name in ticks}) == len(ticks)

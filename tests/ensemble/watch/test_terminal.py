from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from livewarden_ensemble.watch.difference import find_difference
from livewarden_ensemble.watch.terminal import View, render_difference, render_side
from livewarden_ensemble.watch.timeline import build_timeline

CALM, LOUD = {"scam_spam": 0.01}, {"scam_spam": 0.99}


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=terminal, no_color=not terminal)


def read(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def test_without_a_terminal_each_clip_is_one_plain_line(make_moments: Callable) -> None:
    """A line has time, number, action with its sign, the loudest label, latency; no escapes."""
    on = console(terminal=False)
    moments, _ = make_moments([CALM, LOUD])
    with View(on, "clips", 2) as view:
        for moment in moments:
            view.show(moment)
    lines = read(on).splitlines()
    assert len(lines) == 2
    assert "\x1b" not in read(on)
    for part in ("0:02", "clip 2/2", "× block", "scam_spam 0.99", "61 ms"):
        assert part in lines[1]


def test_in_a_terminal_the_view_shows_time_action_labels_and_progress(
    make_moments: Callable,
) -> None:
    """The live view has the clip's time, its action, a bar for a label and how far it is."""
    on = console(terminal=True)
    moments, _ = make_moments([CALM, LOUD])
    with View(on, "clips", 2) as view:
        for moment in moments:
            view.show(moment)
    shown = read(on)
    for part in ("0:02", "× block", "scam_spam", "█", "2/2", "last clips"):
        assert part in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_the_summary_tells_spans_gaps_and_latency(
    make_moments: Callable, *, terminal: bool
) -> None:
    """At 80 columns, each span's times, action and label stand in it, whole."""
    on = console(terminal=terminal)
    moments, _ = make_moments([CALM, LOUD], states={0: {"frames": "corrupt"}})
    on.print(render_side("policy default", build_timeline(moments)))
    for part in ("0:02", "× block", "scam_spam", "0.99", "not fully seen: 1 of 2", "median"):
        assert part in read(on)


def test_the_difference_names_the_first_moment(make_moments: Callable) -> None:
    """Where the sides part, and how often; or that they never do."""
    a, b = (build_timeline(make_moments(scores)[0]) for scores in ([CALM, CALM], [CALM, LOUD]))
    on = console(terminal=False)
    on.print(render_difference(find_difference(a, b), 2), soft_wrap=True)
    on.print(render_difference(find_difference(a, a), 2), soft_wrap=True)
    differ, same = read(on).splitlines()
    assert "1 of 2 clips: B is stricter on 1, milder on 0" in differ
    assert differ.endswith("First at 0:02 (clip 2): ○ allow → × block")
    assert "same action on all 2 clips" in same

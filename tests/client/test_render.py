from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from livewarden_client.render import STYLES, render_verdict
from livewarden_client.verdict import Reason
from livewarden_client.wire import ACTIONS, LABELS

if TYPE_CHECKING:
    from livewarden_client import Verdict


def render(verdict: Verdict) -> str:
    out = io.StringIO()
    Console(file=out, width=80, no_color=True, force_terminal=False).print(render_verdict(verdict))
    return out.getvalue()


def test_everything_a_person_needs_is_there(verdict: Verdict) -> None:
    """Action, all labels, thresholds, place, reason, coverage, provenance, timings are shown."""
    text = render(verdict)
    for label in LABELS:
        assert label in text
    for part in (
        "B L O C K",
        "request-1",
        "stream stream-1, clip 7",
        "0.50/0.80/0.95",
        "block: The score is too high. [score>=block]",
        "frames 8 sent, 7 decoded, 7 scored, corrupt: 3",
        "not sent: asr",
        "failed: ocr (timeout)",
        "no model for: gambling",
        "not everything that was sent was scored",
        "policy default v1 (region:DE), bundle abababababab",
        "decode 20.2 ms, total 71.0 ms",
    ):
        assert part in text


def test_strongest_modality_comes_with_its_place(verdict: Verdict) -> None:
    """Each label's row names its strongest modality and the frame or text behind it."""
    (row,) = [line for line in render(verdict).splitlines() if line.startswith(LABELS[0])]
    assert row.split()[-3:] == ["ocr", "texts[3]", "1.5s"]
    visual = replace(verdict.labels[0], per_modality={"visual": 0.9, "ocr": 0.4})
    text = render(replace(verdict, labels=(visual,)))
    assert "frames[63] 7200.0s" in text


def test_remarks_are_shown_where_there_are_any(verdict: Verdict) -> None:
    """How it is carried out, why a person should look, and the flags; no empty lines."""
    given = replace(
        verdict,
        visibility=("age_restrict", "demote"),
        review=("uncertain",),
        flags=("clip.duplicate", "state.expired"),
    )
    text = render(given)
    assert re.search(r"shown as +age_restrict, demote$", text, re.MULTILINE)
    assert re.search(r"review +uncertain$", text, re.MULTILINE)
    assert re.search(r"flags +clip\.duplicate, state\.expired$", text, re.MULTILINE)
    assert not re.search(r"^ *(shown as|flags)", render(verdict), re.MULTILINE)


def test_it_fits_80_columns(verdict: Verdict) -> None:
    """No line is cut or longer than 80 columns, with the longest names there are."""
    assert max(len(line) for line in render(verdict).splitlines()) <= 80
    assert "…" not in render(verdict)


def test_worst_label_stands_first(verdict: Verdict) -> None:
    """Rows go by action, then score; labels without a model come last and show no score."""
    low = replace(verdict.labels[5], score=0.001, action="block")
    text = render(replace(verdict, labels=(*verdict.labels[1:4], low, verdict.labels[11])))
    shown = [line.split()[0] for line in text.splitlines() if line.strip().startswith(LABELS)]
    assert shown == [LABELS[5], *LABELS[1:4], "gambling"]
    assert "no model" in text


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_is_readable_without_colour(verdict: Verdict, action: str) -> None:
    """The action is a word, not a colour; without label, stream and timings nothing breaks."""
    text = render(
        replace(
            verdict, action=action, label=None, stream_id="", timings_ms={}, labels=(), evidence=()
        )
    )
    assert " ".join(action.upper()) in text
    assert "\x1b" not in text
    assert set(STYLES) == set(ACTIONS)


def test_verdict_cannot_drive_the_terminal(verdict: Verdict) -> None:
    """Control characters and markup in a verdict are shown, not obeyed."""
    reasons = (Reason("c", "block", "[bold]a\x1b[2J\nb", None),)
    text = render(replace(verdict, request_id="[red]\x1b]0;x\x07", reasons=reasons))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]a·[2J·b" in text
    assert "[red]·]0;x·" in text

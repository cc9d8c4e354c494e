from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.clip import Text
from livewarden_client.verdict import Evidence
from livewarden_ensemble.watch.timeline import build_timeline, quantile

CALM, LOUD = {"scam_spam": 0.01}, {"scam_spam": 0.99}


def test_spans_cover_the_stream_without_hole_or_overlap(make_moments: Callable) -> None:
    """Spans follow each other, and each has one action and one label throughout."""
    moments, _ = make_moments([CALM, CALM, LOUD, LOUD, CALM, {"hate": 0.7}])
    timeline = build_timeline(moments)
    assert [one.first for one in timeline.spans] == [
        0,
        *(one.last + 1 for one in timeline.spans[:-1]),
    ]
    assert timeline.spans[-1].last == len(moments) - 1
    for span in timeline.spans:
        verdicts = [one.verdict for one in moments[span.first : span.last + 1]]
        assert {(one.action, one.label) for one in verdicts} == {(span.action, span.label)}
    assert timeline.strongest.start_ms == 4000
    assert sum(timeline.actions.values()) == len(moments)


def test_a_span_knows_its_loudest_clip_and_whether_it_is_only_held(make_moments: Callable) -> None:
    """The loudest clip is the one with the highest score; a cooldown's span is held."""
    moments, _ = make_moments([CALM, {"scam_spam": 0.98}, LOUD, *[CALM] * 6])
    allowed, first, *rest = build_timeline(moments).spans
    assert not allowed.is_held
    assert (first.action, first.label, first.loudest) == ("block", "scam_spam", 2)
    assert first.score is not None
    assert abs(first.score - 0.99) < 1e-6
    states = [
        next(label.state for label in one.verdict.labels if label.id == "scam_spam")
        for one in moments[1:]
    ]
    assert "cooldown" in states
    assert "active" in states
    for span in (first, *rest):
        own = [states[place - 1] for place in range(span.first, span.last + 1)]
        assert span.is_held is (set(own) == {"cooldown"})


def test_a_text_counts_when_its_label_asked_for_something(make_moments: Callable) -> None:
    """Texts of allowed labels are left out; what counts keeps its time, kind and score."""
    said = {0: [Text("chat", "calm", 100)], 1: [Text("asr", "loud", 2100)]}
    moments, _ = make_moments([CALM, {"scam_spam": 0.99, "hate": 0.1}], texts=said)
    (only,) = build_timeline(moments).counted
    assert (only.index, only.kind, only.at_ms, only.text) == (1, "asr", 2100, "loud")
    assert (only.label, only.score, only.action) == ("scam_spam", 0.99, "block")


def test_a_listed_span_is_marked_in_the_text_that_it_counts_in(make_moments: Callable) -> None:
    """A span of the normalised text comes with the normalised text, else with the text as sent."""
    sent = "F\u200bree \U0001d41coins"
    moments, _ = make_moments([CALM], texts={0: [Text("chat", sent, 100)]})
    for normalised, text, span in ((True, "Free coins", (5, 10)), (False, sent, (0, 2))):
        hit = Evidence(
            "scam_spam", "chat", "texts[0]", 1.0, "list", 100, span, normalised, "scams", 0
        )
        verdict = replace(moments[0].verdict, evidence=(hit,))
        (only,) = build_timeline([replace(moments[0], verdict=verdict)]).counted
        assert (only.text, only.span, only.source) == (text, span, "scams")


def test_gaps_are_what_was_sent_and_not_seen(make_moments: Callable) -> None:
    """Damaged frames and failed stages are told, in rows; reused frames are no gap."""
    moments, _ = make_moments(
        [CALM] * 5,
        states={0: {"frames": "reused"}, 1: {"frames": "corrupt"}, 2: {"frames": "corrupt"}},
        failed={4: {"text_encoder": "timeout"}},
    )
    assert [(gap.first, gap.last, gap.what) for gap in build_timeline(moments).gaps] == [
        (1, 2, ("frames: 4 corrupt",)),
        (4, 4, ("text_encoder failed (timeout)",)),
    ]


def test_labels_come_in_the_order_of_what_they_asked_for(make_moments: Callable) -> None:
    """The label that asked for most is first; the others follow by their peaks."""
    moments, _ = make_moments([{"weapons": 0.3, "hate": 0.65, "scam_spam": 0.99}, CALM])
    assert [track.label for track in build_timeline(moments).tracks[:3]] == [
        "scam_spam",
        "hate",
        "weapons",
    ]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_the_least_value_that_enough_do_not_exceed(
    values: list[float], share: float
) -> None:
    """Nearest rank, against the definition."""
    obvious = min(
        one for one in values if sum(other <= one for other in values) >= share * len(values)
    )
    assert quantile(values, share) == obvious

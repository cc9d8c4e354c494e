from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from livewarden_client.verdict import Verdict
from livewarden_client.wire import LABELS
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.pipeline import Pipeline

HATE = LABELS.index("hate")
CANARY = "cAnary7f3a"

MakeClip = Callable[..., RawClip]
MakePipeline = Callable[..., Pipeline]


def moderate(pipeline: Pipeline, clip: RawClip) -> Verdict:
    [outcome] = pipeline.moderate([clip])
    assert outcome.verdict is not None
    return outcome.verdict


def test_a_loud_clip_is_blocked_with_its_evidence(
    make_pipeline: MakePipeline, make_clip: MakeClip
) -> None:
    """The verdict names the label, the modality, the frame and the text, with their times."""
    clip = make_clip(
        [(0, 0, 0), (255, 0, 0), (64, 0, 0)],
        ["hello", ("asr", "they attack us")],
        frame_ts_ms=[100, 600, 1100],
        infos=[{"kind": "chat", "ts_ms": 5}, {"kind": "asr", "ts_ms": 650}],
    )
    verdict = moderate(make_pipeline(), clip)
    assert (verdict.action, verdict.label) == ("block", "sexual_explicit")
    hate = verdict.labels[HATE]
    assert hate.per_modality.keys() == {"visual", "chat", "asr"}
    assert hate.per_modality["asr"] == pytest.approx(0.99)
    assert [
        (item.label, item.modality, item.ref, item.ts_ms, round(item.score, 2))
        for item in verdict.evidence
    ] == [
        ("sexual_explicit", "visual", "frames[1]", 600, 1.0),
        ("hate", "asr", "texts[1]", 650, 0.99),
    ]


def test_evidence_is_left_out_where_the_caller_does_not_want_it(
    make_pipeline: MakePipeline, make_clip: MakeClip
) -> None:
    """`explain: false` changes the evidence and nothing else."""
    frames = [(255, 0, 0)]
    pipeline = make_pipeline()
    loud = moderate(pipeline, make_clip(frames))
    quiet = moderate(pipeline, make_clip(frames, options={"explain": False}))
    assert loud.evidence
    assert quiet == replace(loud, evidence=(), timings_ms=quiet.timings_ms)


def test_evidence_has_no_times_where_none_were_sent(
    make_pipeline: MakePipeline, make_clip: MakeClip
) -> None:
    """A time is the caller's or it is absent; it is never made up."""
    clip = make_clip([(255, 0, 0)], ["attack"])
    verdict = moderate(make_pipeline(), clip)
    assert [item.ts_ms for item in verdict.evidence] == [None, None]


def test_the_windows_of_a_long_text_speak_for_that_text(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """A loud word deep in the second of two texts points at the second text."""
    clip = make_clip([], ["calm " * 300, ("title", "calm " * 300 + "attack")])
    verdict = moderate(make_pipeline(), clip)
    [item] = verdict.evidence
    assert (item.ref, item.modality, item.label) == ("texts[1]", "title", "hate")
    assert leaves.count("text_encoder") > 2
    assert verdict.coverage.texts.scored == 2


def test_the_verdict_holds_no_text_of_a_caller(
    make_pipeline: MakePipeline, make_clip: MakeClip
) -> None:
    """Evidence points at a text; it does not repeat it."""
    clip = make_clip([(255, 0, 0)], [f"attack {CANARY}"], policy=CANARY)
    verdict = moderate(make_pipeline(), clip)
    assert verdict.evidence
    assert CANARY not in msgspec.json.encode(verdict).decode()

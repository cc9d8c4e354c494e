"""What the pipeline computes once: frames that hardly differ, same bytes, known inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from livewarden_client.verdict import Verdict
from livewarden_ensemble.answer_cache import AnswerCache
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.decode import DecodedFrame, decode_frame
from livewarden_ensemble.errors import LeafFailed
from livewarden_ensemble.pipeline import Outcome, Pipeline

MakeClip = Callable[..., RawClip]
MakePipeline = Callable[..., Pipeline]


def moderate(pipeline: Pipeline, *clips: RawClip) -> list[Verdict]:
    outcomes = pipeline.moderate(clips)
    assert [outcome.refusal for outcome in outcomes] == [None] * len(clips)
    return [outcome.verdict for outcome in outcomes if outcome.verdict is not None]


def stable(outcome: Outcome) -> dict[str, Any]:
    """What an outcome says, less what the clock says."""
    assert outcome.verdict is not None
    said: dict[str, Any] = msgspec.to_builtins(outcome.verdict)
    return {**said, "timings_ms": sorted(said["timings_ms"])}


def test_a_still_scene_is_encoded_once_and_says_so(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """Frames that hardly differ take the first one's scores; they count as scored, by name."""
    still, changed = (120, 80, 40), (120, 180, 40)
    [verdict] = moderate(make_pipeline(), make_clip([still, (121, 80, 40), still, changed]))
    assert verdict.coverage.frames.states == {"reused": (1, 2)}
    assert verdict.coverage.frames.scored == 4
    assert not verdict.coverage.degraded
    assert leaves.count("vision_encoder") == leaves.count("nsfw_encoder") == 2


def test_a_reused_frame_is_unscored_with_the_one_that_stands_for_it(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """What the encoder did not answer is answered for nobody."""
    leaves.spoil["vision_encoder"] = lambda call, _: LeafFailed(call.model.name, "gone")
    [verdict] = moderate(make_pipeline(), make_clip([(120, 80, 40)] * 3))
    assert verdict.coverage.frames.states == {"unscored": (0, 1, 2)}


def test_the_same_bytes_are_decoded_once_in_a_batch(
    make_pipeline: MakePipeline,
    leaves: Any,
    make_clip: MakeClip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clips that overlap share decoding and encoding; each keeps its own coverage."""
    decoded = []

    def decode(data: bytes) -> DecodedFrame:
        decoded.append(data)
        return decode_frame(data)

    monkeypatch.setattr("livewarden_ensemble.pipeline.decode_frame", decode)
    first, second = [(10, 0, 0), (90, 0, 0)], [(90, 0, 0), (200, 0, 0)]
    verdicts = moderate(make_pipeline(), make_clip(first), make_clip([*second, b"junk"]))
    assert len(decoded) == len(set(decoded)) == 4
    assert leaves.count("vision_encoder") == 3
    assert [v.coverage.frames.states for v in verdicts] == [{}, {"unsupported": (2,)}]


def test_repeated_inputs_are_answered_from_the_cache(
    make_pipeline: MakePipeline, leaves: Any, clips: list[RawClip]
) -> None:
    """The second time round no encoder is asked, and every verdict is the same."""
    pipeline = make_pipeline(cache=AnswerCache(1 << 24))
    first = pipeline.moderate(clips)
    asked = leaves.count("vision_encoder"), leaves.count("text_encoder")
    again = pipeline.moderate(clips)
    assert (leaves.count("vision_encoder"), leaves.count("text_encoder")) == asked
    for one, other in zip(first, again, strict=True):
        assert stable(one) == stable(other)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_the_cache_mixes_known_and_new_in_their_places(
    make_pipeline: MakePipeline, clips: list[RawClip]
) -> None:
    """With any part of a batch known beforehand, all verdicts are those of a fresh pipeline."""
    fresh = [stable(outcome) for outcome in make_pipeline().moderate(clips)]
    for known in range(len(clips)):
        pipeline = make_pipeline(cache=AnswerCache(1 << 24))
        pipeline.moderate(clips[known : known + 2])
        assert [stable(outcome) for outcome in pipeline.moderate(clips)] == fresh


def test_what_an_encoder_did_not_answer_is_not_remembered(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """After a failure the next clip asks anew, and is scored in full."""
    pipeline = make_pipeline(cache=AnswerCache(1 << 24))
    clip = make_clip([(9, 200, 9)], ["hello"])
    for name in ("nsfw_encoder", "text_encoder"):
        leaves.spoil[name] = lambda call, _: LeafFailed(call.model.name, "gone")
    assert moderate(pipeline, clip)[0].coverage.degraded
    leaves.spoil.clear()
    asked = leaves.count("nsfw_encoder"), leaves.count("text_encoder")
    [again] = pipeline.moderate([clip])
    assert (leaves.count("nsfw_encoder"), leaves.count("text_encoder")) == (
        asked[0] + 1,
        asked[1] + 1,
    )
    [fresh] = make_pipeline().moderate([clip])
    assert stable(again) == stable(fresh)
    assert not again.verdict.coverage.degraded

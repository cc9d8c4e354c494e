from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from livewarden_client.wire import MAX_FRAMES, MAX_TEXTS
from livewarden_ensemble.clip import RawClip, read_clip
from livewarden_ensemble.coverage import SEEN_FRAME, FrameState, TextState
from livewarden_ensemble.errors import MalformedRequest

PIXELS = np.zeros((2, 4, 4, 3), np.uint8)

MakeClip = Callable[..., RawClip]


@pytest.mark.parametrize(
    ("given", "pointer", "problem"),
    [
        ({"frames": [b"x"] * (MAX_FRAMES + 1)}, "/frames", "65 items; at most 64"),
        (
            {"texts": ["x"] * (MAX_TEXTS + 1), "infos": [{"kind": "chat"}] * 64},
            "/texts",
            "65 items; at most 64",
        ),
        (
            {"frames_rgb": np.zeros((65, 4, 4, 3), np.uint8)},
            "/frames_rgb",
            "65 items; at most 64",
        ),
        ({"frames": [b"x"], "frames_rgb": PIXELS}, "/frames_rgb", "is given beside frames"),
        ({"frames_rgb": PIXELS[0]}, "/frames_rgb", "it must be uint8 [T, H, W, 3]"),
        ({"frames_rgb": PIXELS[..., :1]}, "/frames_rgb", "is uint8 [2, 4, 4, 1]; it must be"),
        ({"frames_rgb": PIXELS.astype(np.float32)}, "/frames_rgb", "is float32 [2, 4, 4, 3]"),
        ({"frames_rgb": PIXELS[:, :0]}, "/frames_rgb", "holds frames of 0 bytes"),
        (
            {"frames_rgb": np.broadcast_to(np.uint8(0), (1, 2000, 1400, 3))},
            "/frames_rgb",
            "holds frames of 8400000 bytes; 1 to 8388608 are accepted",
        ),
        ({"frames": [b"x"], "frame_ts_ms": [1, 2]}, "/context/frame_ts_ms", "2 times for 1 frame"),
        ({"frame_ts_ms": [1]}, "/context/frame_ts_ms", "1 times for 0 frames"),
        (
            {"texts": ["x", "y"], "infos": [{"kind": "chat"}]},
            "/context/texts",
            "describes 1 texts, but 2 were",
        ),
        (
            {"texts": [], "infos": [{"kind": "chat"}]},
            "/context/texts",
            "describes 1 texts, but 0 were",
        ),
    ],
)
def test_a_clip_that_breaks_the_contract_is_refused(
    make_clip: MakeClip, given: dict[str, Any], pointer: str, problem: str
) -> None:
    """Counts, shapes and limits are checked before anything is decoded."""
    with pytest.raises(MalformedRequest) as caught:
        read_clip(make_clip(**given))
    assert caught.value.pointer == pointer
    assert problem in caught.value.detail


def test_an_item_that_a_stage_loses_is_unscored(make_clip: MakeClip) -> None:
    """Coverage counts what is in a score, whatever a stage says of the rest."""
    work = read_clip(make_clip([b"x", b"y"], ["a", "b"]))
    work.view_frames, work.window_texts = [0], [1]
    work.scores = object()
    coverage = work.report_coverage(())
    assert coverage.frames.states == {"unscored": (1,)}
    assert coverage.texts.states == {"unscored": (0,)}
    assert (coverage.frames.scored, coverage.texts.scored) == (1, 1)
    assert coverage.degraded


def test_expiring_a_clip_leaves_damage_as_it_is(make_clip: MakeClip) -> None:
    """Only what could still have been scored turns late."""
    work = read_clip(make_clip([b"x"] * len(FrameState), ["a"] * len(TextState)))
    work.frame_states, work.text_states = list(FrameState), list(TextState)
    work.expire()
    late_frames = {*SEEN_FRAME, FrameState.LATE}
    assert work.frame_states == [
        FrameState.LATE if state in late_frames else state for state in FrameState
    ]
    kept = {TextState.EMPTY, TextState.UNSCORED}
    assert work.text_states == [state if state in kept else TextState.LATE for state in TextState]


def test_no_repr_shows_what_a_caller_sent(make_clip: MakeClip) -> None:
    """Clips on their way through the pipeline can be logged without their content."""
    clip = make_clip([b"pixels"], ["words"], stream_id="s")
    work = read_clip(clip)
    assert repr(clip) == "RawClip(<1 frames>, <1 texts>)"
    assert repr(work) == "ClipWork(RawClip(<1 frames>, <1 texts>))"

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.clip import Text
from livewarden_client.wire import MAX_TEXTS
from livewarden_ensemble.errors import ScriptInvalid
from livewarden_ensemble.watch.cut import cut_recording, estimate_windows, share_out

RATE = 10


@pytest.fixture(scope="session")
def write_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Write a video of so many seconds; every picture differs from the one before."""

    def write(seconds: float) -> Path:
        path = tmp_path_factory.mktemp("video") / "video.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for number in range(round(seconds * RATE)):
                pixels = np.full((48, 64, 3), number * 3 % 256, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@given(
    st.lists(st.integers(0, 60_000), max_size=40),
    st.integers(1, 5000),
    st.sampled_from(["", "title"]),
)
def test_every_text_is_in_the_window_of_its_time(
    times: list[int], every_ms: int, title: str
) -> None:
    """No text is lost or sent twice; each is in [start, end) of its window, after the title."""
    texts = [Text("chat", str(place), at) for place, at in enumerate(sorted(times))]
    shared = share_out(texts, every_ms, title)
    said = [text for number in sorted(shared) for text in shared[number] if text.kind == "chat"]
    assert said == texts
    for number, window in shared.items():
        assert [text.text for text in window if text.kind == "title"] == [title] * bool(title)
        assert all(
            number * every_ms <= (text.ts_ms or 0) < (number + 1) * every_ms
            for text in window
            if text.kind == "chat"
        )


def test_more_texts_than_a_clip_holds_are_an_error_and_not_a_loss() -> None:
    """A window over the limit names its second, and what to do."""
    texts = [Text("chat", "hi", 4100)] * MAX_TEXTS
    assert len(share_out(texts, 2000)[2]) == MAX_TEXTS
    with pytest.raises(ScriptInvalid, match=r"from second 4; .* take a shorter --every"):
        share_out(texts, 2000, "a title more")


def test_a_recording_is_cut_in_order_with_the_texts_of_each_span(
    write_video: Callable[[float], Path],
) -> None:
    """Windows follow each other without a hole, each with its frames, texts, number and time."""
    video = write_video(5)
    texts = share_out([Text("chat", "a", 100), Text("chat", "b", 2000)], 2000, "t")
    windows = list(cut_recording(video, texts, every_ms=2000, frames=4, began_ms=10**12))
    assert [(one.number, one.start_ms, one.end_ms) for one in windows] == [
        (1, 0, 2000),
        (2, 2000, 4000),
        (3, 4000, 6000),
    ]
    assert [[text.text for text in one.clip.texts] for one in windows] == [
        ["t", "a"],
        ["t", "b"],
        ["t"],
    ]
    for one in windows:
        assert one.clip.clip_seq == one.number
        assert one.clip.captured_at_ms == 10**12 + one.start_ms
        assert one.clip.frames
        assert all(one.start_ms <= at < one.end_ms for at in one.clip.frame_ts_ms)
    assert estimate_windows(video, 2000) == len(windows)

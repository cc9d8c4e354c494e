from itertools import pairwise

import numpy as np
import pytest
import simplejpeg

from livewarden_client.wire import MAX_FRAMES
from livewarden_perf import standard_clip as module
from livewarden_perf.standard_clip import (
    CLIP_SHAPES,
    many_frames_clip,
    one_frame_clip,
    standard_clip,
    static_scene_clip,
    text_only_clip,
)

COUNTS = {"standard": 8, "one-frame": 1, "many-frames": 32, "text-only": 0, "static-scene": 8}


def test_the_standard_clip_is_what_the_figures_say_it_is():
    """Eight frames of 720x1280, about 100 KB each, and a title, a chat line and speech."""
    clip = standard_clip(0)
    assert [simplejpeg.decode_jpeg_header(f)[:2] for f in clip.frames] == [(720, 1280)] * 8
    assert 90_000 < np.mean([len(frame) for frame in clip.frames]) < 110_000
    assert [text.kind for text in clip.texts] == ["title", "chat", "asr"]
    assert all(20 < len(text.text) < 120 for text in clip.texts)


@pytest.mark.parametrize("shape", CLIP_SHAPES)
def test_every_shape_has_its_frames_in_time_order(shape):
    """Each frame has a time, and times rise by the same step."""
    clip = CLIP_SHAPES[shape](1)
    assert len(clip.frames) == COUNTS[shape] <= MAX_FRAMES
    assert len(clip.frame_ts_ms) == len(clip.frames)
    assert len({later - sooner for sooner, later in pairwise(clip.frame_ts_ms)}) <= 1
    assert len(clip.texts) == 3


@pytest.mark.parametrize("build", [standard_clip, static_scene_clip])
def test_the_same_number_gives_the_same_bytes(build):
    """A clip is a function of its number, also when nothing is cached."""
    first = build(2)
    module._encode_take.cache_clear()
    second = build(2)
    assert first.frames == second.frames
    assert first.texts == second.texts
    assert first.stream_id == second.stream_id


@pytest.mark.parametrize("build", [standard_clip, many_frames_clip, one_frame_clip])
def test_clips_of_other_numbers_share_nothing(build):
    """No frame and no text occurs twice, within a take of the film or across takes."""
    clips = [build(index) for index in (0, 1, 2, 3, 128, 129)]
    frames = [frame for clip in clips for frame in clip.frames]
    texts = [text.text for clip in clips for text in clip.texts]
    assert len(set(frames)) == len(frames)
    assert len(set(texts)) == len(texts)


def test_a_later_take_shows_the_film_shifted():
    """Clip 16 is clip 0 moved by 16 columns: the same content in other pixels."""
    first, later = (simplejpeg.decode_jpeg(standard_clip(i).frames[0]) for i in (0, 16))
    moved = np.abs(np.roll(first, 16, axis=1).astype(int) - later).mean()
    still = np.abs(first.astype(int) - later).mean()
    assert moved < still / 3


def test_a_static_scene_differs_in_noise_alone():
    """Its frames are other bytes, yet less apart than neighbouring pictures of the film."""
    scene = static_scene_clip(0).frames
    assert len(set(scene)) == 8
    pixels = [simplejpeg.decode_jpeg(frame).astype(int) for frame in scene]
    moving = [simplejpeg.decode_jpeg(frame).astype(int) for frame in standard_clip(0).frames[:2]]
    assert np.abs(pixels[0] - pixels[7]).mean() < 2
    assert np.abs(moving[0] - moving[1]).mean() > 4


@pytest.mark.parametrize(
    ("build", "count"),
    [(standard_clip, 1280), (one_frame_clip, 10240), (many_frames_clip, 320)],
)
def test_numbers_end_where_shifts_would_repeat(build, count):
    """The error names how many there are; the last one exists."""
    with pytest.raises(IndexError, match=rf"no clip {count}; there are {count}"):
        build(count)


def test_the_last_static_scene_exists_and_the_next_does_not():
    """There is one scene per picture of the film."""
    assert len(static_scene_clip(127).frames) == 8
    with pytest.raises(IndexError, match="there are 128"):
        static_scene_clip(128)


@pytest.mark.parametrize("build", [standard_clip, text_only_clip, static_scene_clip])
def test_negative_numbers_do_not_count_from_the_end(build):
    """Python's habit would give two numbers to one clip."""
    with pytest.raises(IndexError, match="start at 0"):
        build(-1)

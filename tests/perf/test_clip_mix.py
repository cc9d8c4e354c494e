import numpy as np
import pytest
import simplejpeg

from livewarden_client.clip import Clip, Text
from livewarden_perf.clip_mix import ClipMix, ClipStock, parse_mix, vary_clip, vary_frame
from livewarden_perf.errors import ScheduleInvalid
from livewarden_perf.standard_clip import one_frame_clip, sized_clip


def test_a_mix_has_its_shares_in_any_stretch():
    """3 : 1 over numbers 0 to 399, and over 1000 to 1039; the same number is the same shape."""
    mix = parse_mix("standard:3, one-frame")
    assert dict(mix.shares) == {"standard": 3, "one-frame": 1}
    shapes = [mix.choose_shape(number) for number in range(1400)]
    assert shapes[:400].count("standard") == pytest.approx(300, abs=3)
    assert shapes[1000:1040].count("standard") == pytest.approx(30, abs=2)
    assert shapes == [mix.choose_shape(number) for number in range(1400)]


@pytest.mark.parametrize("text", ["", "huge", "standard:0", "standard:x", "standard:nan", "a,b"])
def test_a_mix_that_is_none_says_what_exists(text):
    """The message lists the shapes."""
    with pytest.raises(ScheduleInvalid, match="text-only"):
        parse_mix(text)


def make(shape):
    return lambda index: Clip(texts=[Text("chat", f"{shape} {index}")])


def test_no_two_numbers_are_alike():
    """Made clips come back in turn, varied each time."""
    stock = ClipStock(ClipMix({"a": 1.0}), 3, {"a": make("a")})
    texts = [stock.get(number).texts[0].text for number in range(9)]
    assert texts[:4] == ["a 0", "a 1", "a 2", "a 0 1"]
    assert len(set(texts)) == 9


def test_a_stream_of_static_scenes_shows_one_scene():
    """Else it would not be static; other shapes go on."""
    shapes = {"static-scene": make("s"), "standard": make("n")}
    static = ClipStock(ClipMix({"static-scene": 1.0}), 4, shapes)
    assert {static.get(n, stream=2).texts[0].text[:3] for n in range(6)} == {"s 2"}
    moving = ClipStock(ClipMix({"standard": 1.0}), 4, shapes)
    assert len({moving.get(n, stream=2).texts[0].text[:3] for n in range(4)}) == 4


def test_a_varied_frame_has_other_pixels_and_the_same_size():
    """It decodes, hardly looks different, and no two turns give the same pixels."""
    frame = one_frame_clip(0).frames[0]
    first = simplejpeg.decode_jpeg(frame).astype(int)
    seen = set()
    for turn in (1, 2, 3, 200):
        varied = vary_frame(frame, turn)
        pixels = simplejpeg.decode_jpeg(varied).astype(int)
        seen.add(pixels.tobytes())
        assert len(varied) == len(frame)
        assert 0 < np.abs(pixels - first).mean() < 8
    assert len(seen) == 4


def test_the_first_turn_is_the_clip_itself():
    """Nothing is copied then."""
    clip = one_frame_clip(0)
    assert vary_clip(clip, 0) is clip
    assert vary_clip(clip, 1).frames != clip.frames


@pytest.mark.parametrize(("frames", "texts"), [(1, 0), (4, 7), (0, 2)])
def test_a_clip_has_the_size_asked_for(frames, texts):
    """All its texts differ."""
    clip = sized_clip(1, frames, texts)
    assert len(clip.frames) == frames
    assert len({text.text for text in clip.texts}) == texts

"""The clips that everything is measured with: real frames and ordinary sentences, by number.

The same number gives the same clip every time. Clips of one shape share neither a frame nor a
text, so that no cache can answer one of them with what it knows of another.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_client.clip import Clip, Text
from livewarden_client.video import read_pictures
from livewarden_perf.video import encode_frame, find_video

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from livewarden_client.wire import TextKind

_FILM: Final = "bigbuckbunny.mp4"  # 1280x720
_PICTURES: Final = 128
_PICTURE_MS: Final = 40
# Each take shows the film shifted a little further: other pixels, the same kind of content.
_TAKES: Final = 80
_SHIFT: Final = 16

_STANDARD_FRAMES: Final = 8
_MANY_FRAMES: Final = 32
# What a camera's sensor and encoder leave between two frames of a scene that does not move.
_NOISE: Final = 2

_SENTENCES: Final[Mapping[TextKind, tuple[str, ...]]] = {
    "title": (
        "Saturday morning in the forest, come and relax with us",
        "Drawing a rabbit from scratch, beginners welcome",
        "Animated shorts with commentary and your questions",
        "Trying the new camera outdoors before the rain starts",
    ),
    "chat": (
        "that butterfly shot was so good, what lens are you using?",
        "hello from Lisbon, first time watching live",
        "can you turn the music down a little, hard to hear you",
        "lol the face he made when the apple fell",
    ),
    "asr": (
        "so as you can see the light is really soft here in the morning and that helps a lot",
        "I will zoom in a bit so that everybody can follow what the left hand is doing",
        "thank you for the kind words, we take two more questions and then have a break",
        "let me know in the chat if the picture freezes, the connection was bad yesterday",
    ),
}


def standard_clip(index: int) -> Clip:
    """Build clip `index` of 1280: eight 720x1280 JPEG frames of about 100 KB, and three texts."""
    return _build_clip("standard", index, *_take_frames(index, _STANDARD_FRAMES))


def one_frame_clip(index: int) -> Clip:
    """Build clip `index` of 10240: one frame and three texts."""
    return _build_clip("one-frame", index, *_take_frames(index, 1))


def many_frames_clip(index: int) -> Clip:
    """Build clip `index` of 320: 32 frames and three texts."""
    return _build_clip("many-frames", index, *_take_frames(index, _MANY_FRAMES))


def sized_clip(index: int, frames: int, texts: int) -> Clip:
    """Build a clip of `frames` frames (0 or a power of 2 up to 64) and `texts` texts, by number."""
    taken = _take_frames(index, frames) if frames else ((), ())
    clip = _build_clip(f"sized-{frames}-{texts}", index, *taken)
    kinds = cycle(clip.texts)
    return replace(
        clip,
        texts=tuple(
            Text(text.kind, f"{text.encode().decode()} [{place}]")
            for place, text in zip(range(texts), kinds, strict=False)
        ),
    )


def text_only_clip(index: int) -> Clip:
    """Build clip `index`: three texts."""
    _refuse_negative(index)
    return _build_clip("text-only", index)


def static_scene_clip(index: int) -> Clip:
    """Build clip `index` of 128: eight frames of one scene that differ in noise alone."""
    _refuse_negative(index)
    picture = next(islice(read_pictures(find_video(_FILM)), index, _PICTURES), None)
    if picture is None:
        raise _no_clip(index, _PICTURES)
    random = np.random.default_rng(index)
    frames = []
    for _ in range(_STANDARD_FRAMES):
        noise = random.integers(-_NOISE, _NOISE, picture.shape, np.int16, endpoint=True)
        frames.append(encode_frame(np.clip(picture + noise, 0, 255).astype(np.uint8)))
    times = tuple(range(0, _STANDARD_FRAMES * _PICTURE_MS, _PICTURE_MS))
    return _build_clip("static-scene", index, tuple(frames), times)


CLIP_SHAPES: Final[Mapping[str, Callable[[int], Clip]]] = {
    "standard": standard_clip,
    "one-frame": one_frame_clip,
    "many-frames": many_frames_clip,
    "text-only": text_only_clip,
    "static-scene": static_scene_clip,
}


def _build_clip(
    shape: str, index: int, frames: tuple[bytes, ...] = (), times: tuple[int, ...] = ()
) -> Clip:
    part, sentence = divmod(index, len(_SENTENCES["title"]))
    return Clip(
        frames,
        tuple(
            Text(kind, f"{sentences[sentence]} ({part + 1})")
            for kind, sentences in _SENTENCES.items()
        ),
        frame_ts_ms=times,
        stream_id=f"perf-{shape}-{index}",
    )


def _take_frames(index: int, count: int) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    """Pick `count` frames spread evenly over the film, with their times in ms."""
    _refuse_negative(index)
    starts = _PICTURES // count
    take, start = divmod(index, starts)
    if take >= _TAKES:
        raise _no_clip(index, _TAKES * starts)
    chosen = slice(start, None, starts)
    times = tuple(number * _PICTURE_MS for number in range(_PICTURES)[chosen])
    return _encode_take(take)[chosen], times


@lru_cache(maxsize=2)  # 13 MB each; neighbouring numbers come from one take
def _encode_take(take: int) -> tuple[bytes, ...]:
    pictures = islice(read_pictures(find_video(_FILM)), _PICTURES)
    return tuple(encode_frame(np.roll(picture, take * _SHIFT, axis=1)) for picture in pictures)


def _refuse_negative(index: int) -> None:
    if index < 0:
        raise IndexError(f"no clip {index}; numbers start at 0")


def _no_clip(index: int, count: int) -> IndexError:
    return IndexError(f"no clip {index}; there are {count} of this shape")

"""Clips of a recorded video: frames evenly spread in time, as JPEG. Needs the extra `[video]`."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from livewarden_client.clip import Clip
from livewarden_client.errors import InvalidRequest
from livewarden_client.wire import MAX_FRAMES

try:
    import av
    from av.error import FFmpegError
    from av.video.reformatter import ColorRange, Colorspace
except ImportError as error:
    raise InvalidRequest(
        "video: reading videos needs PyAV; run: pip install 'livewarden[video]'", "video"
    ) from error

if TYPE_CHECKING:
    from av.container import InputContainer
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

# FFmpeg's scale: 1 is best, 31 worst. At 4 a frame of 720x1280 takes about 110 KB.
_QUANTISER: Final = 4
_MIN_SIDE: Final = 16
_MAX_SIDE: Final = 16384
_MAX_EVERY: Final = 3600.0
_USUAL_DURATION: Final = 0.04
_ROUNDING: Final = 1e-6


class _Shown(NamedTuple):
    """A decoded frame and the second of the video at which it appears."""

    second: float
    frame: av.VideoFrame


def read_video(
    path: str | Path,
    *,
    every: float = 2.0,
    frames: int = 8,
    start: float = 0.0,
    longest_side: int = 640,
    like: Clip | None = None,
) -> Iterator[Clip]:
    """Yield a clip for every `every` seconds of the video at `path`, a file or a URL of one.

    A clip holds at most `frames` JPEG frames: those that are on screen at evenly spread moments,
    each once, so that a still picture gives one for each clip. They are turned upright, and made
    smaller where their longest side is over `longest_side` pixels. `start` is the second of the
    video to begin at, and `frame_ts_ms` counts from its second 0. `like` gives the other fields of
    every clip: its `clip_seq` is that of the first one, its `captured_at_ms` that of second 0.

    Damaged parts are passed over, with one warning in the log of this module. Raises
    InvalidRequest where an argument is wrong or where there is no picture at all.
    """
    plan = _check_plan(every, frames, start, longest_side)
    return _cut(path, *plan, like or Clip())


def read_first(
    path: str | Path,
    *,
    every: float,
    frames: int,
    start: float,
    longest_side: int,
    like: Clip | None,
) -> Clip:
    """Give the first clip of `read_video`; InvalidRequest where there is none."""
    plan = _check_plan(every, frames, start, longest_side)
    with closing(_cut(path, *plan, like or Clip())) as clips:
        for clip in clips:
            return clip
    raise InvalidRequest(f"start: the video is over before second {start:g}", "start")


def read_pictures(path: str | Path) -> Iterator[NDArray[np.uint8]]:
    """Yield every picture of the video at `path` in time order, RGB uint8 [H, W, 3], upright."""
    with closing(_decode(path, 0.0)) as shown:
        for _, frame in shown:
            yield _to_rgb(frame)


def encode_jpeg(frame: av.VideoFrame) -> bytes:
    """Encode `frame` as a JPEG file, 4:2:0; the same frame gives the same bytes."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 1000)
    encoder.qmin = encoder.qmax = _QUANTISER
    encoder.thread_count = 1
    # JPEG files are BT.601 in full range, whatever the video is.
    full = frame.reformat(
        format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG
    )
    return b"".join(bytes(packet) for packet in encoder.encode(full))


def _check_plan(
    every: float, frames: int, start: float, longest_side: int
) -> tuple[float, int, float, int]:
    wanted: tuple[tuple[str, Any, type | tuple[type, ...], float, float], ...] = (
        ("every", every, (int, float), 0.001, _MAX_EVERY),
        ("frames", frames, int, 1, MAX_FRAMES),
        ("start", start, (int, float), 0, math.inf),
        ("longest_side", longest_side, int, _MIN_SIDE, _MAX_SIDE),
    )
    for name, value, kind, least, most in wanted:
        good = isinstance(value, kind) and not isinstance(value, bool)
        if not (good and least <= value <= most and math.isfinite(value)):
            given = value if isinstance(value, int | float) else type(value).__name__
            what = "int" if kind is int else "number of seconds"
            raise InvalidRequest(
                f"{name}: got {given}; accepted: {what} from {least:g} to {most:g}", name
            )
    return float(every), frames, float(start), longest_side


def _cut(
    path: str | Path, every: float, frames: int, start: float, longest_side: int, like: Clip
) -> Generator[Clip, None, None]:
    """Yield the clips: a grid of moments, and for each the frame that is on screen then."""
    with closing(_decode(path, start)) as shown:
        picked = _pick(shown, every / frames, frames, start)
        for index, group in groupby(picked, lambda one: one[0]):
            moments = [picture for _, picture in group]
            since = round((start + index * every) * 1000)
            captured = like.captured_at_ms
            yield replace(
                like,
                frames=[encode_jpeg(_fit(frame, longest_side)) for _, frame in moments],
                frame_ts_ms=[round(second * 1000) for second, _ in moments],
                clip_seq=like.clip_seq + index,
                captured_at_ms=None if captured is None else captured + since,
            )


def _pick(
    shown: Iterator[_Shown], step: float, frames: int, start: float
) -> Iterator[tuple[int, _Shown]]:
    """Yield, with the number of its clip, each frame that is on screen at a moment of the clip.

    Moments are `start + n * step`, `frames` of them a clip. A frame stays until the next one
    comes, however far that is: rates may vary.
    """
    for now, following in pairwise(_end(shown)):
        # Rounding must not give a moment to the frame before the one that begins at it.
        moment = max(0, math.ceil((now.second - start) / step - _ROUNDING))
        end = (following.second - start) / step - _ROUNDING
        while moment < end:
            index = moment // frames
            yield index, now
            moment = (index + 1) * frames


def _end(shown: Iterator[_Shown]) -> Iterator[_Shown]:
    """Yield all of `shown`, then the last once more, at the second when it goes off."""
    last = None
    for one in shown:
        yield one
        last = one
    if last is not None:
        yield last._replace(second=last.second + _last(last.frame))


def _decode(path: str | Path, start: float) -> Generator[_Shown, None, None]:
    """Yield the frames from the last key frame before second `start` on, in time order."""
    name = Path(path).name if isinstance(path, str | Path) else type(path).__name__
    with _open(path, name) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        origin = float((stream.start_time or 0) * (stream.time_base or 0))
        if start > 0:
            # What cannot be wound forward is read from its beginning.
            with suppress(FFmpegError):
                container.seek(int((origin + start) * av.time_base))
        fault = _Fault()
        second = -math.inf
        for frame in _survive(container, fault):
            begins = -math.inf if frame.time is None else frame.time - origin
            # Times that are missing or run backwards go on from the frame before.
            second = begins if begins > second else max(second, 0.0) + _last(frame)
            yield _Shown(second, frame)
    if second == -math.inf:
        raise InvalidRequest(f"path: no picture of {name!r} can be decoded", "path")
    if fault.packets:
        _log.warning("%s: %d damaged parts were passed over", name, fault.packets)


def _open(path: str | Path, name: str) -> InputContainer:
    try:
        container = av.open(str(path))
    except FFmpegError as error:
        raise InvalidRequest(
            f"path: {name!r} cannot be read as a video: {error.strerror}", "path"
        ) from None
    if not container.streams.video:
        container.close()
        raise InvalidRequest(f"path: {name!r} has no video stream", "path")
    return container


@dataclass(slots=True)
class _Fault:
    """Counts what could not be read."""

    packets: int = 0


def _survive(container: InputContainer, fault: _Fault) -> Iterator[av.VideoFrame]:
    """Yield every frame that can be decoded; a break of the file itself is its end."""
    packets = container.demux(container.streams.video[0])
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except FFmpegError:
            fault.packets += 1
            return
        try:
            frames = packet.decode()
        except FFmpegError:
            fault.packets += 1
            continue
        yield from frames


def _last(frame: av.VideoFrame) -> float:
    """Seconds that `frame` stays by its own account; one of 25 a second where it has none."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return _USUAL_DURATION


def _fit(frame: av.VideoFrame, longest_side: int) -> av.VideoFrame:
    """`frame` upright, its longest side at most `longest_side`."""
    scale = min(1.0, longest_side / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    if not _quarter_turns(frame):
        return frame if scale == 1 else frame.reformat(width, height)
    small = frame.reformat(width, height, format="rgb24", dst_colorspace=Colorspace.ITU601)
    return av.VideoFrame.from_ndarray(
        _turn(np.asarray(small.to_ndarray(), np.uint8), frame), format="rgb24"
    )


def _to_rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return _turn(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), frame)


def _turn(picture: NDArray[np.uint8], frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Turn `picture`, [H, W, 3], by what `frame` says of itself: cameras are held sideways."""
    return np.ascontiguousarray(np.rot90(picture, _quarter_turns(frame)))


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4

"""The cut: a recording as the clips that a platform would have sent of it while it was live."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import av
from av.error import FFmpegError

from livewarden_client.clip import Clip, Text
from livewarden_client.video import read_video
from livewarden_client.wire import MAX_TEXTS
from livewarden_ensemble.errors import ScriptInvalid
from livewarden_ensemble.watch.moment import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

STREAM_ID: Final = "watch"


def share_out(texts: Sequence[Text], every_ms: int, title: str = "") -> Mapping[int, list[Text]]:
    """Give each window's number, from 0, the texts whose time falls into it, after the title.

    The mapping answers for every number: a window into which none falls has the title alone.
    Raises ScriptInvalid where a window has more than one clip can hold: none is dropped.
    """
    head = [Text("title", title)] if title else []
    windows: defaultdict[int, list[Text]] = defaultdict(lambda: list(head))
    for text in texts:
        windows[(text.ts_ms or 0) // every_ms].append(text)
    for number, said in sorted(windows.items()):
        if len(said) > MAX_TEXTS:
            raise ScriptInvalid(
                f"{len(said)} texts fall into the {every_ms / 1000:g} s from second "
                f"{number * every_ms / 1000:g}; a clip holds {MAX_TEXTS}, the title included: "
                "take a shorter --every"
            )
    return windows


def cut_recording(
    video: Path,
    texts: Mapping[int, Sequence[Text]],
    *,
    every_ms: int,
    frames: int,
    began_ms: int,
) -> Iterator[Window]:
    """Yield the windows of `video`, in order, each with its frames and its share of `texts`.

    `began_ms` is the Unix time at which second 0 counts as captured. Raises InvalidRequest where
    the video cannot be read.
    """
    like = Clip(stream_id=STREAM_ID, clip_seq=1, captured_at_ms=began_ms)
    for clip in read_video(video, every=every_ms / 1000, frames=frames, like=like):
        index = clip.clip_seq - 1
        own = replace(clip, texts=tuple(texts[index]), request_id=f"{STREAM_ID}-{clip.clip_seq}")
        yield Window(clip.clip_seq, index * every_ms, (index + 1) * every_ms, own)


def estimate_windows(video: Path, every_ms: int) -> int | None:
    """Estimate from the file's head how many windows `video` has; None where it does not say."""
    try:
        with av.open(str(video)) as container:
            duration = container.duration
    except FFmpegError:
        return None
    return None if duration is None else max(1, -(-duration // (every_ms * 1000)))

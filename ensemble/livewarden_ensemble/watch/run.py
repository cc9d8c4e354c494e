"""The run: windows of a recording through a server, one after the other, as one stream."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from livewarden_ensemble.watch.moment import Moment
from livewarden_ensemble.watch.thumbnail import make_thumbnail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from livewarden_client.stream import Stream
    from livewarden_ensemble.watch.moment import Window


def watch_windows(stream: Stream, windows: Iterable[Window]) -> Iterator[Moment]:
    """Send each window's clip and yield its moment; each clip carries the state of the one before.

    A clip that gets no verdict ends as the stream's client says: in its own review, or in an error.
    """
    for window in windows:
        began = time.perf_counter()
        verdict = stream.moderate(window.clip)
        latency_ms = (time.perf_counter() - began) * 1000
        if verdict is None:
            raise RuntimeError("the stream dropped a clip although each had a higher number")
        yield Moment(
            number=window.number,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            texts=tuple(window.clip.texts),
            verdict=verdict,
            latency_ms=latency_ms,
            thumbnail=make_thumbnail(window.clip, verdict),
        )

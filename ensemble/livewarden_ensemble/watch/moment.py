"""The moment: one clip of a recording, what was sent with it, and what came back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livewarden_client.clip import Clip, Text
    from livewarden_client.verdict import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of the recording [start_ms, end_ms) and its clip, which is number `number` of 1."""

    number: int
    start_ms: int
    end_ms: int
    clip: Clip


@dataclass(frozen=True, slots=True, repr=False)
class Thumbnail:
    """A small picture (JPEG) of the frame `frames[index]` of a clip, which was shown at `at_ms`.

    `spoke` says whether the frame is evidence of the verdict; where none is, it is the middle one.
    """

    jpeg: bytes
    index: int
    spoke: bool
    at_ms: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, repr=False)
class Moment:
    """What became of one window; `latency_ms` is from the call to its verdict, None without a call.

    `texts` are those of the clip, in the order in which the verdict counts them. `thumbnail` shows
    the frame that decided, or the middle one.
    """

    number: int
    start_ms: int
    end_ms: int
    texts: tuple[Text, ...]
    verdict: Verdict
    latency_ms: float | None
    thumbnail: Thumbnail | None = None

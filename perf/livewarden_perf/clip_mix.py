"""Which clip has which number: a mix of shapes, with no two numbers alike.

Clips are made once and kept; each further time that one is used, its frames and texts are varied a
little, so that no cache can answer it with what it knows.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Self

from livewarden_client.clip import Text
from livewarden_perf.errors import ScheduleInvalid
from livewarden_perf.standard_clip import CLIP_SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from livewarden_client.clip import Clip

STATIC: Final = "static-scene"
# Where a JPEG's first quantisation table stands: marker, length, table number, 64 steps.
_QUANTISATION: Final = b"\xff\xdb"
_HEADER: Final = 5
_STEPS: Final = 64
# The average of a block stays as it is: that would change the picture's brightness.
_FIRST_STEP: Final = 1
# Multiples of the golden ratio fall evenly into [0, 1), so that any stretch has the shares asked.
_GOLDEN: Final = (5**0.5 - 1) / 2
_LARGEST: Final = 255


@dataclass(frozen=True, slots=True)
class ClipMix:
    """Shapes of clips with their shares; `number` -> clip is the same in every run."""

    shares: Mapping[str, float]

    def choose_shape(self, number: int) -> str:
        """Choose the shape of clip `number`."""
        names, totals = list(self.shares), list(accumulate(self.shares.values()))
        draw = number * _GOLDEN % 1.0 * totals[-1]
        return names[bisect_right(totals, draw)]

    def __str__(self) -> str:
        return ", ".join(f"{name}:{share:g}" for name, share in self.shares.items())


def parse_mix(text: str) -> ClipMix:
    """Parse `standard` or `standard:8,one-frame:2`; ScheduleInvalid says what exists."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition(":")
        try:
            shares[name] = float(share or 1)
        except ValueError:
            shares[name] = -1.0
        if name not in CLIP_SHAPES or not 0 < shares[name] < float("inf"):
            raise ScheduleInvalid(
                f"{part.strip()!r} is no part of a mix; accepted: SHAPE or SHAPE:SHARE with one of "
                f"{', '.join(CLIP_SHAPES)}"
            )
    return ClipMix(shares)


class ClipStock:
    """The clips of a mix by number; `distinct` of each shape are made, all before the run."""

    def __init__(
        self,
        mix: ClipMix,
        distinct: int,
        shapes: Mapping[str, Callable[[int], Clip]] = CLIP_SHAPES,
    ) -> None:
        self._mix = mix
        self._made: dict[str, Sequence[Clip]] = {
            name: [shapes[name](index) for index in range(distinct)] for name in mix.shares
        }

    @classmethod
    def of_one_shape(cls, make: Callable[[int], Clip], distinct: int) -> Self:
        """Make the stock of a shape that has no name."""
        return cls(ClipMix({"": 1.0}), distinct, {"": make})

    def get(self, number: int, stream: int | None = None) -> Clip:
        """Get clip `number`; a stream of static scenes shows the same scene all the time."""
        shape = self._mix.choose_shape(number)
        made = self._made[shape]
        place = stream if shape == STATIC and stream is not None else number
        clip = made[place % len(made)]
        return vary_clip(clip, number // len(made))


def vary_clip(clip: Clip, turn: int) -> Clip:
    """Give `clip` other pixels and texts, at the same cost; turn 0 leaves it as it is."""
    if turn == 0:
        return clip
    return replace(
        clip,
        frames=tuple(vary_frame(frame, turn) for frame in clip.frames),
        texts=tuple(
            Text(text.kind, f"{text.encode().decode(errors='replace')} {turn}")
            for text in clip.texts
        ),
    )


def vary_frame(jpeg: bytes, turn: int) -> bytes:
    """Change a few steps of the JPEG's first quantisation table by one, as `turn` says in binary.

    The compressed data stays, so decoding costs the same; the pixels change a little everywhere.
    """
    start = jpeg.index(_QUANTISATION) + _HEADER
    table = bytearray(jpeg[start : start + _STEPS])
    for place in range(_FIRST_STEP, _STEPS):
        if turn >> (place - _FIRST_STEP) & 1:
            table[place] += 1 if table[place] < _LARGEST else -1
    return jpeg[:start] + bytes(table) + jpeg[start + _STEPS :]

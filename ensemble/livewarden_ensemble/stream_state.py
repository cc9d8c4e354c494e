"""What a stream has done so far, as far as its policy must remember it.

Order-free by construction: hits are a set of clip numbers, peaks a maximum, times a maximum. So a
clip that comes late or twice finds its place, and a stream of N clips needs no more room than 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

# The newest clips that a stream remembers one by one; the longest N-of-M rule is as long.
WINDOW: Final = 32

# Why a token was not trusted. `forged`: no key of ours signed it, or it was changed. `foreign`:
# signed for another stream. `unknown_key`: signed with a key that this server does not hold.
Fault = Literal["malformed", "too_large", "version", "unknown_key", "foreign", "forged"]


class LabelMemory(msgspec.Struct, frozen=True, array_like=True):
    """One label of one stream.

    `level` indexes ACTIONS: the action that is held by hysteresis. `peak` is the loudest score,
    decayed to the state's `ms`. Bit i of `confirming` and `repeating` says whether the state's
    clip i was a hit. `held_ms` are the last times (Unix ms, 0 for never) at which the label asked
    for review, restrict and block. `violations` were counted, the last at `violated_ms`;
    `offended_ms` is the last time that the label asked for as much as counts as a violation.
    """

    level: int = 0
    peak: float = 0.0
    confirming: int = 0
    repeating: int = 0
    held_ms: tuple[int, int, int] = (0, 0, 0)
    violations: int = 0
    violated_ms: int = 0
    offended_ms: int = 0


class StreamState(msgspec.Struct, frozen=True, array_like=True):
    """A stream after its newest clip: number `seq` (-1 for none yet), taken at `ms` (Unix).

    `clips` are the newest that came, newest first, each as how many numbers before `seq` it stands
    and how many ms before `ms` it was captured. `labels` holds the labels that have something to
    remember, `shadows` the same stream as each shadow policy remembers it. `fault` says why a
    token was refused; it never travels.
    """

    seq: int = -1
    ms: int = 0
    clips: tuple[tuple[int, int], ...] = ()
    labels: Mapping[str, LabelMemory] = {}
    shadows: Mapping[str, StreamState] = {}
    fault: Fault | None = None


FRESH: Final = StreamState()

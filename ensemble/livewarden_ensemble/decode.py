"""Frames: bytes of a caller to the RGB squares that the encoders see.

Always bytes, then header, then budget, then pixels; never decode and then check. One picture
gives one view, unless a single view could hide something from the encoders that a viewer sees:
an animation gives its first, middle and last image, a see-through picture its looks on black and
on white.

A view is the whole picture squashed to a square. A crop would keep the proportions and lose the
borders, which is where a caller who wants to hide something would put it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from livewarden_client.wire import IMAGE_SIDE, MAX_FRAME_BYTES
from livewarden_ensemble.coverage import FrameState
from livewarden_ensemble.image_header import Format, ImageHeader, has_all_rows, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Clips are spread over processes and threads already; a pool inside each resize only adds queues.
cv2.setNumThreads(1)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one frame may cost; a frame over any of them is TOO_LARGE and is not decoded.

    Pixels are counted over all images of an animation. WebP has its own count because its decoder
    holds 16 bytes a pixel, JPEG 8 and PNG 4 at most. `max_png_bytes` is what the pixels of a PNG
    inflate to, about 6 ns each; `max_png_pixels` of 8 bits a channel fit all the same, so that a
    screenshot in 4K with alpha is seen. `max_scan_pixels` is pixels times scans of a JPEG, about
    1 ns each: small files can repeat a scan thousands of times.
    """

    max_bytes: int = MAX_FRAME_BYTES
    max_side: int = 8192
    max_pixels: int = 25_000_000
    max_webp_pixels: int = 11_000_000
    max_png_bytes: int = 26_000_000
    max_png_pixels: int = 3840 * 2160
    max_images: int = 1024
    max_scans: int = 64
    max_scan_pixels: int = 250_000_000


DEFAULT_LIMITS: Final = DecodeLimits()
_RGBA_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame after decoding; no views unless the state is OK or ANIMATED.

    Views are uint8 RGB, [224, 224, 3], C-contiguous.
    """

    state: FrameState
    views: tuple[Pixels, ...] = field(default=(), repr=False)


def decode_frame(data: bytes | memoryview, limits: DecodeLimits = DEFAULT_LIMITS) -> DecodedFrame:
    """The views of one JPEG, PNG or WebP file; whatever the bytes hold, it does not raise.

    Orientation, palette, CMYK, 16-bit and see-through pictures come out as a browser shows them.
    A file that is cut short or damaged so that its decoder notices is CORRUPT as a whole: what
    did decode is not scored, because a viewer may see the rest.
    """
    if len(data) == 0:
        return DecodedFrame(FrameState.EMPTY)
    if len(data) > limits.max_bytes:
        return DecodedFrame(FrameState.TOO_LARGE)
    data = bytes(data)
    header = read_header(data)
    if isinstance(header, FrameState):
        return DecodedFrame(header)
    if _exceeds(header, limits):
        return DecodedFrame(FrameState.TOO_LARGE)
    try:
        upright = _UPRIGHT[header.orientation]
        views = tuple(
            np.ascontiguousarray(upright(view)) for view in _DECODERS[header.format](data, header)
        )
    except Exception:  # noqa: BLE001 - codecs raise anything, and a caller's bytes choose what
        return DecodedFrame(FrameState.CORRUPT)
    return DecodedFrame(FrameState.ANIMATED if header.images > 1 else FrameState.OK, views)


def fit_frame(rgb: Pixels) -> Pixels:
    """`rgb` [H, W, C] of any size from 1x1 as uint8 [224, 224, C], C-contiguous.

    Sides are shrunk by area and enlarged by linear interpolation, each on its own. A frame that
    fits already is not copied.
    """
    height, width = rgb.shape[:2]
    if max(height, width) > IMAGE_SIDE:
        size = min(width, IMAGE_SIDE), min(height, IMAGE_SIDE)
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    if min(height, width) < IMAGE_SIDE:
        size = IMAGE_SIDE, IMAGE_SIDE
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(rgb)


def _exceeds(header: ImageHeader, limits: DecodeLimits) -> bool:
    pixels = header.width * header.height
    most = limits.max_webp_pixels if header.format == "WEBP" else limits.max_pixels
    if header.format == "PNG":
        few = limits.max_png_pixels if header.pixel_bits <= _RGBA_BITS else 0
        most = min(most, max(few, limits.max_png_bytes * 8 // header.pixel_bits))
    return (
        max(header.width, header.height) > limits.max_side
        or header.images > limits.max_images
        or pixels * header.images > most
        or header.scans > limits.max_scans
        or (header.scans > 1 and pixels * header.scans > limits.max_scan_pixels)
    )


# How a view is turned upright, by EXIF orientation. Turning the finished square is the same as
# turning the picture, and costs nothing.
_UPRIGHT: Final[dict[int, Callable[[Pixels], Pixels]]] = {
    1: lambda view: view,
    2: lambda view: view[:, ::-1],
    3: lambda view: view[::-1, ::-1],
    4: lambda view: view[::-1],
    5: lambda view: view.swapaxes(0, 1),
    6: lambda view: np.rot90(view, -1),
    7: lambda view: view.swapaxes(0, 1)[::-1, ::-1],
    8: np.rot90,
}


def _decode_jpeg(data: bytes, header: ImageHeader) -> Iterable[Pixels]:
    # The decoder's own reading decides what it allocates, so it must be the one that was judged.
    if simplejpeg.decode_jpeg_header(data)[:2] != (header.height, header.width):
        raise ValueError("two readings of one header differ")
    # Halving is what the decoder has fast code for: 1/2 costs less than 5/8 or 3/8 and is nearer
    # to the full picture. Below the square's side it would lose detail.
    scale = next(
        n for n in (8, 4, 2, 1) if n == 1 or min(header.height, header.width) >= n * IMAGE_SIDE
    )
    rgb: Pixels = simplejpeg.decode_jpeg(
        data,
        min_height=-(-header.height // scale),
        min_width=-(-header.width // scale),
        min_factor=1,
        strict=True,  # else a file cut short comes back as a grey picture
    )
    return [fit_frame(rgb)]


def _decode_pillow(data: bytes, header: ImageHeader) -> Iterable[Pixels]:
    with Image.open(io.BytesIO(data), formats=(header.format,)) as image:
        images = getattr(image, "n_frames", 1)
        if (*image.size, images) != (header.width, header.height, header.images):
            raise ValueError("two readings of one header differ")
        for index in sorted({0, images // 2, images - 1}):
            image.seek(index)
            yield from _views(image)
            if header.format == "PNG" and index == 0:
                _check_rows(data, image)


def _check_rows(data: bytes, image: Image.Image) -> None:
    """Raise ValueError where rows are missing at the end of a PNG.

    Pillow leaves them at zero and says nothing, so only a last row of zeros needs the look.
    """
    width, height = image.size
    suspect = (
        image.info.get("interlace") or not image.crop((0, height - 1, width, height)).getbbox()
    )
    if suspect and not has_all_rows(data):
        raise ValueError("rows are missing")


# Rows that are converted at once: a second copy of a whole picture would double its memory.
_STRIP: Final = 64


def _views(image: Image.Image) -> Iterable[Pixels]:
    """The looks of one picture: itself, or if light shines through, it on black and on white."""
    image.load()  # an animation settles its mode only here
    width, height = image.size
    # Whole-numbered reduction before the picture leaves the codec's memory.
    across, down = max(1, width // (2 * IMAGE_SIDE)), max(1, height // (2 * IMAGE_SIDE))
    rows = -(-_STRIP // down) * down
    clear = image.has_transparency_data
    square = fit_frame(
        np.concatenate(
            [
                np.asarray(
                    _convert(
                        image.crop((0, top, width, min(top + rows, height))), clear=clear
                    ).reduce((across, down))
                )
                for top in range(0, height, rows)
            ]
        )
    )
    if not clear:
        return [square]
    # Colours times alpha are the picture on black, and what alpha leaves over is the white.
    black, gap = square[..., :3], 255 - square[..., 3:]
    if not gap.any():
        return [black]
    return [black, black + np.minimum(gap, 255 - black)]


def _convert(image: Image.Image, *, clear: bool) -> Image.Image:
    """RGB, or if it is `clear` RGB times alpha, and alpha."""
    if image.mode.startswith("I;16"):
        image = _halve_depth(image)
    for mode in ("RGBA", "RGBa") if clear else ("RGB",):
        # Pillow copies even a picture that is in the mode already.
        image = image if image.mode == mode else image.convert(mode)
    return image


def _halve_depth(image: Image.Image) -> Image.Image:
    """A 16-bit grey picture in 8 bits, with alpha if it names a see-through value.

    Pillow's own conversion clips: all but the darkest 256 shades would be white.
    """
    deep = np.asarray(image)
    grey = Image.fromarray(cv2.convertScaleAbs(deep, alpha=1 / 257))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
    return grey


_DECODERS: Final[dict[Format, Callable[[bytes, ImageHeader], Iterable[Pixels]]]] = {
    "JPEG": _decode_jpeg,
    "PNG": _decode_pillow,
    "WEBP": _decode_pillow,
}

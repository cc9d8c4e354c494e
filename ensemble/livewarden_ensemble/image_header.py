"""What the bytes of a JPEG, PNG or WebP say about their cost, read without decoding a pixel.

A decoder allocates what a header asks for, so the header is judged first: 34 bytes of WebP ask for
183 MiB. Formats are told by their first bytes alone; names and media types are never asked.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from livewarden_ensemble.coverage import FrameState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Format = Literal["JPEG", "PNG", "WEBP"]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The claims of one file: size in pixels, and how often its pixels are gone over.

    `images` counts the pictures of an animation, with a still picture hidden behind it; `scans`
    the passes of a multi-scan JPEG, up to `MAX_PARTS`. `pixel_bits` is what one pixel of a PNG
    takes once it is inflated. `orientation` is the EXIF value, 1 to 8.
    """

    format: Format
    width: int
    height: int
    images: int = 1
    scans: int = 1
    orientation: int = 1
    pixel_bits: int = 24


# Segments or chunks in one file. Reading stops here, so that 8 MiB of 12-byte chunks cost no more
# than a real picture; a real one has some dozens, or a thousand if its encoder flushed every 8 KiB.
MAX_PARTS: Final = 10_000

_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
# Colour types and depths whose see-through value Pillow compares with pixels of another depth, so
# that the encoders would see other parts of the picture than a viewer does.
_PNG_MISREAD: Final = frozenset({(0, 2), (0, 4), (2, 16)})
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_GREY_ALPHA: Final = 4
# First column and row, and steps, of each pass of an interlaced PNG (Adam7), and of a plain one.
_ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_ONE_PASS: Final = ((0, 0, 1, 1),)
_PNG_DEPTHS: Final = frozenset({1, 2, 4, 8, 16})
# Chunks that no pixel depends on, and that each make Pillow inflate up to a MiB.
_PNG_DEFLATED: Final = frozenset({b"zTXt", b"iTXt", b"iCCP"})
MAX_DEFLATED: Final = 8
_INFLATE_STEP: Final = 256 * 1024


def read_header(data: bytes) -> ImageHeader | FrameState:
    """The header of `data`, or the state of a frame that must not be decoded."""
    read: Callable[[bytes], ImageHeader | FrameState]
    if data[:3] == b"\xff\xd8\xff":
        read = _read_jpeg
    elif data[:8] == _PNG_MAGIC:
        read = _read_png
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        read = _read_webp
    else:
        return FrameState.UNSUPPORTED
    try:
        header = read(data)
    except (struct.error, IndexError):  # a field beyond the end of the file
        return FrameState.CORRUPT
    if isinstance(header, ImageHeader) and 0 in (header.width, header.height):
        return FrameState.CORRUPT
    return header


# A marker as libjpeg looks for one: stuffed zeros, restart marks and fill bytes are none, and
# neither is 0x01, which has no length.
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOF_SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
_SOF_PROGRESSIVE: Final = 0xC2
_EXIF_PREFIX: Final = b"Exif\0\0"
_ORIENTATION_TAG: Final = 0x0112
_SHORT: Final = 3


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Each marker with the offset behind it, up to the end of the picture."""
    at = 2
    while found := _JPEG_MARKER.search(data, at):
        at = found.end()
        marker = data[at - 1]
        yield marker, at
        if marker == _EOI:
            return
        at += int.from_bytes(data[at : at + 2])


def _read_jpeg(data: bytes) -> ImageHeader | FrameState:
    segments = _jpeg_segments(data)
    frame = exif = None
    for marker, at in islice(segments, MAX_PARTS):
        if marker in _SOF:
            frame = frame or (marker, at)
        elif marker == _APP1 and data[at + 2 : at + 8] == _EXIF_PREFIX:
            exif = exif or data[at + 2 : at + int.from_bytes(data[at : at + 2])]
        elif marker == _SOS:
            components_in_scan = data[at + 2]
            break
    else:
        return FrameState.CORRUPT
    if frame is None:
        return FrameState.CORRUPT
    kind, at = frame
    precision, height, width, components = struct.unpack_from(">BHHB", data, at + 2)
    # No browser shows arithmetic, lossless or 12-bit JPEG either.
    if precision != 8 or kind not in _SOF_SEQUENTIAL | {_SOF_PROGRESSIVE}:  # noqa: PLR2004 - bits
        return FrameState.UNSUPPORTED
    scans = 1
    # A sequential picture whose first scan holds all its components ends with that scan: the
    # decoder refuses a second one, so the rest of the file need not be searched.
    if kind == _SOF_PROGRESSIVE or components_in_scan < components:
        rest = list(islice(segments, MAX_PARTS))
        if len(rest) == MAX_PARTS:
            return FrameState.TOO_LARGE
        scans += sum(marker == _SOS for marker, _ in rest)
    return ImageHeader("JPEG", width, height, 1, scans, _read_orientation(exif or b""))


def _read_orientation(tiff: bytes | memoryview) -> int:
    """The EXIF orientation in a TIFF block; 1 if it has none, or is broken.

    Read by hand: a general EXIF reader copies the value of every tag, and 65,535 tags may all
    claim the same megabytes.
    """
    if tiff[:6] == _EXIF_PREFIX:
        tiff = tiff[6:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for index in range(entries):
            tag, kind, _, value = struct.unpack_from(
                order + "HHIH", tiff, directory + 2 + 12 * index
            )
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and 1 <= value <= 8 else 1  # noqa: PLR2004 - EXIF
    except struct.error:
        pass
    return 1


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Each chunk's kind and body, up to the end of the picture or the first damaged chunk."""
    view = memoryview(data)
    at, kind = len(_PNG_MAGIC), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        body, at = at + 8, at + 12 + length
        (checksum,) = struct.unpack_from(">I", data, at - 4)
        if zlib.crc32(view[body - 4 : at - 4]) != checksum:
            return
        yield kind, view[body : at - 4]


def _read_png(  # noqa: PLR0911 - one way out per trouble
    data: bytes,
) -> ImageHeader | FrameState:
    chunks = list(islice(_png_chunks(data), MAX_PARTS))
    if len(chunks) == MAX_PARTS:
        return FrameState.TOO_LARGE
    kinds = [kind for kind, _ in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        return FrameState.CORRUPT
    if sum(kind in _PNG_DEFLATED for kind in kinds) > MAX_DEFLATED:
        return FrameState.TOO_LARGE
    first = dict(reversed(chunks))
    width, height, depth, colour = struct.unpack_from(">IIBB", first[b"IHDR"])
    if colour not in _PNG_CHANNELS or depth not in _PNG_DEPTHS:
        return FrameState.CORRUPT
    bits = depth * _PNG_CHANNELS[colour]
    if colour == _PNG_GREY_ALPHA:
        bits *= 2  # it becomes RGBA on its way, and takes as long
    if b"tRNS" in kinds and (colour, depth) in _PNG_MISREAD:
        return FrameState.UNSUPPORTED
    orientation = _read_orientation(first.get(b"eXIf", b""))
    if b"acTL" not in kinds:
        return ImageHeader("PNG", width, height, orientation=orientation, pixel_bits=bits)
    still = kinds.index(b"IDAT")
    images, controls = struct.unpack_from(">I", first[b"acTL"])[0], kinds.count(b"fcTL")
    # Some viewers would play such an animation and some would not.
    if images == 0 or images != controls or kinds.index(b"acTL") > still:
        return FrameState.CORRUPT
    hidden = b"fcTL" not in kinds[:still]
    return ImageHeader(
        "PNG", width, height, images + hidden, orientation=orientation, pixel_bits=bits
    )


def has_all_rows(data: bytes) -> bool:
    """Whether the still picture of a PNG, whose header was read, inflates to all of its rows.

    Nothing is unpacked but in pieces. Raises zlib.error where it does not inflate.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    missing = 0
    for left, top, across, down in _ADAM7 if interlaced else _ONE_PASS:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            missing += rows * (1 + (columns * depth * _PNG_CHANNELS[colour] + 7) // 8)
    inflate = zlib.decompressobj()
    for kind, body in _png_chunks(data):
        rest: bytes | memoryview = body if kind == b"IDAT" else b""
        while rest and missing > 0:
            missing -= len(inflate.decompress(rest, _INFLATE_STEP))
            rest = inflate.unconsumed_tail
    return missing <= 0


def _read_webp(data: bytes) -> ImageHeader | FrameState:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        return FrameState.CORRUPT
    size: tuple[int, int] | None = None
    at, images, orientation = 12, 0, 1
    for part in range(MAX_PARTS):
        if at + 8 > end:
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        body, at = at + 8, at + 8 + length + length % 2
        if part == 0:
            size = _webp_size(data, kind, body)
        if kind == b"ANMF":
            images += 1
        elif kind == b"EXIF":
            orientation = _read_orientation(memoryview(data)[body : body + length])
    else:
        return FrameState.TOO_LARGE
    if size is None:
        return FrameState.CORRUPT
    return ImageHeader("WEBP", *size, images=max(images, 1), orientation=orientation)


def _webp_size(data: bytes, kind: bytes, body: int) -> tuple[int, int] | None:
    """Width and height in the first chunk of a WebP (RFC 9649, sections 2.5 to 2.7)."""
    if kind == b"VP8X":
        return (
            1 + int.from_bytes(data[body + 4 : body + 7], "little"),
            1 + int.from_bytes(data[body + 7 : body + 10], "little"),
        )
    if kind == b"VP8L" and data[body] == 0x2F:  # noqa: PLR2004 - the signature of VP8L
        (bits,) = struct.unpack_from("<I", data, body + 1)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[body + 3 : body + 6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, body + 6)
        return width & 0x3FFF, height & 0x3FFF
    return None

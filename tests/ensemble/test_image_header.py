from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from livewarden_ensemble.coverage import FrameState
from livewarden_ensemble.image_header import MAX_DEFLATED, MAX_PARTS, ImageHeader, read_header

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOF0, SOF2, SOS, APP1 = 0xC0, 0xC2, 0xDA, 0xE1


def save(kind: str, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (60, 40)).save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


def frame(marker: int, components: int = 3, precision: int = 8, width: int = 60) -> bytes:
    return segment(marker, struct.pack(">BHHB", precision, 40, width, components))


def scan(components: int) -> bytes:
    return segment(SOS, bytes([components])) + b"\x12\xff\x00\xff\xd0\x34"


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*middle: bytes, width: int = 60) -> bytes:
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 40, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + ihdr + b"".join(middle) + chunk(b"IEND")


def play(images: int) -> bytes:
    return chunk(b"acTL", struct.pack(">II", images, 0))


IDAT, FCTL = chunk(b"IDAT"), chunk(b"fcTL")


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    entries = [(0x0100, 3, 1, 7), (0x0112, kind, 1, orientation)]
    packed = b"".join(struct.pack(order + "HHIHxx", *entry) for entry in entries)
    return b"Exif\0\0" + mark + struct.pack(order + "HIH", 42, 8, len(entries)) + packed


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_size_is_read(kind):
    """Width and height of a written file, in that order."""
    assert read_header(save(kind)) == ImageHeader(kind, 60, 40)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"lossless": True}), ("RGBA", {}), ("RGB", {"exif": exif(1)})],
)
def test_every_kind_of_webp_is_read(mode, options):
    """Lossy, lossless and extended files keep their size in different places."""
    assert read_header(save("WEBP", mode, **options)) == ImageHeader("WEBP", 60, 40)


def test_scans_of_a_progressive_jpeg_are_counted():
    """Each start of scan counts; stuffed and restart bytes, thumbnails and tails do not."""
    thumbnail = segment(APP1, b"Exif\0\0" + scan(1) * 5)
    tail = b"\0\0" + scan(1) * 7
    data = SOI + thumbnail + frame(SOF2) + scan(3) + scan(1) * 8 + EOI + tail
    assert read_header(data) == ImageHeader("JPEG", 60, 40, scans=9)


def test_scans_of_a_sequential_jpeg_count_if_it_has_several():
    """A baseline picture stored one component at a time can repeat them, too."""
    assert read_header(SOI + frame(SOF0) + scan(1) * 9 + EOI) == ImageHeader(
        "JPEG", 60, 40, scans=9
    )
    assert read_header(SOI + frame(SOF0) + scan(3) + EOI) == ImageHeader("JPEG", 60, 40)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xCF])
def test_rare_jpeg_processes_are_unsupported(marker):
    """Lossless, hierarchical and arithmetic JPEG, which no browser shows."""
    assert read_header(SOI + frame(marker) + scan(3) + EOI) is FrameState.UNSUPPORTED


def test_deep_jpeg_is_unsupported():
    """12-bit JPEG, which no browser shows."""
    data = SOI + frame(SOF0, precision=12) + scan(3) + EOI
    assert read_header(data) is FrameState.UNSUPPORTED


@pytest.mark.parametrize(
    "data",
    [
        SOI + EOI + EOI,
        SOI + frame(SOF0) + EOI,
        SOI + scan(3) + EOI,
        SOI + frame(SOF0, width=0) + scan(3) + EOI,
        png(IDAT, width=0),
        png(),
        png(chunk(b"acTL"), IDAT),
        png(IDAT)[:-1] + b"\0",
        save("WEBP")[:-1],
        b"RIFF\x04\0\0\0WEBP",
        b"RIFF\x0c\0\0\0WEBPVP8L\0\0\0\0",
    ],
)
def test_headers_without_a_picture_are_corrupt(data):
    """A file with no size, no pixels or no room for either."""
    assert read_header(data) is FrameState.CORRUPT


@pytest.mark.parametrize(
    ("chunks", "images"),
    [
        ((play(3), FCTL, IDAT, FCTL, FCTL), 3),
        ((play(2), IDAT, FCTL, FCTL), 3),
        ((play(1), FCTL, IDAT), 1),
        ((play(1), IDAT, FCTL), 2),
        ((IDAT, FCTL, FCTL), 1),
    ],
)
def test_images_of_an_apng_are_counted(chunks, images):
    """One for each frame control, and one for a still picture that is no part of the animation."""
    assert read_header(png(*chunks)) == ImageHeader("PNG", 60, 40, images)


@pytest.mark.parametrize(
    "chunks",
    [
        (play(2), FCTL, IDAT),
        (play(1), FCTL, IDAT, FCTL),
        (play(0), IDAT),
        (IDAT, play(2), FCTL, FCTL),
    ],
)
def test_apng_that_viewers_play_differently_is_corrupt(chunks):
    """A wrong count or a late announcement would show some people more than was scored."""
    assert read_header(png(*chunks)) is FrameState.CORRUPT


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read(order, orientation):
    """In either byte order, behind other tags, in all three formats."""
    block = exif(orientation, order)
    for kind in ("JPEG", "PNG", "WEBP"):
        header = read_header(save(kind, exif=block))
        assert header == ImageHeader(kind, 60, 40, orientation=orientation)


@pytest.mark.parametrize(
    "block",
    [exif(0), exif(9), exif(6, kind=4), exif(6)[:-7], exif(6)[:9], b"Exif\0\0", b"Exif\0\0XX" * 4],
)
def test_broken_orientation_is_upright(block):
    """A value out of range, of another type or cut off is ignored, as viewers do."""
    data = SOI + segment(APP1, block) + frame(SOF0) + scan(3) + EOI
    assert read_header(data) == ImageHeader("JPEG", 60, 40)


def test_first_orientation_counts():
    """Of several EXIF blocks the first is read."""
    blocks = segment(APP1, exif(6)) + segment(APP1, exif(3))
    header = read_header(SOI + blocks + frame(SOF0) + scan(3) + EOI)
    assert header == ImageHeader("JPEG", 60, 40, orientation=6)


@pytest.mark.parametrize(
    "data",
    [
        SOI + frame(SOF2) + scan(3) * (MAX_PARTS + 1) + EOI,
        SOI + frame(SOF2) + scan(3) + segment(0xFE, b"") * MAX_PARTS + scan(3) * 100 + EOI,
        png(*[IDAT] * MAX_PARTS),
        b"RIFF" + struct.pack("<I", 4 + 8 * (MAX_PARTS + 1)) + b"WEBP" + b"JUNK\0\0\0\0" * 10_001,
    ],
)
def test_reading_stops_after_a_number_of_parts(data):
    """A file of nothing but small parts is TOO_LARGE; parts past the stop hide no scans."""
    assert read_header(data) is FrameState.TOO_LARGE


@given(st.sampled_from([SOI + b"\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBP"]), st.binary())
def test_no_bytes_behind_a_magic_raise(magic, rest):
    """Any bytes give a header or a state."""
    assert isinstance(read_header(magic + rest), ImageHeader | FrameState)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_chunks_that_inflate_to_more_are_counted(kind: bytes):
    """Texts and profiles that a decoder would inflate are few, or the file is TOO_LARGE."""
    few = chunk(kind, b"x") * MAX_DEFLATED
    assert isinstance(read_header(png(few, IDAT)), ImageHeader)
    assert read_header(png(few, chunk(kind), IDAT)) is FrameState.TOO_LARGE


@pytest.mark.parametrize(
    ("depth", "colour", "bits"),
    [(1, 0, 1), (16, 0, 16), (8, 2, 24), (4, 3, 4), (8, 4, 32), (16, 4, 64), (16, 6, 64)],
)
def test_bits_of_a_pixel_are_read(depth: int, colour: int, bits: int):
    """What a pixel costs is its depth times its channels; grey with alpha counts as RGBA."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, depth, colour, 0, 0, 0))
    header = read_header(b"\x89PNG\r\n\x1a\n" + ihdr + IDAT + chunk(b"IEND"))
    assert header == ImageHeader("PNG", 60, 40, pixel_bits=bits)


@pytest.mark.parametrize(("depth", "colour"), [(8, 1), (8, 7), (0, 2), (3, 0), (255, 6)])
def test_kinds_of_pixels_that_do_not_exist_are_corrupt(depth: int, colour: int):
    """A PNG of no known depth or colour type has no cost that could be judged."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, depth, colour, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + ihdr + IDAT + chunk(b"IEND")
    assert read_header(data) is FrameState.CORRUPT

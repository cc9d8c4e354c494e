"""Images that try something: bombs, odd colours, damage, disguises, shapes of known holes.

Every file is made here, from fixed seeds, so that no hostile file has to be kept. Those that are
whole must be seen, those that are not must never be `ok`; only what a decoder cannot notice, as a
bit flipped inside a scan, may go either way.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
from case import Case
from image_file import (
    KINDS,
    PNG_MAGIC,
    after_soi,
    animate,
    chunk,
    exif,
    find_segments,
    ihdr,
    noise,
    png,
    repeat_scan,
    riff,
    save,
    segment,
    set_size,
    whole,
)
from PIL import Image

from livewarden_ensemble.coverage import FrameState

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEN = frozenset({FrameState.OK})
ANIMATED = frozenset({FrameState.ANIMATED})
EMPTY = frozenset({FrameState.EMPTY})
CORRUPT = frozenset({FrameState.CORRUPT})
UNSUPPORTED = frozenset({FrameState.UNSUPPORTED})
TOO_LARGE = frozenset({FrameState.TOO_LARGE})
REFUSED = CORRUPT | UNSUPPORTED | TOO_LARGE
# Damage that a decoder need not notice.
ANY = REFUSED | SEEN | ANIMATED


def odd() -> Iterator[Case]:
    """Whole pictures that a careless decoder shows wrong; each must be seen."""

    def case(name: str, data: bytes) -> Case:
        return Case("odd but whole", name, data, SEEN)

    for kind in KINDS:
        for orientation in range(1, 9):
            name = f"{kind} orientation {orientation}"
            yield case(name, save(noise(), kind, exif=exif(orientation)))
    for depth, colour in ((1, 0), (2, 0), (4, 0), (16, 0), (16, 2), (1, 3), (4, 3), (16, 4)):
        yield case(f"png depth {depth} colour {colour}", png(40, 30, depth, colour))
    yield case("png 16-bit rgba", png(40, 30, 16, 6))
    yield case("png palette alpha", png(40, 30, 8, 3, extra=chunk(b"tRNS", bytes(range(256)))))
    yield case("png grey see-through", png(40, 30, 16, 0, extra=chunk(b"tRNS", b"\0\1")))
    yield case("png invisible", save(Image.new("RGBA", (40, 30), (200, 30, 9, 0)), "PNG"))
    yield case("png 1 pixel", png(1, 1))
    yield case("png ribbon", png(8192, 1))
    yield case("png tower", png(1, 8192))
    yield case("webp invisible", save(Image.new("RGBA", (40, 30)), "WEBP", lossless=True))
    yield case("jpeg cmyk", whole()["cmyk"])
    at = whole()["cmyk"].index(b"\xff\xee")
    yield case("jpeg cmyk without Adobe", whole()["cmyk"][:at] + whole()["cmyk"][at + 16 :])
    for sampling in ("4:4:4", "4:2:2", "4:2:0"):
        for progressive in (False, True):
            name = f"jpeg {sampling} progressive={progressive}"
            yield case(name, save(noise(), "JPEG", subsampling=sampling, progressive=progressive))
    yield case("jpeg rgb", save(noise(), "JPEG", keep_rgb=True))
    yield case("jpeg ribbon", save(noise(8192, 8), "JPEG"))
    yield case("jpeg comment", save(noise(), "JPEG", comment=b"x" * 60_000))
    for kind in KINDS:
        yield case(f"{kind} ICC profile", save(noise(), kind, icc_profile=bytes(500_000)))
    for kind in ("PNG", "WEBP"):
        data = animate(kind, 300, (4, 4))
        yield Case("animation", f"{kind} 300 images", data, ANIMATED)
        yield Case("animation", f"{kind} clean first", animate(kind, 2), ANIMATED)
    yield Case("animation", "apng hidden still", animate("PNG", 3, default_image=True), ANIMATED)


def costly() -> Iterator[Case]:
    """As dear as a file may be without being refused: what the limits are measured by."""

    def case(name: str, data: bytes, states: frozenset[FrameState] = SEEN) -> Case:
        return Case("at the limit", name, data, states)

    for name, depth, colour, side in (
        ("grey", 8, 0, 5000),
        ("bits", 1, 0, 5000),
        ("deep grey", 16, 0, 3605),
        ("rgb", 8, 2, 2943),
        ("deep rgb", 16, 2, 2081),
        ("palette", 8, 3, 5000),
        ("grey alpha", 8, 4, 2880),
        ("rgba", 8, 6, 2880),
        ("deep rgba", 16, 6, 1802),
    ):
        yield case(f"png {name}", png(side, side, depth, colour, row_filter=4))
    clear = chunk(b"tRNS", bytes(range(256)))
    yield case("png palette alpha", png(5000, 5000, 8, 3, extra=clear))
    black = chunk(b"IDAT", zlib.compress(bytes((1 + 4 * 2880) * 2880)))
    header = ihdr(2880, 2880, 8, 6)
    yield case("png black", PNG_MAGIC + header + black + chunk(b"IEND"))
    yield case("png deep clear", png(3605, 3605, 16, 0, extra=chunk(b"tRNS", b"\0\1")))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000)))
    yield case("png texts", png(2943, 2943, extra=text * 8, row_filter=4))
    yield case("png 9,900 chunks", png(50, 50, extra=chunk(b"teXt", b"a\0b") * 9_900))
    yield case("apng 1,000 images", animate("PNG", 1000, (8, 8)), ANIMATED)
    yield case("apng large", animate("PNG", 3, (1699, 1699)), ANIMATED)
    yield case("awebp 1,000 images", animate("WEBP", 1000, (8, 8)), ANIMATED)
    yield case("awebp large", animate("WEBP", 3, (1915, 1910)), ANIMATED)
    slope = Image.fromarray((np.add.outer(np.arange(5000), np.arange(5000)) % 256).astype(np.uint8))
    for mode in ("L", "RGB"):
        for progressive in (False, True):
            options = {"quality": 30, "subsampling": 0, "progressive": progressive}
            name = f"jpeg {mode} progressive={progressive}"
            yield case(name, save(slope.convert(mode), "JPEG", **options))
    yield case("jpeg cmyk", save(slope.convert("CMYK"), "JPEG", quality=30))
    small = slope.crop((0, 0, 3700, 3700))
    cmyk = save(small.convert("CMYK"), "JPEG", quality=30, progressive=True)
    yield case("jpeg cmyk progressive", cmyk)
    scans = repeat_scan(save(slope.crop((0, 0, 1970, 1970)), "JPEG", progressive=True), 58)
    yield case("jpeg 64 scans", scans, CORRUPT)  # each repeated scan is one that libjpeg notices
    rng = np.random.default_rng(1)
    grain = Image.fromarray(rng.integers(0, 256, (1900, 1900, 3), np.uint8))
    yield case("jpeg noise", save(grain, "JPEG", quality=93, subsampling=0))
    yield case("jpeg noise progressive", save(grain, "JPEG", quality=90, progressive=True))
    yield case("webp noise", save(grain.crop((0, 0, 1600, 1600)), "WEBP", lossless=True, method=0))
    flat = slope.crop((0, 0, 3316, 3316))
    yield case("webp lossy", save(flat.convert("RGB"), "WEBP", quality=30, method=0))
    yield case("webp lossless", save(flat.convert("RGB"), "WEBP", lossless=True, method=0))
    rgba = np.dstack([np.asarray(flat)] * 4)
    yield case("webp rgba", save(Image.fromarray(rgba), "WEBP", quality=30, method=0))


def bombs() -> Iterator[Case]:
    """Small files that ask for much: refused by their header alone."""

    def case(name: str, data: bytes) -> Case:
        return Case("bomb", name, data, TOO_LARGE)

    webp = "524946461a000000574542505650384c0e0000002f3fdfcf07071011fd0f4444ff03"
    yield case("webp of 34 bytes, 8000 x 8000", bytes.fromhex(webp))
    for depth, colour, side in (
        (1, 0, 9000),
        (8, 0, 5001),
        (8, 2, 2945),
        (8, 6, 2881),
        (16, 0, 3606),
        (16, 6, 1803),
    ):
        yield case(f"png depth {depth} colour {colour}", png(side, side, depth, colour))
    for width, height in (
        (8193, 1),
        (1, 8193),
        (65_500, 1),
        (2**31 - 1, 2**31 - 1),
        (2**32 - 1, 1),
    ):
        claim = PNG_MAGIC + ihdr(width, height) + chunk(b"IDAT", b"x") + chunk(b"IEND")
        yield case(f"png claims {width} x {height}", claim)
    for width, height in ((65_535, 65_535), (8193, 1), (1, 65_535), (5001, 5000)):
        yield case(f"jpeg claims {width} x {height}", set_size(whole()["jpeg"], width, height))
        yield case(
            f"progressive claims {width} x {height}",
            set_size(whole()["progressive"], width, height),
        )
    for times in (60, 200, 2000, 12_000):
        yield case(f"jpeg {times} scans", repeat_scan(whole()["progressive"], times))
    large = save(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    yield case("jpeg 16 MP, 200 scans", repeat_scan(large, 200))
    yield case("jpeg 16 MP, 20 scans", repeat_scan(large, 14))
    for name, lead in (("lossless", b"\x2f"), ("simple", b"\0\0\0\x9d\x01\x2a")):
        size = b"\xff\xff\xff\xff\0"
        kind = b"VP8L" if name == "lossless" else b"VP8 "
        yield case(f"webp {name}, 16383 x 16383", riff((kind, lead + size + bytes(40))))
    yield case("webp canvas 16 M x 16 M", riff((b"VP8X", b"\x02\0\0\0" + b"\xff" * 6)))
    yield case("apng 1,025 images", animate("PNG", 1025, (2, 2)))
    yield case("apng of many pixels", animate("PNG", 8, (1050, 1050)))
    yield case("awebp of many pixels", animate("WEBP", 12, (960, 960)))
    control = chunk(b"acTL", struct.pack(">II", 2**31, 0))
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        body = b"k\0\0\0\0\0\0" if kind == b"iTXt" else b"k\0\0"
        deflated = chunk(kind, body + zlib.compress(bytes(1_000_000)))
        yield case(f"png 60 {kind.decode()}", png(20, 20, extra=deflated * 60))
    yield case("png 10,000 chunks", png(20, 20, extra=chunk(b"teXt", b"a\0b") * 10_000))
    yield case("jpeg over 8 MiB", whole()["jpeg"] + bytes(8 * 1024 * 1024))
    yield Case("bomb", "apng claims 2^31", png(20, 20, extra=control), CORRUPT)
    inflating = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(50_000_000)))
    yield Case("bomb", "png profile of 50 MB", png(20, 20, extra=inflating), ANY)
    # A PNG whose pixels inflate to far more than its header says: the rest is left where it is.
    packed = zlib.compress(bytes(60_000_000))
    swollen = PNG_MAGIC + ihdr(20, 20) + chunk(b"IDAT", packed) + chunk(b"IEND")
    yield Case("bomb", "png pixels of 60 MB", swollen, ANY)


def disguised() -> Iterator[Case]:
    """Other formats, which a name or a media type would call JPEG."""
    for kind in (
        "GIF",
        "BMP",
        "TIFF",
        "ICO",
        "PPM",
        "JPEG2000",
        "TGA",
        "PCX",
        "DDS",
        "SGI",
        "AVIF",
    ):
        yield Case("other format", kind, save(noise(), kind), UNSUPPORTED)
    for kind in ("EPS", "MSP", "XBM", "ICNS", "SPIDER"):
        mode = {"MSP": "1", "XBM": "1", "SPIDER": "F"}.get(kind, "RGB")
        yield Case("other format", kind, save(noise(64, 64).convert(mode), kind), UNSUPPORTED)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("a.jpg"), whole()["jpeg"])
    box = b"\0\0\0\x18ftyp%s\0\0\0\0mif1%s"
    for name, data in {
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "XML with entities": b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'a'>]><svg>&a;</svg>",
        "HTML": b"<!doctype html><script>1</script>",
        "HEIC": box % (b"heic", b"heic") + bytes(200),
        "HEIF sequence": box % (b"hevc", b"hevc") + bytes(200),
        "MP4": box % (b"isom", b"mp42") + bytes(200),
        "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100),
        "JPEG XL codestream": b"\xff\x0a" + bytes(100),
        "JPEG-LS": b"\xff\xd8\xfe" + bytes(100),
        "PSD": b"8BPS\0\1" + bytes(100),
        "FITS": b"SIMPLE  =                    T" + b" " * 80,
        "QOI": b"qoif\0\0\0\x10\0\0\0\x10\4\0" + bytes(80),
        "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF",
        "ZIP": archive.getvalue(),
        "GZIP": b"\x1f\x8b\x08" + bytes(50),
        "ELF": b"\x7fELF" + bytes(100),
        "Python pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "RIFF audio": b"RIFF\x24\0\0\0WAVEfmt " + bytes(30),
        "MNG": b"\x8aMNG\r\n\x1a\n" + bytes(40),
        "JNG": b"\x8bJNG\r\n\x1a\n" + bytes(40),
        "JPEG in base64": b"/9j/4AAQSkZJRgABAQAAAQABAAD",
        "data URL": b"data:image/jpeg;base64,/9j/4AAQ",
        "PNG through text mode": whole()["png"].replace(b"\r\n", b"\n"),
        "PNG behind a byte order mark": b"\xef\xbb\xbf" + whole()["png"],
        "JPEG behind a blank": b" " + whole()["jpeg"],
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "one byte": b"\xff",
        "two bytes": b"\xff\xd8",
        "text": b"not a picture",
    }.items():
        yield Case("other format", name, data, UNSUPPORTED)
    yield Case("nothing", "no byte", b"", EMPTY)


def polyglots() -> Iterator[Case]:
    """Files that are a picture and something else: seen as the picture, whatever follows."""
    tails = {
        "zip": b"PK\x03\x04" + bytes(range(256)) * 4,
        "html": b"<script>alert(1)</script>",
        "jpeg": whole()["jpeg"],
        "png": whole()["png"],
        "zeros": bytes(4000),
        "elf": b"\x7fELF" + bytes(60),
    }
    for name in ("jpeg", "progressive", "png", "webp"):
        for tail, data in tails.items():
            yield Case("polyglot", f"{name} + {tail}", whole()[name] + data, SEEN)
    php = segment(0xFE, b"<?php system($_GET[0]); ?>")
    yield Case("polyglot", "php comment", after_soi(whole()["jpeg"], php), SEEN)
    thumbnail = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0" + whole()["grey"])
    yield Case("polyglot", "thumbnail", after_soi(whole()["restart"], thumbnail), SEEN)
    frame = segment(0xC0, bytes(15))
    yield Case(
        "polyglot", "frame in comment", after_soi(whole()["grey"], segment(0xFE, frame)), SEEN
    )


def truncated() -> Iterator[Case]:
    """Every kind of file, cut at each 5 %: what is missing might be the bad part."""
    for name, data in whole().items():
        for percent in range(5, 100, 5):
            keep = max(12, len(data) * percent // 100)  # with its magic
            yield Case("truncated", f"{name} at {percent} %", data[:keep], CORRUPT)
    for name in ("jpeg", "progressive", "grey", "cmyk", "restart"):
        data = whole()[name]
        closed = data[: len(data) * 3 // 4] + b"\xff\xd9"
        yield Case("truncated", f"{name} closed", closed, CORRUPT)
        yield Case("truncated", f"{name} without its end", data[:-2], CORRUPT)


def flipped() -> Iterator[Case]:
    """One to eight bits flipped anywhere; a checksum finds it in a PNG, in a JPEG often nothing."""
    rng = np.random.default_rng(11)
    for name, data in whole().items():
        for number in range(12):
            out = bytearray(data)
            for _ in range(1 + number % 8):
                at = int(rng.integers(12, len(out)))
                out[at] ^= 1 << int(rng.integers(8))
            yield Case("bits flipped", f"{name} {number}", bytes(out), ANY)
    for name, data in whole().items():
        for number in range(4):
            out = bytearray(data)
            at = int(rng.integers(12, len(out)))
            out[at : at + 40] = rng.integers(0, 256, 40, np.uint8).tobytes()
            yield Case("bits flipped", f"{name} noise {number}", bytes(out), ANY)


def jpeg_tables() -> Iterator[Case]:  # noqa: C901 - one loop per kind of damage
    """Quantisation and Huffman tables, scan headers and frame headers that make no sense."""
    rng = np.random.default_rng(13)
    for name in ("jpeg", "progressive", "restart"):
        data = whole()[name]
        for marker, what in ((0xDB, "quantisation"), (0xC4, "Huffman"), (0xC0, "frame")):
            for at, end in find_segments(data, marker):
                for number in range(4):
                    out = bytearray(data)
                    out[at:end] = rng.integers(0, 256, end - at, np.uint8).tobytes()
                    yield Case("jpeg tables", f"{name} {what} {at} {number}", bytes(out), ANY)
    data = whole()["jpeg"]
    (first, _), *_ = find_segments(data, 0xDB)
    zero = bytearray(data)
    zero[first + 1 : first + 65] = bytes(64)
    yield Case("jpeg tables", "quantisation by zero", bytes(zero), ANY)
    for marker, what in ((0xDB, "quantisation"), (0xC4, "Huffman")):
        (at, end), *_ = find_segments(data, marker)
        gone = data[: at - 4] + data[end:]
        # Four tables stand in one segment each; the first of them is needed.
        yield Case("jpeg tables", f"no {what}", gone, CORRUPT | SEEN)
    for kind, name in {
        0xC3: "lossless",
        0xC5: "differential",
        0xC7: "differential lossless",
        0xC9: "arithmetic",
        0xCA: "arithmetic progressive",
        0xCB: "arithmetic lossless",
        0xCD: "differential arithmetic",
        0xCF: "last of all",
    }.items():
        out = bytearray(data)
        out[find_segments(data, 0xC0)[0][0] - 3] = kind
        yield Case("jpeg tables", name, bytes(out), UNSUPPORTED)
    at = find_segments(data, 0xC0)[0][0]
    for precision in (0, 1, 7, 12, 16, 255):
        out = bytearray(data)
        out[at] = precision
        yield Case("jpeg tables", f"{precision} bits", bytes(out), UNSUPPORTED)
    for components in (0, 2, 5, 255):
        out = bytearray(data)
        out[at + 5] = components
        yield Case("jpeg tables", f"{components} components", bytes(out), REFUSED)
    for sampling in (0x00, 0x0F, 0xF0, 0x41, 0x44, 0xFF):
        out = bytearray(data)
        out[at + 7] = sampling
        yield Case("jpeg tables", f"sampling {sampling:02x}", bytes(out), ANY)
    for width, height in ((0, 45), (60, 0), (0, 0)):
        yield Case("jpeg tables", f"{width} x {height}", set_size(data, width, height), CORRUPT)
    two = segment(0xC0, data[at : at + 15])
    yield Case("jpeg tables", "two frames", after_soi(data, two), REFUSED)
    for length in (0, 1, 2, 65_535):
        bad = b"\xff\xe0" + struct.pack(">H", length)
        yield Case("jpeg tables", f"segment of {length}", after_soi(data, bad), ANY)
    interval = segment(0xDD, b"\xff\xff")
    yield Case("jpeg tables", "restart interval", after_soi(data, interval), ANY)
    yield Case("jpeg tables", "no scan", data[: data.index(b"\xff\xda")] + b"\xff\xd9", CORRUPT)
    yield Case("jpeg tables", "fill bytes", data[:2] + b"\xff" * 100_000 + data[2:], ANY)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\x02")
    yield Case("jpeg tables", "Adobe transform of three", after_soi(data, adobe), ANY)


def metadata() -> Iterator[Case]:
    """EXIF, ICC and text chunks that are huge, looped or broken: pictures all the same."""
    jpeg, base = whole()["restart"], b"Exif\0\0"
    loop = base + b"II*\0\x08\0\0\0\0\0" + struct.pack("<I", 8)
    many = base + b"II*\0\x08\0\0\0\xff\xff" + (b"\0\1\2\0\0\0\0\x10\0\0\0\0" * 5000)
    bodies = {
        "loop": loop,
        "65,535 tags": many,
        "directory beyond the end": base + b"II*\0\xff\xff\xff\x7f",
        "directory before the start": base + b"MM\0*\xff\xff\xff\xff",
        "orientation 9": base + b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0\0\0\0\0",
        "orientation as text": base + b"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\x06\0\0\0\0\0\0\0",
        "no order": base + b"XX*\0\x08\0\0\0",
        "half": base + b"I",
    }
    for name, body in bodies.items():
        yield Case("metadata", f"jpeg exif {name}", after_soi(jpeg, segment(0xE1, body)), SEEN)
        tiff = chunk(b"eXIf", body[6:])
        yield Case("metadata", f"png exif {name}", png(20, 20, extra=tiff), SEEN)
    full = segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000))
    yield Case("metadata", "jpeg 100 profiles", after_soi(jpeg, full * 100), ANY)
    wrong = segment(0xE2, b"ICC_PROFILE\0\xff\0" + bytes(100))
    yield Case("metadata", "jpeg profile part 255 of 0", after_soi(jpeg, wrong), ANY)
    yield Case(
        "metadata",
        "jpeg MPF",
        after_soi(jpeg, segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff")),
        SEEN,
    )
    comments = segment(0xFE, b"c" * 1000) * 5000
    yield Case("metadata", "jpeg 5,000 comments", after_soi(jpeg, comments), SEEN)
    yield Case(
        "metadata", "jpeg 20,000 comments", after_soi(jpeg, segment(0xFE, b"") * 20_000), REFUSED
    )
    for name, body in {
        "text of 4 MB": chunk(b"tEXt", b"k\0" + b"x" * 4_000_000),
        "empty name": chunk(b"tEXt", b""),
        "broken zTXt": chunk(b"zTXt", b"k\0\0garbage"),
        "broken iTXt": chunk(b"iTXt", b"k\0\1\0"),
        "broken iCCP": chunk(b"iCCP", b"k\0\0garbage"),
        "gamma of 0": chunk(b"gAMA", bytes(4)),
        "short gamma": chunk(b"gAMA", b"\0"),
        "short resolution": chunk(b"pHYs", b"\0"),
        "colours of 0": chunk(b"cHRM", bytes(32)),
        "short cHRM": chunk(b"cHRM", b"\0"),
        "unknown and critical": chunk(b"ABCD", b"x"),
        "unknown private": chunk(b"abcd", b"x" * 100),
    }.items():
        yield Case("metadata", f"png {name}", png(20, 20, extra=body), ANY)


def png_structure() -> Iterator[Case]:
    """Chunks that are missing, doubled, out of order, of the wrong length or the wrong checksum."""
    head, end = ihdr(20, 20), chunk(b"IEND")
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes(60)) * 20))
    control = chunk(b"acTL", struct.pack(">II", 2, 0))

    def fctl(number: int, width: int = 20, x: int = 0, rest: bytes = b"\0\0") -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHH", number, width, 20, x, 0, 1, 10) + rest)

    fdat = chunk(b"fdAT", struct.pack(">I", 2) + pixels[8:-4])
    for name, (chunks, states) in {
        "no header": ([pixels, end], CORRUPT),
        "no pixels": ([head, end], CORRUPT),
        "no end": ([head, pixels], CORRUPT),
        "two headers": ([head, ihdr(30, 30), pixels, end], ANY),
        "larger second header": ([head, ihdr(8000, 8000), pixels, end], REFUSED),
        "pixels first": ([pixels, head, end], CORRUPT),
        "nothing": ([], CORRUPT),
        "empty pixels": ([head, chunk(b"IDAT"), end], CORRUPT),
        "pixels no zlib": ([head, chunk(b"IDAT", b"garbage"), end], CORRUPT),
        "too few rows": ([head, chunk(b"IDAT", zlib.compress(bytes(61) * 3)), end], CORRUPT),
        "one row short": ([head, chunk(b"IDAT", zlib.compress(bytes(61) * 19)), end], CORRUPT),
        "interlaced, short": (
            [ihdr(20, 20, 8, 2, 1), chunk(b"IDAT", zlib.compress(b"\0" * 900)), end],
            CORRUPT,
        ),
        "filter of 9": (
            [head, chunk(b"IDAT", zlib.compress((b"\x09" + bytes(60)) * 20)), end],
            ANY,
        ),
        "short header": ([chunk(b"IHDR", b"\0\0\0\1"), pixels, end], CORRUPT),
        "long header": ([chunk(b"IHDR", head[8:-4] + bytes(9)), pixels, end], ANY),
        "0 wide": ([ihdr(0, 20), pixels, end], CORRUPT),
        "0 high": ([ihdr(20, 0), pixels, end], CORRUPT),
        "depth 3": ([ihdr(20, 20, 3), pixels, end], CORRUPT),
        "rgb of 4 bits": ([ihdr(20, 20, 4), pixels, end], CORRUPT),
        "colour 5": ([ihdr(20, 20, 8, 5), pixels, end], CORRUPT),
        "interlace 9": ([ihdr(20, 20, 8, 2, 9), pixels, end], ANY),
        "interlaced, rows plain": ([ihdr(20, 20, 8, 2, 1), pixels, end], ANY),
        "palette missing": ([ihdr(20, 20, 8, 3), pixels, end], ANY),
        "palette of 257": ([head, chunk(b"PLTE", bytes(771)), pixels, end], ANY),
        "palette of 2 bytes": ([head, chunk(b"PLTE", b"\0\0"), pixels, end], ANY),
        "tRNS of 300": ([head, chunk(b"tRNS", bytes(300)), pixels, end], ANY),
        "tRNS of 1": ([head, chunk(b"tRNS", b"\0"), pixels, end], ANY),
        "wrong checksum": ([head, pixels[:-1] + b"\0", end], CORRUPT),
        "length beyond the end": ([head, b"\x7f\xff\xff\xffIDAT", end], CORRUPT),
        "length of 2^32 - 1": ([head, b"\xff\xff\xff\xffIDAT", end], CORRUPT),
        "misread see-through": (
            [ihdr(20, 20, 16), chunk(b"tRNS", bytes(6)), pixels, end],
            UNSUPPORTED,
        ),
        "apng without images": ([head, chunk(b"acTL", bytes(8)), pixels, end], CORRUPT),
        "apng of one too few": ([head, control, fctl(0), pixels, end], CORRUPT),
        "apng control late": ([head, fctl(0), pixels, control, fctl(1), fdat, end], CORRUPT),
        "apng image outside": (
            [head, control, fctl(0), pixels, fctl(1, 20, 9), fdat, end],
            REFUSED,
        ),
        "apng image too wide": (
            [head, control, fctl(0), pixels, fctl(1, 2**31), fdat, end],
            REFUSED,
        ),
        "apng image of 0": ([head, control, fctl(0), pixels, fctl(1, 0), fdat, end], ANY),
        "apng wrong sequence": ([head, control, fctl(5), pixels, fctl(9), fdat, end], REFUSED),
        "apng disposal 99": (
            [head, control, fctl(0), pixels, fctl(1, rest=b"\x63\x63"), fdat, end],
            ANY,
        ),
        "apng without pixels": ([head, control, fctl(0), pixels, fctl(1), end], ANY),
        "apng short control": ([head, chunk(b"acTL", b"\0"), pixels, end], CORRUPT),
    }.items():
        yield Case("png structure", name, PNG_MAGIC + b"".join(chunks), states)


def webp_structure() -> Iterator[Case]:
    """Containers and bit streams of WebP, among them the shape of CVE-2023-4863."""
    rng = np.random.default_rng(17)
    lead = b"\x2f" + struct.pack("<I", 59 | 44 << 14)
    for number in range(30):
        # Code lengths of Huffman tables drawn at random: tables larger than was set aside for them.
        bits = rng.integers(0, 256, 200, np.uint8).tobytes()
        yield Case("webp structure", f"Huffman {number}", riff((b"VP8L", lead + bits)), ANY)
    lossy = whole()["webp"]
    at = lossy.index(b"VP8 ") + 8
    for number in range(15):
        out = bytearray(lossy)
        out[at + 10 : at + 60] = rng.integers(0, 256, 50, np.uint8).tobytes()
        yield Case("webp structure", f"partitions {number}", bytes(out), ANY)
    body = whole()["lossless"][20:]
    canvas = b"\0\0\0\0" + (59).to_bytes(3, "little") + (44).to_bytes(3, "little")
    for name, (data, states) in {
        "nothing": (riff(), CORRUPT),
        "unknown first": (riff((b"ABCD", b"")), CORRUPT),
        "canvas alone": (riff((b"VP8X", canvas)), CORRUPT),
        "canvas of 3 bytes": (riff((b"VP8X", b"\0\0\0")), CORRUPT),
        "canvas of another size": (
            riff((b"VP8X", b"\0\0\0\0\x05\0\0\x05\0\0"), (b"VP8L", body)),
            CORRUPT,
        ),
        "canvas twice": (riff((b"VP8X", canvas), (b"VP8X", canvas), (b"VP8L", body)), ANY),
        "picture twice": (riff((b"VP8L", body), (b"VP8L", body)), ANY),
        "wrong signature": (riff((b"VP8L", b"\x30" + body[1:])), CORRUPT),
        "simple without its mark": (riff((b"VP8 ", bytes(40))), CORRUPT),
        "empty lossless": (riff((b"VP8L", b"")), CORRUPT),
        "0 wide": (riff((b"VP8 ", b"\0\0\0\x9d\x01\x2a\0\0\x10\0" + bytes(20))), CORRUPT),
        "length too long": (b"RIFF\xff\xff\xff\x7fWEBP" + lossy[12:], CORRUPT),
        "length too short": (b"RIFF\x04\0\0\0WEBP" + lossy[12:], CORRUPT),
        "chunk beyond the end": (riff((b"VP8X", canvas)) + b"VP8L\xff\xff\xff\xff", CORRUPT),
        "animation without images": (
            riff((b"VP8X", b"\2" + canvas[1:]), (b"ANIM", bytes(6))),
            CORRUPT,
        ),
        "animation cut": (
            riff((b"VP8X", b"\2" + canvas[1:]), (b"ANIM", bytes(6)), (b"ANMF", bytes(16))),
            REFUSED,
        ),
        "11,000 chunks": (riff((b"VP8X", canvas), *[(b"ABCD", b"")] * 11_000), TOO_LARGE),
        "profile of 5 MB": (
            riff((b"VP8X", b"\x20" + canvas[1:]), (b"ICCP", bytes(5_000_000)), (b"VP8L", body)),
            ANY,
        ),
        "exif of 5 MB": (
            riff((b"VP8X", b"\x08" + canvas[1:]), (b"VP8L", body), (b"EXIF", bytes(5_000_000))),
            ANY,
        ),
    }.items():
        yield Case("webp structure", name, data, states)
    animation = whole()["awebp"]
    first = animation.index(b"ANMF") + 8
    for name, (place, value) in {
        "image outside": (first, b"\xff\xff\xff"),
        "image too wide": (first + 6, b"\xff\xff\xff"),
        "image too high": (first + 9, b"\xff\xff\xff"),
    }.items():
        out = bytearray(animation)
        out[place : place + 3] = value
        # libwebp goes by the size in the picture's own header, as every viewer does.
        yield Case("webp structure", name, bytes(out), REFUSED | ANIMATED)


GROUPS = (
    odd,
    costly,
    bombs,
    disguised,
    polyglots,
    truncated,
    flipped,
    jpeg_tables,
    metadata,
    png_structure,
    webp_structure,
)


def make_images() -> list[Case]:
    """Every file of the corpus, in order."""
    return [case for group in GROUPS for case in group()]

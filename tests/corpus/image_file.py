"""Image files made by hand: whole ones of every kind, and their parts put together otherwise."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
KINDS = ("JPEG", "PNG", "WEBP")


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def noise(width: int = 60, height: int = 45) -> Image.Image:
    rng = np.random.default_rng(7)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    return small.resize((width, height))


def animate(kind: str, images: int, size: tuple[int, int] = (24, 16), **options: object) -> bytes:
    shades = [Image.new("RGB", size, (n * 37 % 256, n * 91 % 256, n % 256)) for n in range(images)]
    lossless = {"lossless": True, "method": 0} if kind == "WEBP" else {}
    options = {"save_all": True, "append_images": shades[1:], "duration": 40, **lossless, **options}
    return save(shades[0], kind, **options)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


@cache
def whole() -> dict[str, bytes]:
    """Small files of every kind that is decoded; what is damaged below is one of these."""
    return {
        "jpeg": save(noise(), "JPEG", exif=exif(6)),
        "progressive": save(noise(), "JPEG", progressive=True),
        "grey": save(noise().convert("L"), "JPEG"),
        "cmyk": save(noise().convert("CMYK"), "JPEG"),
        "restart": save(noise(), "JPEG", restart_marker_blocks=2),
        "png": save(noise(), "PNG", exif=exif(6)),
        "palette": save(noise().convert("P"), "PNG", transparency=3),
        "rgba": save(noise().convert("RGBA"), "PNG"),
        "apng": animate("PNG", 3),
        "webp": save(noise(), "WEBP", exif=exif(6)),
        "lossless": save(noise(), "WEBP", lossless=True),
        "awebp": animate("WEBP", 3),
    }


# --- Files by hand --------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def ihdr(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    packed = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return chunk(b"IHDR", packed)


def png(
    width: int,
    height: int,
    depth: int = 8,
    colour: int = 2,
    *,
    extra: bytes = b"",
    row_filter: int = 0,
) -> bytes:
    """A PNG whose rows are all alike, of any depth; Paeth (filter 4) is the slowest to undo."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    line = bytes([row_filter]) + bytes(
        n * 7 % 251 for n in range((width * depth * channels + 7) // 8)
    )
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    head = [PNG_MAGIC, ihdr(width, height, depth, colour), palette, extra]
    return b"".join([*head, chunk(b"IDAT", packed), chunk(b"IEND")])


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def find_segments(data: bytes, marker: int) -> list[tuple[int, int]]:
    """Where the bodies of a JPEG's segments lie, before its first scan."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == marker:
            found.append((at + 4, end))
        at = end
    return found


def after_soi(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def repeat_scan(data: bytes, times: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    start = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))
    return data[:-2] + data[start:-2] * times + data[-2:]


def set_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims another size."""
    out = bytearray(data)
    at = next(at for sof in (0xC0, 0xC2) for at, _ in find_segments(data, sof))
    out[at + 1 : at + 5] = struct.pack(">HH", height, width)
    return bytes(out)

from __future__ import annotations

import io
import struct
import zlib

import image_file
import numpy as np
import pytest
import simplejpeg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from livewarden_client.wire import IMAGE_SIDE, MAX_FRAME_BYTES
from livewarden_ensemble import decode
from livewarden_ensemble.coverage import FrameState
from livewarden_ensemble.decode import DecodeLimits, decode_frame, fit_frame

SIDE = IMAGE_SIDE
ORIENTATION = 0x0112


def save(picture: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(rows: np.ndarray, depth: int, colour: int, *extra: bytes) -> bytes:
    """Write a PNG by hand: Pillow does not write every depth."""
    height, width = rows.shape[:2]
    raw = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(raw))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def average(length: int) -> np.ndarray:
    """The matrix [SIDE, length] of an exact average over areas."""
    edges = np.linspace(0, length, SIDE + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(length)[None, :]
    cover = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    return np.clip(cover, 0, None) / (high - low)


def shrink(picture: np.ndarray) -> np.ndarray:
    rows, columns = average(picture.shape[0]), average(picture.shape[1])
    return np.einsum("yh,hwc,xw->yxc", rows, picture.astype(float), columns, optimize=True)


def reference(data: bytes) -> np.ndarray:
    """What a viewer shows, by full decoding and an exact average over areas."""
    with Image.open(io.BytesIO(data)) as image:
        return shrink(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


def distance(view: np.ndarray, expected: np.ndarray) -> float:
    assert view.shape == (SIDE, SIDE, 3)
    return float(np.abs(view.astype(float) - expected).mean())


def only_view(data: bytes) -> np.ndarray:
    decoded = decode_frame(data)
    assert decoded.state is FrameState.OK
    (view,) = decoded.views
    assert view.dtype == np.uint8
    assert view.flags.c_contiguous
    return view


def colours(data: bytes) -> list[tuple[int, ...]]:
    """The colour in the middle of each view."""
    return [tuple(map(int, view[SIDE // 2, SIDE // 2])) for view in decode_frame(data).views]


def flat(colour: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (60, 40)):
    return Image.new(mode, size, colour)


# --- Ordinary pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "bound"),
    [
        ("JPEG", {"quality": 80}, 1.5),
        ("JPEG", {"quality": 80, "progressive": True}, 1.5),
        ("JPEG", {"quality": 80, "subsampling": "4:4:4"}, 1.5),
        ("JPEG", {"quality": 80, "keep_rgb": True}, 1.5),
        ("JPEG", {"quality": 80, "restart_marker_blocks": 8}, 1.5),
        ("PNG", {}, 0.6),
        ("WEBP", {"quality": 80}, 0.6),
        ("WEBP", {"lossless": True}, 0.6),
    ],
)
def test_view_is_near_full_decoding(photo, kind, options, bound):
    """The scaled fast path shows what full decoding and an exact area average show."""
    data = save(photo, kind, **options)
    assert distance(only_view(data), reference(data)) < bound


def test_two_readings_of_memory_agree(photo):
    """A memoryview gives the same view as the bytes it shows."""
    data = save(photo, "JPEG")
    assert np.array_equal(only_view(data), only_view(memoryview(data)))


def test_grey_jpeg_is_grey(photo):
    """A one-component JPEG gives three equal channels."""
    data = save(Image.fromarray(photo).convert("L"), "JPEG")
    view = only_view(data)
    assert distance(view, reference(data)) < 1.5
    assert (view == view[..., :1]).all()


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_jpeg_is_not_negative(photo, adobe):
    """CMYK is read as Adobe writes it, inverted, with or without Adobe's mark, as browsers do."""
    data = save(Image.fromarray(photo).convert("CMYK"), "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    length = 2 + int.from_bytes(data[at + 2 : at + 4])
    assert data[at + 4 : at + 9] == b"Adobe"
    data = data if adobe else data[:at] + data[at + length :]
    assert distance(only_view(data), shrink(photo)) < 2.5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(photo, kind, orientation):
    """A picture stored on its side is seen upright, for all eight orientations."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = save(photo, kind, exif=exif)
    assert distance(only_view(data), reference(data)) < 1.6


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_png_modes_are_seen_as_rgb(photo, mode):
    """Bits, grey, palettes and opaque alpha give one view, as a viewer shows it."""
    image = Image.fromarray(photo).convert("L" if mode == "LA" else "RGB").convert(mode)
    data = save(image, "PNG")
    assert distance(only_view(data), reference(data)) < 0.7


# --- Pictures that a plain conversion gets wrong --------------------------------------------------


def test_deep_grey_is_scaled_and_not_clipped():
    """16-bit grey 40000 of 65535 is 156 of 255, and not white."""
    deep = np.full((300, 300), 40000, np.uint16)
    assert colours(png(deep, 16, 0)) == [(156, 156, 156)]


def test_deep_colour_is_scaled():
    """16-bit RGB comes out within one of its value divided by 257."""
    deep = np.full((300, 300, 3), (1000, 30000, 65535), np.uint16)
    ((red, green, blue),) = colours(png(deep, 16, 2))
    assert (red, green, blue) == pytest.approx((1000 / 257, 30000 / 257, 255), abs=1)


def test_see_through_value_of_deep_grey_gives_two_views():
    """A 16-bit grey value that is declared see-through is seen on black and on white."""
    deep = np.full((300, 300), 40000, np.uint16)
    clear = chunk(b"tRNS", struct.pack(">H", 40000))
    assert colours(png(deep, 16, 0, clear)) == [(0, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
@pytest.mark.parametrize(
    ("pixel", "black", "white"),
    [
        ((200, 30, 90, 0), (0, 0, 0), (255, 255, 255)),
        ((200, 30, 90, 128), (100, 15, 45), (227, 142, 172)),
    ],
)
def test_alpha_is_seen_on_black_and_on_white(kind, options, pixel, black, white):
    """Colours under clear pixels stay hidden, and what shows on either ground is seen."""
    seen = colours(save(flat(pixel, "RGBA"), kind, **options))
    assert [tuple(c) for c in seen] == [pytest.approx(black, abs=1), pytest.approx(white, abs=1)]


def test_composites_match_a_slow_one(photo):
    """Scaling colours times alpha is the same as laying the full picture on each ground."""
    alpha = np.linspace(0, 255, photo.shape[1]).round().astype(np.uint8)
    rgba = np.dstack([photo, np.broadcast_to(alpha, photo.shape[:2])])
    share = rgba[..., 3:] / 255
    for view, ground in zip(decode_frame(save(rgba, "PNG")).views, (0, 255), strict=True):
        assert distance(view, shrink(photo * share + ground * (1 - share))) < 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_see_through_colour_gives_two_views(mode):
    """A palette entry or one colour that is declared see-through counts as alpha."""
    image = Image.new(mode, (60, 40), 0)
    clear = (0, 0, 0) if mode == "RGB" else 0
    assert colours(save(image, "PNG", transparency=clear)) == [(0, 0, 0), (255, 255, 255)]


def test_palette_alpha_is_graded():
    """A palette whose entries have different alpha is laid out entry by entry."""
    image = Image.new("P", (60, 40), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    seen = colours(save(image, "PNG", transparency=bytes([255, 128])))
    assert seen == [pytest.approx((100, 50, 25), abs=1), pytest.approx((227, 177, 152), abs=1)]


RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)


def animate(kind: str, frames: list[tuple[int, int, int]], **options) -> bytes:
    images = [flat(colour) for colour in frames]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return save(
        images[0],
        kind,
        save_all=True,
        append_images=images[1:],
        duration=40,
        **lossless,
        **options,
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_is_seen_at_start_middle_and_end(kind):
    """A clean first image hides nothing behind it."""
    data = animate(kind, [RED, GREY, GREEN, GREY, BLUE])
    assert decode_frame(data).state is FrameState.ANIMATED
    assert colours(data) == [RED, GREEN, BLUE]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_two_images_are_both_seen(kind):
    """The shortest animation gives each image once."""
    assert colours(animate(kind, [RED, BLUE])) == [RED, BLUE]


def test_picture_for_old_viewers_is_seen_too():
    """The still picture behind an APNG, which only viewers without APNG show, is one of its own."""
    data = animate("PNG", [RED, GREEN, BLUE], default_image=True)
    assert decode_frame(data).state is FrameState.ANIMATED
    assert colours(data) == [RED, GREEN, BLUE]


def test_animation_with_alpha_is_seen_on_both_grounds():
    """Each sampled image of a see-through animation is seen on black and on white."""
    frames = [flat((*RED, 255), "RGBA"), flat((0, 0, 0, 0), "RGBA")]
    data = save(frames[0], "PNG", save_all=True, append_images=frames[1:], disposal=1, blend=0)
    assert colours(data) == [RED, (0, 0, 0), (255, 255, 255)]


def test_polyglot_is_the_picture_that_it_shows(photo):
    """An archive glued to a JPEG, PNG or WebP does not change what is seen."""
    for kind in ("JPEG", "PNG", "WEBP"):
        data = save(photo, kind)
        glued = data + b"PK\x03\x04" + bytes(range(256)) * 20
        assert np.array_equal(only_view(glued), only_view(data))


# --- Refused --------------------------------------------------------------------------------------


@pytest.fixture
def decodings(monkeypatch) -> list[str]:
    """The formats whose decoder was called."""
    called: list[str] = []
    for kind in list(decode._DECODERS):
        monkeypatch.setitem(decode._DECODERS, kind, lambda *_, kind=kind: called.append(kind))
    return called


def test_nothing_is_empty(decodings):
    """Zero bytes are EMPTY, which is not the same as corrupt."""
    assert decode_frame(b"") == decode.DecodedFrame(FrameState.EMPTY)
    assert decodings == []


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM", "JPEG2000"])
def test_other_formats_are_refused(kind, decodings):
    """Only JPEG, PNG and WebP are decoded, told by their first bytes."""
    assert decode_frame(save(flat(RED), kind)).state is FrameState.UNSUPPORTED
    assert decodings == []


@pytest.mark.parametrize("data", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0" * 99, b"x"])
def test_what_is_no_picture_is_refused(data, decodings):
    """Markup, zeros and noise are UNSUPPORTED."""
    assert decode_frame(data).state is FrameState.UNSUPPORTED
    assert decodings == []


# 8000 x 8000 pixels, lossless WebP: 183 MiB of RGB.
WEBP_BOMB = bytes.fromhex("524946461a000000574542505650384c0e0000002f3fdfcf07071011fd0f4444ff03")


def repeat_scan(data: bytes, times: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    start = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))
    return data[:-2] + data[start:-2] * times + data[-2:]


def flat_png(width: int, height: int) -> bytes:
    return save(Image.new("1", (width, height)), "PNG")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("webp bomb", lambda: WEBP_BOMB),
        ("png pixels", lambda: flat_png(5001, 5000)),
        ("png side", lambda: flat_png(8193, 1)),
        ("jpeg pixels", lambda: save(Image.new("L", (5001, 5000)), "JPEG")),
        ("jpeg side", lambda: save(Image.new("L", (1, 8193)), "JPEG")),
        ("webp pixels", lambda: save(Image.new("RGB", (4000, 3001)), "WEBP", method=0)),
        ("scans", lambda: repeat_scan(save(flat(RED), "JPEG", progressive=True), 200)),
        ("bytes", lambda: save(flat(RED), "JPEG") + bytes(MAX_FRAME_BYTES)),
    ],
)
def test_bombs_are_refused_undecoded(name, make, decodings):
    """A file that asks for too much is TOO_LARGE before any decoder sees it."""
    assert decode_frame(make()).state is FrameState.TOO_LARGE, name
    assert decodings == []


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_counts_all_its_pixels(kind):
    """The budget of pixels is for all images of an animation together."""
    data = animate(kind, [RED, GREEN, BLUE])
    for most, state in ((7200, FrameState.ANIMATED), (7199, FrameState.TOO_LARGE)):
        limits = DecodeLimits(max_pixels=most, max_webp_pixels=most)
        assert decode_frame(data, limits).state is state


@pytest.mark.parametrize(("mode", "size"), [("RGBA", 32), ("RGB", 24), ("L", 8), ("LA", 32)])
def test_png_counts_what_it_inflates_to(mode, size):
    """The budget of a PNG is its bytes once inflated, so that deep pixels count for more."""
    data = save(Image.new(mode, (60, 40)), "PNG")
    enough = 60 * 40 * size // 8
    for most, state in ((enough, FrameState.OK), (enough - 1, FrameState.TOO_LARGE)):
        limits = DecodeLimits(max_png_bytes=most, max_png_pixels=0)
        assert decode_frame(data, limits).state is state


@pytest.mark.parametrize(
    ("depth", "colour", "state"),
    [(8, 6, FrameState.OK), (8, 2, FrameState.OK), (16, 6, FrameState.TOO_LARGE)],
)
def test_png_of_few_pixels_needs_no_budget(depth, colour, state):
    """As many pixels of 8 bits a channel as a screen has are seen, whatever they inflate to."""
    data = image_file.png(60, 40, depth, colour)
    limits = DecodeLimits(max_png_bytes=1, max_png_pixels=2400)
    assert decode_frame(data, limits).state is state
    fewer = DecodeLimits(max_png_bytes=1, max_png_pixels=2399)
    assert decode_frame(data, fewer).state is FrameState.TOO_LARGE


def test_screenshot_in_4k_is_seen():
    """A picture of 3840 x 2160 with alpha, which is what screens are saved as, is no bomb."""
    assert decode_frame(image_file.png(3840, 2160, 8, 6)).state is FrameState.OK


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_images_of_an_animation_are_bounded(kind):
    """An animation may have so many images, however small they are."""
    data = animate(kind, [RED, GREEN, BLUE])
    assert decode_frame(data, DecodeLimits(max_images=3)).state is FrameState.ANIMATED
    assert decode_frame(data, DecodeLimits(max_images=2)).state is FrameState.TOO_LARGE


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "I;16"])
def test_strips_join_without_a_seam(mode, monkeypatch):
    """Converting strip by strip is the same as converting the whole picture."""
    rng = np.random.default_rng(5)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, (1000, 1400), np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (1000, 1400, 4), np.uint8)).convert(mode)
    data = save(image, "PNG")
    strips = decode_frame(data).views
    monkeypatch.setattr(decode, "_STRIP", 10_000)
    for strip, whole in zip(strips, decode_frame(data).views, strict=True):
        assert np.array_equal(strip, whole)


def test_scans_times_pixels_are_bounded(photo):
    """A large picture may have fewer scans than a small one."""
    data = save(photo, "JPEG", progressive=True)
    assert decode_frame(data).state is FrameState.OK
    limits = DecodeLimits(max_scan_pixels=photo.shape[0] * photo.shape[1] * 5)
    assert decode_frame(data, limits).state is FrameState.TOO_LARGE
    assert decode_frame(save(photo, "JPEG"), limits).state is FrameState.OK


@pytest.mark.parametrize(("colour", "depth", "clear"), [(2, 16, (1, 1, 1)), (0, 4, (1,))])
def test_see_through_values_that_the_decoder_misreads_are_refused(colour, depth, clear, decodings):
    """Where Pillow makes the wrong pixels see-through, the frame goes to a person."""
    shape = (8, 8, 3) if colour == 2 else (8, 4)
    rows = np.zeros(shape, np.uint16)
    data = png(rows, depth, colour, chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)))
    assert decode_frame(data).state is FrameState.UNSUPPORTED
    assert decodings == []


# --- Damaged --------------------------------------------------------------------------------------


def whole_files() -> dict[str, bytes]:
    rng = np.random.default_rng(7)
    noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((60, 45))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return {
        "jpeg": save(noise, "JPEG", exif=exif),
        "progressive": save(noise, "JPEG", progressive=True),
        "grey": save(noise.convert("L"), "JPEG"),
        "cmyk": save(noise.convert("CMYK"), "JPEG"),
        "restart": save(noise, "JPEG", restart_marker_blocks=2),
        "png": save(noise, "PNG", exif=exif),
        "palette": save(noise.convert("P"), "PNG", transparency=3),
        "rgba": save(noise.convert("RGBA"), "PNG"),
        "apng": animate("PNG", [RED, GREEN, BLUE]),
        "webp": save(noise, "WEBP", exif=exif),
        "lossless": save(noise, "WEBP", lossless=True),
        "animated": animate("WEBP", [RED, GREEN, BLUE]),
    }


WHOLE = whole_files()


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_truncated_file_is_corrupt(name, percent):
    """A file cut anywhere is CORRUPT: the missing part might be the bad one."""
    data = WHOLE[name]
    assert decode_frame(data).state in {FrameState.OK, FrameState.ANIMATED}
    keep = max(12, len(data) * percent // 100)  # with its magic, else it is no picture at all
    assert decode_frame(data[:keep]).state is FrameState.CORRUPT


@pytest.mark.parametrize("name", [name for name in WHOLE if WHOLE[name][:2] == b"\xff\xd8"])
@pytest.mark.parametrize("end", [b"", b"\xff", b"PK\x03\x04"])
def test_jpeg_without_its_end_is_corrupt(name, end):
    """A JPEG needs its end marker, whatever stands in its place."""
    assert decode_frame(WHOLE[name][:-2] + end).state is FrameState.CORRUPT


@pytest.mark.parametrize("name", ["jpeg", "progressive", "grey", "cmyk", "restart"])
def test_jpeg_cut_and_closed_is_corrupt(name):
    """An end marker glued to half a JPEG does not make it whole."""
    data = WHOLE[name]
    assert decode_frame(data[: len(data) * 3 // 4] + b"\xff\xd9").state is FrameState.CORRUPT


@pytest.mark.parametrize("name", ["webp", "lossless", "animated"])
def test_webp_cut_with_an_honest_length_is_corrupt(name):
    """A shortened WebP whose outer length was mended is still found out."""
    data = WHOLE[name][: len(WHOLE[name]) * 3 // 4]
    mended = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    assert decode_frame(mended).state is FrameState.CORRUPT


def test_png_with_a_wrong_checksum_is_corrupt():
    """The checksums of a PNG are checked, which Pillow leaves out for pixels."""
    data = bytearray(WHOLE["png"])
    data[data.index(b"IEND") - 5] ^= 1
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    assert decode_frame(bytes(data)).state is FrameState.CORRUPT


@pytest.mark.parametrize("shade", [0, 200])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("width", "height"), [(20, 20), (1, 9), (9, 1), (3, 5)])
def test_png_without_all_its_rows_is_corrupt(shade, colour, interlace, width, height):
    """A PNG that ends early is found out, though its last rows could have been black."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    first = [(0, 0, 1, 1)] if not interlace else [
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]  # fmt: skip
    lines = [
        b"\0" + bytes([shade]) * (len(range(left, width, across)) * channels)
        for left, top, across, down in first
        for _ in range(top, height, down)
        if left < width
    ]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlace))
    for rows, state in ((lines, FrameState.OK), (lines[:-1], FrameState.CORRUPT)):
        pixels = chunk(b"IDAT", zlib.compress(b"".join(rows)))
        data = b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")
        assert decode_frame(data).state is state


def test_decoder_must_agree_with_the_header(photo, monkeypatch):
    """Two readings of one header are an attack on the budget, and CORRUPT."""
    data = save(photo, "JPEG")
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", lambda _: (1, 2, "YCbCr", "420"))
    assert decode_frame(data).state is FrameState.CORRUPT


def test_result_does_not_print_pixels(photo):
    """A frame's repr reaches logs, its pixels do not."""
    assert repr(decode_frame(save(photo, "JPEG"))) == f"DecodedFrame(state={FrameState.OK!r})"


@st.composite
def mutations(draw) -> bytes:
    data = bytearray(WHOLE[draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 1, 2, 4, 30]))
        data[at : at + length] = draw(st.binary(max_size=6))
    return bytes(data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(mutations(), st.binary(max_size=200)))
@example(b"\xff\xd8\xff")
@example(b"RIFF\0\0\0\0WEBP")
def test_no_bytes_raise_and_none_pass_unseen(data):
    """Whatever the bytes, there is a state; it is OK or ANIMATED exactly if there are views."""
    decoded = decode_frame(data)
    assert bool(decoded.views) == (decoded.state in {FrameState.OK, FrameState.ANIMATED})
    assert all(view.shape == (SIDE, SIDE, 3) for view in decoded.views)
    assert all(view.flags.c_contiguous and view.dtype == np.uint8 for view in decoded.views)


# --- Frames that are decoded already --------------------------------------------------------------


def test_fit_shrinks_by_area(photo):
    """Shrinking is an exact average over areas."""
    assert distance(fit_frame(photo), shrink(photo)) < 0.6


def test_fit_enlarges_smoothly():
    """A frame smaller than the square is enlarged by linear interpolation."""
    small = np.random.default_rng(3).integers(0, 256, (30, 50, 3), np.uint8)
    expected = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert distance(fit_frame(small), np.asarray(expected)) < 1


def test_fit_does_not_skip_lines_of_a_ribbon():
    """A frame that is wide and low is averaged along its width, not sampled."""
    ribbon = np.zeros((10, 4480, 3), np.uint8)
    ribbon[:, ::2] = 255
    assert (np.abs(fit_frame(ribbon).astype(int) - 127) <= 1).all()


def test_fit_keeps_a_square_that_fits():
    """A frame of the right size comes back as it is."""
    square = np.random.default_rng(4).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert np.array_equal(fit_frame(square), square)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.booleans())
def test_fit_takes_any_size(height, width, turned):
    """Any frame from one pixel up becomes a square, contiguous or not; flat colours stay."""
    frame = np.full((height, width, 3), (7, 100, 250), np.uint8)
    fitted = fit_frame(frame.swapaxes(0, 1)[::-1] if turned else frame)
    assert fitted.shape == (SIDE, SIDE, 3)
    assert fitted.flags.c_contiguous
    assert (fitted == (7, 100, 250)).all()

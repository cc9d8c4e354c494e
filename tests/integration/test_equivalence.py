"""One picture in many files: the verdict does not depend on how it was written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.pipeline import Pipeline

ORIENTATION = 0x0112
# Between two files of one picture, no score may move by more.
LIMIT = 0.02
PICTURES = {
    "astronaut": Image.fromarray(skimage.data.astronaut()).resize((640, 480)),
    "coffee": Image.fromarray(skimage.data.coffee()),
    "cat": Image.fromarray(skimage.data.chelsea()),
}
# How each EXIF orientation has to be stored to be seen upright.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(image: Image.Image, orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return save(image.transpose(STORED[orientation]), "JPEG", quality=95, exif=tags)


def write(image: Image.Image) -> dict[str, bytes]:
    """The same picture in every way that cameras, browsers and encoders write it."""
    grey = image.convert("L")
    return {
        "png": save(image, "PNG"),
        "opaque alpha": save(image.convert("RGBA"), "PNG"),
        "baseline": save(image, "JPEG", quality=95),
        "progressive": save(image, "JPEG", quality=95, progressive=True),
        "cmyk": save(image.convert("CMYK"), "JPEG", quality=95),
        "webp": save(image, "WEBP", quality=95),
        "lossless": save(image, "WEBP", lossless=True),
        **{f"orientation {number}": turned(image, number) for number in STORED},
        "grey png": save(grey, "PNG"),
        "grey jpeg": save(grey, "JPEG", quality=95),
        "deep grey": save(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
    }


def compare(pipeline: Pipeline, name: str) -> float:
    """The most that a score moves between files of one picture; each is whole, the action stays."""
    files = write(PICTURES[name])
    outcomes = pipeline.moderate([RawClip(b"{}", [data]) for data in files.values()])
    by_file = dict(zip(files, outcomes, strict=True))
    moved = 0.0
    for file, outcome in by_file.items():
        plain = by_file["grey png" if "grey" in file else "png"]
        assert outcome.verdict is not None
        assert plain.verdict is not None
        assert outcome.verdict.coverage.frames.states == {}, file
        assert outcome.verdict.action == plain.verdict.action, file
        moved = max(moved, float(np.abs(outcome.scores - plain.scores).max()))
    return moved


@pytest.mark.parametrize("name", PICTURES)
def test_same_picture_same_verdict(local_pipeline: Pipeline, repository: Path, name: str) -> None:
    """Against the plain file, no score moves by more than 0.02, and the decision stays."""
    assert repository.exists()
    assert compare(local_pipeline, name) <= LIMIT

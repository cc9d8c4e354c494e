"""Version folders: what Triton serves one leaf of a bundle from."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from livewarden_ensemble.integrity import COMPILED, MODEL_CODE, MODEL_FILE, list_served

if TYPE_CHECKING:
    from pathlib import Path


def fill_version(leaf: Path, version: Path) -> None:
    """Fill the empty folder `version` so that it serves `leaf`, a leaf's folder in a bundle.

    The bundle's files are hard links where both are on one file system, and copies elsewhere.
    """
    for name, file in list_served(leaf).items():
        try:
            os.link(file, version / name)
        except OSError:
            shutil.copyfile(file, version / name)
    (version / MODEL_FILE).write_text(MODEL_CODE)
    (version / COMPILED).touch()

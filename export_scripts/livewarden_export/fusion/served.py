"""The exported encoders as the answer to feature requests: what serves, and much faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import Model
from livewarden_ensemble.leaf import OpenVinoExecutor
from livewarden_export.bundle import LEAVES_FOLDER, OPENVINO_FOLDER
from livewarden_export.fusion.feature import Answer


def open_encoders(bundle: Path, threads: int = 2) -> Answer:
    """An Answer from the leaves of the bundle in folder `bundle`, opened as they are asked."""
    opened: dict[str, OpenVinoExecutor] = {}

    def answer(model: Model, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if model.name not in opened:
            folder = bundle / LEAVES_FOLDER / model.name / OPENVINO_FOLDER
            opened[model.name] = OpenVinoExecutor(folder, model, threads=threads)
        rows = len(next(iter(inputs.values())))
        return opened[model.name].infer({**inputs, "nonce": np.zeros((rows, 1), np.int64)})

    return answer

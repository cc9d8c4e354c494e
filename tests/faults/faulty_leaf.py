"""A leaf that does harm on request: it stands in for model.py in a copy of the repository.

The file FAULT beside it says how: `fail`, `nan`, `slow`, `busy` and `sleep` until the file is gone,
`cross` once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from livewarden_ensemble.serving import OpenVinoLeaf

FAULT = Path(__file__).with_name("FAULT")


class Faulty:
    """An executor that obeys the file."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def infer(self, batch: Any) -> Any:
        """Infer, and spoil it."""
        how = FAULT.read_text() if FAULT.exists() else ""
        if how == "fail":
            raise RuntimeError
        if how == "slow":
            time.sleep(1.0)
        if how == "sleep":
            time.sleep(600)
        while how == "busy":
            pass
        outputs = self._executor.infer(batch)
        if how == "nan":
            floats = {n: a for n, a in outputs.items() if np.issubdtype(a.dtype, np.floating)}
            outputs |= {name: np.full_like(array, np.nan) for name, array in floats.items()}
        if how == "cross":
            FAULT.unlink()
            outputs["echo"] = outputs["echo"] + 1
        return outputs


class TritonPythonModel(OpenVinoLeaf):
    """The real leaf around the faulty executor."""

    def initialize(self, args: dict[str, str]) -> None:
        """Start as the real one does."""
        super().initialize(args)
        self._executor = Faulty(self._executor)

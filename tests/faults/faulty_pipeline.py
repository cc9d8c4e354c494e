"""The pipeline with a policy engine that does harm on request; model.py of a repository's copy.

The file FAULT beside it says how: `fail` and `slow` until it is gone, `busy` for ever.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from livewarden_ensemble import pipeline
from livewarden_ensemble.serving import ModerationPipeline as TritonPythonModel

__all__ = ["TritonPythonModel"]

FAULT = Path(__file__).with_name("FAULT")
_decide = pipeline.decide


def decide(*arguments: Any) -> Any:
    """Decide, and spoil it."""
    how = FAULT.read_text() if FAULT.exists() else ""
    if how == "fail":
        raise RuntimeError
    if how == "slow":
        time.sleep(1.0)
    while how == "busy":
        pass
    return _decide(*arguments)


pipeline.decide = decide

"""What a stub tells the supervisor: that it serves, and that it ends in good order.

A version that is published or withdrawn starts and ends stubs of a running server. Without this the
supervisor would take a withdrawn one for a dead one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

# Names the folder where each stub that serves has a file, called by its process id.
STUBS_VARIABLE: Final = "LIVEWARDEN_STUBS"


def announce_stub() -> None:
    """Say that this process serves now: from here on its end is a death."""
    if (folder := os.environ.get(STUBS_VARIABLE)) is not None:
        (Path(folder) / str(os.getpid())).touch()


def dismiss_stub() -> None:
    """Say that this process is going to end because it was asked to."""
    if (folder := os.environ.get(STUBS_VARIABLE)) is not None:
        (Path(folder) / str(os.getpid())).unlink(missing_ok=True)

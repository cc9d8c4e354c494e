"""What a stub tells the supervisor: that it serves, what it is at, and that it ends in good order.

A version that is published or withdrawn starts and ends stubs of a running server. Without this the
supervisor would take a withdrawn one for a dead one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from livewarden_ensemble.progress import Progress

# Names the folder where each stub that serves has a file, called by its process id.
STUBS_VARIABLE: Final = "LIVEWARDEN_STUBS"
# A file of this name in that folder: the server is about to stop, and takes no more requests.
CLOSED: Final = "closed"


def announce_stub() -> Progress:
    """Say that this process serves now: from here on its end is a death, and its standstill a hang.

    Returns what the stub counts its steps with.
    """
    folder = _find_folder()
    return Progress(folder / str(os.getpid()) if folder else None)


def dismiss_stub(progress: Progress) -> None:
    """Say that this process is going to end because it was asked to."""
    progress.close()
    if (folder := _find_folder()) is not None:
        (folder / str(os.getpid())).unlink(missing_ok=True)


def is_closed() -> bool:
    """Whether the server takes no more requests."""
    folder = _find_folder()
    return folder is not None and (folder / CLOSED).exists()


def _find_folder() -> Path | None:
    folder = os.environ.get(STUBS_VARIABLE)
    return Path(folder) if folder else None

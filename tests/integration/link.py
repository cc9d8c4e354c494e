"""Copies of large files that cost nothing where the file system lets them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Make `target` a hard link to `source`, or a copy where the file system makes no such link.

    The folder for temporary files is often on another file system than the checkout.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, target)

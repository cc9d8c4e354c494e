"""Puts a bundle live in Triton's model repository: its leaves first, the pointer last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import msgspec

from livewarden_client.wire import LEAVES, MODELS, MODERATION
from livewarden_ensemble.bundle import POINTER, Pointer
from livewarden_export.bundle import LEAVES_FOLDER, OPENVINO_FOLDER, Bundle
from livewarden_export.errors import ExportFailed

VERSION: Final = "1"


def put_live(bundle: Bundle, repository: Path) -> Path:
    """Link the bundle's leaves into `repository` and point the pipeline at it; gives the pointer.

    The pointer names the bundle's folder relative to its own. A pointer to another bundle is taken
    away before the first leaf changes: a repository that is half one bundle and half another has
    none, and a server refuses to start on it. Doing it again ends in the same state. Raises
    ExportFailed where `repository` is no model repository.
    """
    missing = [model.name for model in MODELS if not (repository / model.name).is_dir()]
    if missing:
        raise ExportFailed(
            f"{repository}: holds no model {', '.join(missing)}; name the repository with "
            "--repository, or write its configs with: livewarden export --write-configs"
        )
    pointer = repository / MODERATION.name / POINTER
    content = msgspec.json.format(
        msgspec.json.encode(
            Pointer(
                bundle=bundle.id,
                path=os.path.relpath(bundle.folder.resolve(), pointer.parent.resolve()),
                versions={leaf.name: VERSION for leaf in LEAVES},
            )
        )
    )
    if pointer.exists() and pointer.read_bytes() != content:
        pointer.unlink()
    for leaf in LEAVES:
        target = repository / leaf.name / VERSION
        target.mkdir(exist_ok=True)
        for file in sorted((bundle.folder / LEAVES_FOLDER / leaf.name / OPENVINO_FOLDER).iterdir()):
            _place_file(file, target / file.name)
    staged = pointer.with_suffix(".new")
    staged.write_bytes(content)
    _replace(staged, pointer)
    return pointer


def _place_file(source: Path, target: Path) -> None:
    """Make `target` the file `source`: a hard link, or a copy on another file system."""
    staged = target.with_suffix(target.suffix + ".new")
    staged.unlink(missing_ok=True)
    try:
        os.link(source, staged)
    except OSError:
        shutil.copyfile(source, staged)
    # Where both names are links to one file already, rename() does nothing and keeps both.
    _replace(staged, target)
    staged.unlink(missing_ok=True)


def _replace(staged: Path, target: Path) -> None:
    handle = os.open(staged, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    staged.replace(target)

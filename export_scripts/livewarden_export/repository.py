"""A model repository on disk: version folders that serve a bundle, and the pointer to the live one.

A version folder appears whole or not at all, and the pointer is replaced by one rename: a process
that is killed at any moment leaves a repository that serves one whole bundle, the old or the new.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from livewarden_client.wire import LEAVES, MODELS, MODERATION
from livewarden_ensemble.bundle import POINTER, Pointer, Release, read_pointer
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.integrity import LEAVES_FOLDER, check_release, hold_repository
from livewarden_ensemble.version_folder import fill_version
from livewarden_export.bundle import Bundle, sync_path
from livewarden_export.errors import ExportFailed

_STAGING: Final = ".staging-"


@contextlib.contextmanager
def lock_repository(repository: Path) -> Iterator[None]:
    """Hold the repository alone. ExportFailed where it is none, or another command holds it."""
    missing = [model.name for model in MODELS if not (repository / model.name).is_dir()]
    if missing:
        raise ExportFailed(
            f"{repository}: holds no model {', '.join(missing)}; name the repository with "
            "--repository, or write its configs with: livewarden export --write-configs"
        )
    with hold_repository(repository) as held:
        if not held:
            raise ExportFailed(
                f"{repository}: another command is changing it; wait for it and try again"
            )
        yield


def find_pointer(repository: Path) -> Pointer | None:
    """The pointer, or None where nothing was ever put live. Raises BundleInvalid."""
    folder = repository / MODERATION.name
    return read_pointer(folder) if (folder / POINTER).exists() else None


def write_pointer(repository: Path, pointer: Pointer) -> Path:
    """Replace the pointer by one rename, written through to the disk; gives its path."""
    path = repository / MODERATION.name / POINTER
    staged = path.with_suffix(".new")
    staged.write_bytes(msgspec.json.format(msgspec.json.encode(pointer)) + b"\n")
    sync_path(staged)
    staged.replace(path)
    sync_path(path.parent)
    return path


def find_release(bundle: Bundle, repository: Path, pointer: Pointer | None) -> Release | None:
    """How the bundle is served already, if it is and every file of that is as it should be."""
    for release in pointer.list_releases().values() if pointer else ():
        if release.bundle == bundle.id:
            with contextlib.suppress(BundleInvalid):
                check_release(repository, release)
                if _locate(repository, bundle) == release.path:
                    return release
    return None


def stage_release(bundle: Bundle, repository: Path, pointer: Pointer | None) -> Release:
    """Put the bundle's leaves into new version folders beside those that serve.

    All leaves get the same version, above every one that exists. Nothing names them yet.
    """
    version = str(1 + max(_list_versions(repository, pointer), default=0))
    for leaf in LEAVES:
        target = repository / leaf.name / version
        staged = target.with_name(f"{_STAGING}{version}")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        fill_version(bundle.folder / LEAVES_FOLDER / leaf.name, staged)
        for path in (*staged.iterdir(), staged):
            sync_path(path)
        staged.rename(target)
        sync_path(target.parent)
    release = Release(
        bundle.id, _locate(repository, bundle), {leaf.name: version for leaf in LEAVES}
    )
    check_release(repository, release)
    return release


def _locate(repository: Path, bundle: Bundle) -> str:
    """The bundle's folder, relative to the pointer's."""
    return os.path.relpath(bundle.folder.resolve(), (repository / MODERATION.name).resolve())


def _list_versions(repository: Path, pointer: Pointer | None) -> Iterator[int]:
    for leaf in LEAVES:
        for path in (repository / leaf.name).iterdir():
            if path.name.isdecimal():
                yield int(path.name)
    for release in pointer.list_releases().values() if pointer else ():
        yield from map(int, release.versions.values())

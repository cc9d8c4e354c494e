"""The stage: a repository of its own, on which one bundle is live and nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import msgspec

from livewarden_client.wire import LEAVES, MODELS, MODERATION
from livewarden_ensemble.bundle import POINTER, Pointer
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.integrity import (
    LEAVES_FOLDER,
    MANIFEST,
    MODEL_FILE,
    PIPELINE_VERSION,
    SHORT,
    read_manifest,
)
from livewarden_ensemble.version_folder import fill_version

_CONFIG: Final = "config.pbtxt"


def find_bundle(name: str, bundles: Path) -> Path:
    """The folder that `name` means: a bundle's path, or the first digits of one in `bundles`.

    Raises BundleInvalid where it means none, or several.
    """
    if (Path(name) / MANIFEST).is_file():
        return Path(name).resolve()
    known = sorted(path for path in bundles.glob("*") if path.is_dir())
    fitting = [path for path in known if path.name.startswith(name)]
    if len(fitting) != 1:
        problem = "fits several" if fitting else "is none"
        names = ", ".join(path.name for path in fitting or known) or "none"
        raise BundleInvalid(f"{name!r} {problem} of the bundles in {bundles}: {names}")
    return fitting[0].resolve()


def stage_bundle(bundle: Path, repository: Path, stage: Path) -> None:
    """Lay out the empty folder `stage` as a repository that serves the bundle in `bundle`.

    The configs and the pipeline are those of `repository`, which stays as it is. Raises
    BundleInvalid, naming the file.
    """
    digest = read_manifest(bundle)["digest"]
    for model in MODELS:
        source = repository / model.name / _CONFIG
        if not source.is_file():
            raise BundleInvalid(f"{source}: is missing; name the repository with --repository")
        (stage / model.name).mkdir()
        shutil.copyfile(source, stage / model.name / _CONFIG)
    for leaf in LEAVES:
        version = stage / leaf.name / PIPELINE_VERSION
        version.mkdir()
        fill_version(bundle / LEAVES_FOLDER / leaf.name, version)
    pipeline = stage / MODERATION.name
    (pipeline / PIPELINE_VERSION).mkdir()
    code = repository / MODERATION.name / PIPELINE_VERSION / MODEL_FILE
    shutil.copyfile(code, pipeline / PIPELINE_VERSION / MODEL_FILE)
    pointer = Pointer(
        bundle=digest[:SHORT],
        path=os.path.relpath(bundle.resolve(), pipeline.resolve()),
        versions={leaf.name: PIPELINE_VERSION for leaf in LEAVES},
    )
    (pipeline / POINTER).write_bytes(msgspec.json.encode(pointer))

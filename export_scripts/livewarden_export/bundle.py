"""A bundle: one immutable folder of leaves, tokenizer and calibration, named by its content.

The digest is SHA-256 over the sorted lines "path sha256" of every file but the manifest, and the
folder is its first 16 hex digits. A folder appears whole or not at all: it is filled under another
name on the same file system, written through to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from livewarden_export.errors import BundleBroken

MANIFEST: Final = "manifest.json"
SCHEMA: Final = "livewarden.bundle/v1"

# leaves/<leaf>/model.onnx and leaves/<leaf>/openvino/model.xml
LEAVES_FOLDER: Final = "leaves"
ONNX_FILE: Final = "model.onnx"
OPENVINO_FOLDER: Final = "openvino"

_STAGING: Final = ".staging-"
_SHORT: Final = 16


@dataclass(frozen=True, slots=True)
class Bundle:
    """A sealed bundle on disk. `id` is the folder's name, the first 16 digits of `digest`."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 over the list of files, 64 hex digits."""
        return str(self.manifest["digest"])

    @property
    def id(self) -> str:
        """The name that verdicts and people use."""
        return self.digest[:_SHORT]


@contextlib.contextmanager
def stage_bundle(bundles: Path) -> Iterator[Path]:
    """A fresh folder beside the bundles, to be filled and sealed; gone afterwards in any case."""
    bundles.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=_STAGING, dir=bundles))
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def seal_bundle(staged: Path, facts: Mapping[str, Any]) -> Bundle:
    """Make the filled folder `staged` a bundle; `facts` go into its manifest.

    Where a bundle of the same content exists, it stays and only its manifest is replaced.
    """
    files = hash_files(staged)
    digest = digest_files(files)
    manifest = {"schema": SCHEMA, "digest": digest, **facts, "files": files}
    (staged / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for path in sorted(staged.rglob("*"), reverse=True):
        _sync(path)
    _sync(staged)
    folder = staged.parent / digest[:_SHORT]
    if folder.is_dir():
        (staged / MANIFEST).replace(folder / MANIFEST)
        _sync(folder)
    else:
        staged.chmod(0o755)  # mkdtemp made it private
        staged.rename(folder)
    _sync(folder.parent)
    return Bundle(folder, manifest)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, by its manifest; BundleBroken where that is missing or strange."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleBroken(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise BundleBroken(f"{path}: is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise BundleBroken(f"{path}: is not of schema {SCHEMA!r}")
    return Bundle(folder, manifest)


def verify_bundle(bundle: Bundle) -> None:
    """Raise BundleBroken, naming the file, unless the folder holds exactly what was sealed."""
    listed: Mapping[str, str] = bundle.manifest["files"]
    found = hash_files(bundle.folder)
    for name in sorted(found.keys() | listed.keys()):
        if found.get(name) != listed.get(name):
            state = "is missing" if name not in found else "was changed or added"
            raise BundleBroken(f"{bundle.folder / name}: {state}; export the bundle again")
    if digest_files(found) != bundle.digest or bundle.folder.name != bundle.id:
        raise BundleBroken(f"{bundle.folder / MANIFEST}: names another digest than its files have")


def find_bundle(bundles: Path, key: str) -> Bundle | None:
    """The bundle that was exported under `key` and still holds what was sealed, if any."""
    for path in sorted(bundles.glob(f"*/{MANIFEST}")):
        if path.parent.name.startswith("."):
            continue
        with contextlib.suppress(BundleBroken):
            bundle = read_bundle(path.parent)
            if bundle.manifest.get("key") == key:
                verify_bundle(bundle)
                return bundle
    return None


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in `folder` but the manifest, by path relative to it, sorted."""
    return {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


def hash_file(path: Path) -> str:
    """SHA-256 of one file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(files: Mapping[str, str]) -> str:
    """The digest of a bundle with these files: path -> SHA-256."""
    lines = "".join(f"{name} {files[name]}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

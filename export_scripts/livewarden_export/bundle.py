"""A bundle: one immutable folder of leaves, tokenizer and calibration, named by its content.

The digest is SHA-256 over the sorted lines "path sha256" of every file but the manifest, and the
folder is its first 16 hex digits. A folder appears whole or not at all: it is filled under another
name on the same file system, written through to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from livewarden_client.wire import LEAVES
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.integrity import (
    LEAVES_FOLDER,
    MANIFEST,
    OPENVINO_FOLDER,
    SCHEMA,
    SHORT,
    check_files,
    digest_files,
    hash_file,
    hash_files,
    hold_repository,
    read_manifest,
)
from livewarden_ensemble.signature import SIGNATURE
from livewarden_export.errors import BundleBroken, ExportFailed
from livewarden_export.provenance import read_provenance
from livewarden_export.sbom import write_sbom

__all__ = [
    "LEAVES_FOLDER",
    "MANIFEST",
    "ONNX_FILE",
    "OPENVINO_FOLDER",
    "SBOM",
    "Bundle",
    "digest_files",
    "find_bundle",
    "hash_file",
    "hash_files",
    "list_bundles",
    "read_bundle",
    "seal_bundle",
    "stage_bundle",
    "sync_path",
    "verify_bundle",
]

ONNX_FILE: Final = "model.onnx"  # leaves/<leaf>/model.onnx
SBOM: Final = "sbom.cdx.json"

_STAGING: Final = ".staging-"


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
        return self.digest[:SHORT]


@contextlib.contextmanager
def stage_bundle(bundles: Path) -> Iterator[Path]:
    """A fresh folder beside the bundles, to be filled and sealed; gone afterwards in any case.

    What a killed export left is deleted. ExportFailed where another export is at work.
    """
    bundles.mkdir(parents=True, exist_ok=True)
    with hold_repository(bundles) as held:
        if not held:
            raise ExportFailed(f"{bundles}: another export is at work; wait for it and try again")
        for left in bundles.glob(f"{_STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(prefix=_STAGING, dir=bundles))
        try:
            yield staged
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise ExportFailed(
                f"{bundles}: {os.strerror(error.errno)}; nothing was exported, and what was there "
                "is as it was"
            ) from None
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def seal_bundle(staged: Path, facts: Mapping[str, Any]) -> Bundle:
    """Make the filled folder `staged` a bundle; `facts` go into its manifest.

    A bill of materials is added to the files; git commit, processor and GPU to the manifest. Where
    a bundle of the same content exists, it stays and only its manifest is replaced, which ends a
    signature on it.
    """
    write_sbom(staged / SBOM, facts, hash_files(staged))
    files = hash_files(staged)
    digest = digest_files(files)
    manifest = {
        "schema": SCHEMA,
        "digest": digest,
        "contract": hash_contract(),
        **facts,
        **read_provenance(),
        "files": files,
    }
    (staged / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for path in sorted(staged.rglob("*"), reverse=True):
        sync_path(path)
    sync_path(staged)
    folder = staged.parent / digest[:SHORT]
    if folder.is_dir():
        (folder / SIGNATURE).unlink(missing_ok=True)
        (staged / MANIFEST).replace(folder / MANIFEST)
        sync_path(folder)
    else:
        staged.chmod(0o755)  # mkdtemp made it private
        staged.rename(folder)
    sync_path(folder.parent)
    return Bundle(folder, manifest)


def hash_contract() -> str:
    """SHA-256 over the leaves' tensors: bundles of another one cannot be served side by side."""
    return hashlib.sha256(repr(LEAVES).encode()).hexdigest()


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, by its manifest; BundleBroken where that is missing or strange."""
    with _broken():
        return Bundle(folder, read_manifest(folder))


def verify_bundle(bundle: Bundle) -> None:
    """Raise BundleBroken, naming the file, unless the folder holds exactly what was sealed."""
    with _broken():
        check_files(bundle.folder, bundle.manifest)


def list_bundles(bundles: Path) -> list[Bundle]:
    """Every bundle in a folder of bundles that has a readable manifest, the newest last."""
    found = []
    for path in sorted(bundles.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns):
        if not path.parent.name.startswith("."):
            with contextlib.suppress(BundleBroken):
                found.append(read_bundle(path.parent))
    return found


def find_bundle(bundles: Path, key: str) -> Bundle | None:
    """The bundle that was exported under `key` and still holds what was sealed, if any."""
    for bundle in list_bundles(bundles):
        if bundle.manifest.get("key") == key:
            with contextlib.suppress(BundleBroken):
                verify_bundle(bundle)
                return bundle
    return None


def sync_path(path: Path) -> None:
    """Have a file or a folder written through to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except BundleInvalid as error:
        raise BundleBroken(str(error)) from None

"""What a bundle must be before anything of it is run: every hash, the contract, the signature.

Also the checks of the model repository that a start begins with: what Triton finds there, it runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.wire import LABELS, LEAVES, MODERATION, TAXONOMY_VERSION, WIRE_VERSION
from livewarden_ensemble.bundle import POINTER, read_pointer
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.signature import SIGNATURE, verify_bundle_signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from livewarden_ensemble.bundle import Release

MANIFEST: Final = "manifest.json"
SCHEMA: Final = "livewarden.bundle/v1"
SHORT: Final = 16  # digits of the digest that name a bundle

# leaves/<leaf>/openvino/*: what the embedded target serves
LEAVES_FOLDER: Final = "leaves"
OPENVINO_FOLDER: Final = "openvino"
# leaves/<leaf>/tensorrt/model.plan: what the GPU target serves, in a bundle that was built for one
TENSORRT_FOLDER: Final = "tensorrt"
PLAN_FILE: Final = "model.plan"

# Triton starts each version of a Python model from a file of this name.
MODEL_FILE: Final = "model.py"
MODEL_CODE: Final = '''"""An OpenVINO leaf of the embedded target."""

from livewarden_ensemble.serving import OpenVinoLeaf as TritonPythonModel
'''
# The version of `moderation`, which never changes: its pipeline follows the pointer.
PIPELINE_VERSION: Final = "1"
PIPELINE_CODE: Final = '''"""The pipeline."""

from livewarden_ensemble.serving import ModerationPipeline as TritonPythonModel
'''

# Not part of what is hashed: the manifest holds the hashes, and the signature signs both.
_APART: Final = (MANIFEST, SIGNATURE)
# An empty file of this name keeps Python from compiling into a version folder. The folder stays as
# it was, so Triton does not take the version for a changed one and load it anew, and there is no
# compiled file that would run in place of the one that was checked.
COMPILED: Final = "__pycache__"
_STAGING: Final = ".staging-"
_CONTRACT: Final = {
    "wire_version": WIRE_VERSION,
    "taxonomy": TAXONOMY_VERSION,
    "labels": list(LABELS),
}


def hash_file(path: Path) -> str:
    """SHA-256 of one file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a bundle, by path relative to `folder`, sorted.

    Manifest and signature are left out; a link is an error, since it leads out of the bundle.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BundleInvalid(f"{path}: is a symbolic link; a bundle holds plain files only")
        if path.is_file() and name not in _APART:
            files[name] = hash_file(path)
    return files


def digest_files(files: Mapping[str, str]) -> str:
    """The digest of a bundle with these files: path -> SHA-256."""
    lines = "".join(f"{name} {files[name]}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the bundle in `folder`; BundleInvalid where it is missing or strange."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleInvalid(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise BundleInvalid(f"{path}: is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise BundleInvalid(f"{path}: is not of schema {SCHEMA!r}")
    files, digest = manifest.get("files"), manifest.get("digest")
    if not isinstance(files, dict) or not isinstance(digest, str):
        raise BundleInvalid(f"{path}: lists no files, or has no digest")
    return manifest


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise BundleInvalid, naming the file, unless `folder` holds exactly what was sealed."""
    listed: Mapping[str, str] = manifest["files"]
    found = hash_files(folder)
    for name in sorted(found.keys() | listed.keys()):
        if found.get(name) != listed.get(name):
            state = "is missing" if name not in found else "was changed or added"
            raise BundleInvalid(f"{folder / name}: {state}; export the bundle again")
    digest = digest_files(found)
    if digest != manifest["digest"] or folder.name != digest[:SHORT]:
        raise BundleInvalid(f"{folder / MANIFEST}: names another digest than its files have")


def check_contract(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise BundleInvalid unless the bundle was made for this wire contract and label order."""
    for name, ours in _CONTRACT.items():
        if manifest.get(name) != ours:
            raise BundleInvalid(
                f"{folder / MANIFEST}: {name} is not the one of this installation; "
                "export the bundle again with it, or install the version that made it"
            )


def check_bundle(folder: Path, public_key: Path | None = None) -> dict[str, Any]:
    """Check hashes, contract and, with `public_key`, the signature; gives the manifest.

    Raises BundleInvalid, naming the file.
    """
    if not folder.is_dir():
        raise BundleInvalid(f"{folder}: there is no such bundle")
    manifest = read_manifest(folder)
    if public_key is not None:
        verify_bundle_signature(folder, public_key)
    check_files(folder, manifest)
    check_contract(folder, manifest)
    return manifest


def check_release(repository: Path, release: Release, public_key: Path | None = None) -> None:
    """Check a bundle and the version folders that serve it, file by file.

    Raises BundleInvalid, naming the file.
    """
    folder = (repository / MODERATION.name / release.path).resolve()
    manifest = check_bundle(folder, public_key)
    if release.bundle != manifest["digest"][:SHORT]:
        raise BundleInvalid(
            f"{repository / MODERATION.name / POINTER}: names the bundle {release.bundle}, "
            f"but {folder} is {manifest['digest'][:SHORT]}"
        )
    for leaf in LEAVES:
        version = repository / leaf.name / release.versions[leaf.name]
        check_version(version, folder / LEAVES_FOLDER / leaf.name, manifest)


def list_served(leaf: Path) -> dict[str, Path]:
    """What a version folder holds of the bundle's folder `leaf`, by name, for both targets."""
    openvino, plan = leaf / OPENVINO_FOLDER, leaf / TENSORRT_FOLDER / PLAN_FILE
    served = {path.name: path for path in sorted(openvino.iterdir())} if openvino.is_dir() else {}
    return {**served, plan.name: plan} if plan.is_file() else served


def check_version(version: Path, leaf: Path, manifest: Mapping[str, Any]) -> None:
    """Raise BundleInvalid unless the folder `version` is what `leaf` serves and our model.py.

    `leaf` is a leaf's folder in the bundle that `manifest` belongs to, and has been checked.
    """
    bundle = leaf.parents[1]
    wanted = list_served(leaf)
    own = {MODEL_FILE: MODEL_CODE, COMPILED: ""}
    found = {path.name for path in version.iterdir()} if version.is_dir() else set()
    for name in sorted(found | wanted.keys() | own.keys()):
        path = version / name
        if name not in found or path.is_symlink():
            raise BundleInvalid(f"{path}: is missing; publish the bundle again")
        if not path.is_file() or not (name in wanted or name in own):
            same = False
        elif name in own:
            same = path.read_text() == own[name]
        else:
            listed = manifest["files"][wanted[name].relative_to(bundle).as_posix()]
            same = path.samefile(wanted[name]) or hash_file(path) == listed
        if not same:
            raise BundleInvalid(f"{path}: was changed or added; publish the bundle again")


def check_pipeline(pipeline: Path) -> None:
    """Raise BundleInvalid unless `pipeline`, the folder of `moderation`, runs our code alone.

    Compiled files are deleted: Python would run them in place of the file that is checked here.
    """
    for version in sorted(pipeline.iterdir()):
        if not version.is_dir() or not version.name.isdecimal():
            continue
        if version.name != PIPELINE_VERSION:
            raise BundleInvalid(f"{version}: was added; `moderation` has one version")
        compiled, model = version / COMPILED, version / MODEL_FILE
        if compiled.is_dir() and not compiled.is_symlink():
            # Replicas start side by side, and each does this: what is gone is gone.
            with contextlib.suppress(FileNotFoundError):
                for path in compiled.iterdir():
                    path.unlink(missing_ok=True)
        for path in sorted(version.iterdir()):
            if path.name not in {MODEL_FILE, COMPILED} or path.is_symlink():
                raise BundleInvalid(f"{path}: was added; delete it")
        if not model.is_file() or model.read_text() != PIPELINE_CODE:
            raise BundleInvalid(f"{model}: is missing or was changed; install it again")


def check_repository(repository: Path, public_key: Path | None = None) -> None:
    """Check every bundle that the pointer of `repository` names; a start begins with this.

    A repository without a pointer holds none of our bundles, and passes unless signatures are
    required. Raises BundleInvalid, naming the file.
    """
    pipeline = repository / MODERATION.name
    if not (pipeline / POINTER).exists():
        if public_key is not None:
            raise BundleInvalid(f"{pipeline / POINTER}: is missing; run `livewarden export` first")
        return
    check_pipeline(pipeline)
    with hold_repository(repository) as held:
        if held:
            remove_orphans(repository)
        for release in read_pointer(pipeline).list_releases().values():
            check_release(repository, release, public_key)


@contextlib.contextmanager
def hold_repository(folder: Path) -> Iterator[bool]:
    """Hold the lock of a repository, or of a folder of bundles; whether it was free.

    The kernel frees it with the process. The lock is the folder itself, so that nothing is left.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def find_orphans(repository: Path) -> list[Path]:
    """Version folders that no pointer names, and half-filled ones: what a killed publish leaves.

    Without a pointer nothing is known of any folder, and none is an orphan.
    """
    pipeline = repository / MODERATION.name
    if not (pipeline / POINTER).exists():
        return []
    named = {
        (leaf, version)
        for release in read_pointer(pipeline).list_releases().values()
        for leaf, version in release.versions.items()
    }
    return [
        path
        for leaf in LEAVES
        for path in sorted((repository / leaf.name).glob("*"))
        if path.name.startswith(_STAGING)
        or (path.name.isdecimal() and (leaf.name, path.name) not in named)
    ]


def remove_orphans(repository: Path) -> list[str]:
    """Delete what `find_orphans` finds; gives the leaves that lost a version. Hold the lock."""
    leaves = []
    for path in find_orphans(repository):
        # Out of Triton's sight first: half a version folder must never be one.
        hidden = path.with_name(f"{_STAGING}gone-{path.name}")
        if not path.name.startswith(_STAGING):
            leaves.append(path.parent.name)
            shutil.rmtree(hidden, ignore_errors=True)
            path.rename(hidden)
            path = hidden  # noqa: PLW2901 - the same folder under its new name
        shutil.rmtree(path)
    return sorted(set(leaves))

"""Signatures of bundles and policies, in the format of OpenSSF model signing, by an EC key.

A bundle's covers every file of it, the manifest with its tables included, and lies in the bundle. A
policy's covers the policy, its lists, banks and shadow policies, and lies beside the policy.
"""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from livewarden_ensemble.errors import BundleInvalid, LivewardenError, PolicyInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from livewarden_ensemble.policy import Policy

SIGNATURE: Final = "signature.json"
# The library's message goes on with both digests, as Python writes bytes.
_CHANGED: Final = re.compile("Hash mismatch for '(.+?)': Expected")


def sign_bundle(folder: Path, private_key: Path, password: str | None = None) -> Path:
    """Sign the bundle in `folder` with an EC private key (PEM); gives the signature's path.

    Raises BundleInvalid where the key cannot be used.
    """
    return _sign(_describe_bundle(folder), private_key, password)


def verify_bundle_signature(folder: Path, public_key: Path) -> None:
    """Raise BundleInvalid unless the bundle in `folder` is whole and signed by `public_key` (PEM).

    The message names the signature's file, and the file that differs where one does.
    """
    _verify(_describe_bundle(folder), public_key)


def locate_signature(policy: Path) -> Path:
    """Where the signature of the policy file `policy` lies: beside it, under its name."""
    return policy.with_name(f"{policy.name}.{SIGNATURE}")


def sign_policy(policy: Policy, private_key: Path, password: str | None = None) -> Path:
    """Sign the files of `policy` with an EC private key (PEM); gives the signature's path.

    Raises PolicyInvalid where the key cannot be used, or a file is not what was loaded.
    """
    return _sign(_describe_policy(policy), private_key, password)


def verify_policy_signature(policy: Policy, public_key: Path) -> None:
    """Raise PolicyInvalid unless what was loaded as `policy` is signed by `public_key` (PEM).

    The message names the signature's file, and the file that differs where one does.
    """
    _verify(_describe_policy(policy), public_key)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is signed: files below `folder`, as `hashing` (the library's term) lists them."""

    noun: str
    folder: Path
    signature: Path
    staged: Path
    hashing: Any
    refusal: type[LivewardenError]


@dataclass(frozen=True, slots=True)
class _LoadedPolicy:
    """What the library asks for hashes of a policy: those of the bytes that were loaded."""

    policy: Policy

    def hash(self, folder: Path, **_: object) -> Any:
        """The library's manifest; ValueError where a file is not what was loaded."""
        # As a path below the folder, which is what the library names files by.
        files = {
            folder / os.path.relpath(file, folder): digest
            for file, digest in self.policy.files.items()
        }
        hashing = _hash_all(PolicyInvalid).set_allow_symlinks(True)
        manifest = hashing.hash(folder, files_to_hash=files)
        found = {one.identifier: one.digest.digest_hex for one in manifest.resource_descriptors()}
        for file, digest in files.items():
            name = file.relative_to(folder).as_posix()
            if found.get(name) != digest:
                raise ValueError(f"{name} changed while it was read")
        return manifest

    def add_ignored_paths(self, **_: object) -> None:
        """Ignore nothing, whatever the signature says: what was loaded must be signed."""


def _describe_bundle(folder: Path) -> _Subject:
    # Outside, because every file in the folder is signed.
    staged = folder.with_name(f".{folder.name}.{SIGNATURE}")
    hashing = _hash_all(BundleInvalid, ignored=[SIGNATURE])
    return _Subject("bundle", folder, folder / SIGNATURE, staged, hashing, BundleInvalid)


def _describe_policy(policy: Policy) -> _Subject:
    signature = locate_signature(policy.path)
    staged = signature.with_name(f".{signature.name}")
    hashing = _LoadedPolicy(policy)
    return _Subject("policy", policy.path.parent, signature, staged, hashing, PolicyInvalid)


def _sign(subject: _Subject, private_key: Path, password: str | None) -> Path:
    signing = _import("signing", subject.refusal)
    try:
        config = signing.Config().use_elliptic_key_signer(
            private_key=private_key, password=password
        )
        config.set_hashing_config(subject.hashing).sign(subject.folder, subject.staged)
    except (ValueError, TypeError, OSError) as error:
        subject.staged.unlink(missing_ok=True)
        raise subject.refusal(f"{private_key}: cannot sign with this key ({error})") from None
    subject.staged.replace(subject.signature)
    return subject.signature


def _verify(subject: _Subject, public_key: Path) -> None:
    noun, signature = subject.noun, subject.signature
    if not public_key.is_file():
        raise subject.refusal(f"{public_key}: there is no such public key")
    if not signature.is_file():
        raise subject.refusal(
            f"{signature}: is missing, and only a signed {noun} is accepted; "
            f"run: livewarden {noun} sign {noun.upper()} --key KEY"
        )
    verifying = _import("verifying", subject.refusal)
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        config.set_hashing_config(subject.hashing).verify(subject.folder, signature)
    # The library lets errors of json, protobuf and cryptography through, which have no common base.
    except Exception as error:  # noqa: BLE001
        changed = ", ".join(_CHANGED.findall(str(error)))
        cause = str(error).partition("\n")[0] or type(error).__name__
        cause = f"{changed}: changed since it was signed" if changed else cause
        raise subject.refusal(
            f"{signature}: is no signature of this {noun} by {public_key} ({cause})"
        ) from None


def _hash_all(refusal: type[LivewardenError], ignored: Sequence[str] = ()) -> Any:
    hashing = _import("hashing", refusal)
    return hashing.Config().set_ignored_paths(paths=ignored, ignore_git_paths=False)


def _import(module: str, refusal: type[LivewardenError]) -> Any:
    # Only who signs or asks for signatures pays for the library, in time and in packages.
    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        raise refusal(
            f"signatures need the package {error.name!r}; run: pip install 'livewarden[signing]'"
        ) from None

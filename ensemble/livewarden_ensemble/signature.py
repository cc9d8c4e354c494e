"""Signatures of bundles, in the format of OpenSSF model signing, with an elliptic-curve key.

The signature covers every file of the bundle, the manifest with its tables included.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from livewarden_ensemble.errors import BundleInvalid

if TYPE_CHECKING:
    from pathlib import Path

SIGNATURE: Final = "signature.json"


def sign_bundle(folder: Path, private_key: Path, password: str | None = None) -> Path:
    """Sign the bundle in `folder` with an EC private key (PEM); gives the signature's path.

    Raises BundleInvalid where the key cannot be used.
    """
    signing = _import("signing")
    staged = folder.parent / f".{folder.name}.{SIGNATURE}"
    try:
        config = signing.Config().use_elliptic_key_signer(
            private_key=private_key, password=password
        )
        config.set_hashing_config(_hash_all()).sign(folder, staged)
    except (ValueError, TypeError, OSError) as error:
        staged.unlink(missing_ok=True)
        raise BundleInvalid(f"{private_key}: cannot sign with this key ({error})") from None
    staged.replace(folder / SIGNATURE)
    return folder / SIGNATURE


def verify_signature(folder: Path, public_key: Path) -> None:
    """Raise BundleInvalid unless the bundle in `folder` is whole and signed by `public_key` (PEM).

    The message names the signature's file, and the file that differs where one does.
    """
    signature = folder / SIGNATURE
    if not public_key.is_file():
        raise BundleInvalid(f"{public_key}: there is no such public key")
    if not signature.is_file():
        raise BundleInvalid(
            f"{signature}: is missing, and only signed bundles are accepted; "
            "run: livewarden bundle sign BUNDLE --key KEY"
        )
    verifying = _import("verifying")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        config.set_hashing_config(_hash_all()).verify(folder, signature)
    # The library lets errors of json, protobuf and cryptography through, which have no common base.
    except Exception as error:  # noqa: BLE001
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise BundleInvalid(
            f"{signature}: is no signature of this bundle by {public_key} ({cause})"
        ) from None


def _hash_all() -> Any:
    hashing = _import("hashing")
    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _import(module: str) -> Any:
    # Only who signs or asks for signatures pays for the library, in time and in packages.
    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        raise BundleInvalid(
            f"signatures need the package {error.name!r}; run: pip install 'livewarden[signing]'"
        ) from None

"""Bundles as the pipeline sees them: the pointer, and each bundle's tokenizer and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec

from livewarden_client.wire import LABELS, LEAVES, MODALITIES
from livewarden_ensemble.errors import BundleInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

POINTER: Final = "live.json"
_T = TypeVar("_T")

# Triton's versions: the names of the folders that it serves from.
_Version = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,17}$(?!\n)")]


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle in a repository: its id, its folder, and the version of each leaf that serves it.

    `path` is relative to the folder of the model `moderation`.
    """

    bundle: str
    path: str
    versions: Mapping[str, _Version]


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle beside the live one, and the part of all streams, 0..100, that it gets."""

    release: Release
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)]


class Pointer(Release, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which bundle is live, and which others are loaded beside it: the file `live.json`.

    `previous` is where a rollback leads; `candidate` is being published and gets only the clips
    that ask for it; `canary` answers for its share of the streams; `shadow` answers nobody.
    """

    previous: Release | None = None
    candidate: Release | None = None
    canary: Share | None = None
    shadow: Share | None = None

    @property
    def live(self) -> Release:
        """The live bundle alone."""
        return Release(self.bundle, self.path, self.versions)

    def list_releases(self) -> dict[str, Release]:
        """Every bundle that the pointer names, by its role; the live one first."""
        shares = {"canary": self.canary, "shadow": self.shadow}
        roles = {"live": self.live, "previous": self.previous, "candidate": self.candidate} | {
            role: share.release for role, share in shares.items() if share is not None
        }
        return {role: release for role, release in roles.items() if release is not None}


class Calibration(msgspec.Struct, frozen=True):
    """What the scores mean: the calibration's id, and which labels each modality can speak to."""

    id: str
    supported: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the pipeline needs of the live bundle."""

    digest: str
    folder: Path
    versions: Mapping[str, str]
    calibration: Calibration

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that the text encoder was exported with."""
        return self.folder / "tokenizer.json"

    def list_unsupported(self, modalities: Iterable[str] = MODALITIES) -> tuple[str, ...]:
        """The labels that none of `modalities` has a signal for, in taxonomy order."""
        supported = self.calibration.supported
        known = {label for name in modalities for label in supported.get(name, ())}
        return tuple(label for label in LABELS if label not in known)


def read_pointer(pipeline: Path) -> Pointer:
    """The pointer in `pipeline`, the folder of the model `moderation`.

    Raises BundleInvalid, naming the file, where it is missing, strange, or leaves out a leaf.
    """
    file = pipeline / POINTER
    pointer = _read(file, Pointer)
    for release in pointer.list_releases().values():
        missing = [leaf.name for leaf in LEAVES if leaf.name not in release.versions]
        if missing:
            raise BundleInvalid(f"{file}: names no version of {', '.join(missing)}")
    return pointer


def load_bundle(pipeline: Path, release: Release | None = None) -> Bundle:
    """Load `release`, or the live bundle of the pointer in `pipeline`, the folder of `moderation`.

    Raises BundleInvalid, naming the file, where pointer, versions, tokenizer or calibration are
    not usable.
    """
    release = release or read_pointer(pipeline).live
    folder = (pipeline / release.path).resolve()
    bundle = Bundle(release.bundle, folder, release.versions, read_calibration(folder))
    if not bundle.tokenizer.is_file():
        raise BundleInvalid(f"{bundle.tokenizer}: is missing; run `livewarden export` again")
    return bundle


def read_calibration(folder: Path) -> Calibration:
    """The calibration of the bundle in `folder`; BundleInvalid names what does not fit the wire."""
    file = folder / "calibration.json"
    calibration = _read(file, Calibration)
    spoken = [label for labels in calibration.supported.values() for label in labels]
    _check_names(file, "modality", calibration.supported, MODALITIES)
    _check_names(file, "label", spoken, LABELS)
    return calibration


def _check_names(file: Path, what: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise BundleInvalid(f"{file}: unknown {what} {name!r}; known: {', '.join(known)}")


def _read(file: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise BundleInvalid(
            f"{file}: cannot be read ({error.strerror}); run `livewarden export` first"
        ) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise BundleInvalid(f"{file}: {error}") from None

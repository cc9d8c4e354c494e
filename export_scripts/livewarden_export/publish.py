"""Publish, canary, shadow, roll back: each ends in one replacement of the pointer.

A bundle is staged beside what serves, checked file by file, loaded by every server that runs on the
repository, and asked about canary clips there. Only then may the pointer name it for callers.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import tritonclient.grpc as triton

from livewarden_client.wire import LEAVES, MODERATION
from livewarden_ensemble.admin import Admin, Record, find_servers
from livewarden_ensemble.bundle import POINTER, Pointer, Release, Share
from livewarden_ensemble.canary import build_inputs, judge_verdict
from livewarden_ensemble.errors import BundleInvalid, LivewardenError, ServerFailed
from livewarden_ensemble.integrity import (
    check_bundle,
    check_release,
    read_manifest,
    remove_orphans,
)
from livewarden_ensemble.routing import derive_server_key
from livewarden_ensemble.vitals import Beat
from livewarden_export.bundle import Bundle, hash_contract
from livewarden_export.errors import ExportFailed
from livewarden_export.repository import (
    find_pointer,
    find_release,
    lock_repository,
    stage_release,
    write_pointer,
)

Report = Callable[[str], None]

_LEAF_NAMES: Final = tuple(leaf.name for leaf in LEAVES)
# Enough that every instance of the pipeline answers some of them.
_CANARY_CLIPS: Final = 16
_CANARY_THREADS: Final = 4
_CANARY_TRIES: Final = 3
_CANARY_TIMEOUT_S: Final = 120.0


def flip_live(pointer: Pointer | None, release: Release) -> Pointer:
    """The pointer once `release` is live: what was live can be rolled back to; no canary is left.

    A shadow stays, unless it is what goes live.
    """
    if pointer is None:
        return Pointer(release.bundle, release.path, release.versions)
    previous = pointer.live if pointer.live.bundle != release.bundle else pointer.previous
    shadow = pointer.shadow if pointer.shadow and pointer.shadow.release != release else None
    return Pointer(release.bundle, release.path, release.versions, previous=previous, shadow=shadow)


def drop_unfit(pointer: Pointer, repository: Path) -> Pointer:
    """The pointer without releases of another tensor contract: no server could load them."""

    def fits(release: Release | None) -> bool:
        folder = repository / MODERATION.name / (release.path if release else "")
        try:
            return release is not None and read_manifest(folder)["contract"] == hash_contract()
        except (BundleInvalid, KeyError):
            return False

    return msgspec.structs.replace(
        pointer,
        previous=pointer.previous if fits(pointer.previous) else None,
        shadow=pointer.shadow if pointer.shadow and fits(pointer.shadow.release) else None,
    )


def flip_back(pointer: Pointer | None) -> Pointer:
    """The pointer once the previous bundle is live again; ExportFailed where there is none."""
    if pointer is None or pointer.previous is None:
        raise ExportFailed("there is no bundle to roll back to: none was live before this one")
    return flip_live(pointer, pointer.previous)


def put_live(bundle: Bundle, repository: Path, report: Report = lambda _step: None) -> Path:
    """Publish the bundle: staged, checked, loaded and tried, and then live; gives the pointer.

    Where it is live and whole already, nothing changes. Servers that run on the repository go on
    answering all the while; without one, the next start serves the bundle. Raises ExportFailed,
    BundleInvalid or ServerFailed, and then what was live still is.
    """
    with _open(repository, report) as desk:
        release = desk.make_ready(bundle)
        return desk.write(drop_unfit(flip_live(desk.pointer, release), repository))


def roll_back(repository: Path) -> Pointer:
    """Make the previous bundle live again, at once: it is still loaded."""
    with lock_repository(repository), _connect(repository) as admins:
        pointer = flip_back(find_pointer(repository))
        for admin in admins:
            if not admin.serves(pointer.versions):
                raise ExportFailed(
                    f"the server at {admin.record.grpc} has not loaded bundle {pointer.bundle}; "
                    "publish it instead"
                )
        write_pointer(repository, pointer)
        return pointer


def share_streams(
    bundle: Bundle, repository: Path, role: str, percent: float, report: Report
) -> Pointer:
    """Let `bundle` be the `role` (canary or shadow) for a part of all streams, beside the live one.

    0 percent ends it. Raises as `put_live`.
    """
    with _open(repository, report) as desk:
        if desk.pointer is None:
            raise ExportFailed(f"{repository}: no bundle is live; publish one first")
        if percent and bundle.id == desk.pointer.bundle:
            raise ExportFailed(f"bundle {bundle.id} is live already, and cannot be its own {role}")
        share = Share(desk.make_ready(bundle), percent) if percent else None
        pointer = msgspec.structs.replace(desk.pointer, **{role: share, "candidate": None})
        desk.write(pointer)
        return pointer


@contextlib.contextmanager
def _connect(repository: Path) -> Iterator[list[Admin]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(Admin(record)))
            for record in find_servers(repository)
        ]


@contextlib.contextmanager
def _open(repository: Path, report: Report) -> Iterator[_Desk]:
    with lock_repository(repository), _connect(repository) as admins:
        desk = _Desk(repository, admins, report)
        desk.clear()
        yield desk


class _Desk:
    """One change of one repository, with the lock held, and the servers that must follow it."""

    def __init__(self, repository: Path, admins: list[Admin], report: Report) -> None:
        self._repository = repository
        self._admins = admins
        self._report = report
        self.pointer = find_pointer(repository)

    def clear(self) -> None:
        """Forget what a publish that was killed has left."""
        if self.pointer is not None and self.pointer.candidate is not None:
            self.pointer = msgspec.structs.replace(self.pointer, candidate=None)
            write_pointer(self._repository, self.pointer)
        self._load(remove_orphans(self._repository))

    def make_ready(self, bundle: Bundle) -> Release:
        """The bundle loaded and tried on every server, as a release that no caller meets yet."""
        self._report(f"{bundle.id}: verify")
        for key in {admin.record.public_key for admin in self._admins} | {None}:
            check_bundle(bundle.folder, Path(key) if key else None)
        release = find_release(bundle, self._repository, self.pointer)
        if release is not None and all(a.serves(release.versions) for a in self._admins):
            self._report(f"{bundle.id}: loaded already")
            self._try(release)
            return release
        self._report(f"{bundle.id}: stage")
        try:
            release = stage_release(bundle, self._repository, self.pointer)
            if self.pointer is not None and self._admins:
                # From now on each pipeline has the candidate's tokenizer and calibration at hand:
                # the switch itself has nothing to load.
                candidate = msgspec.structs.replace(self.pointer, candidate=release)
                write_pointer(self._repository, candidate)
                self._load(_LEAF_NAMES)
                self._try(release)
        except BaseException:
            self._withdraw()
            raise
        return release

    def write(self, pointer: Pointer) -> Path:
        """Make `pointer` the pointer, and let go of versions that it does not name."""
        pointer = self._drop_broken(pointer)
        if pointer == self.pointer:
            return self._repository / MODERATION.name / POINTER
        path = write_pointer(self._repository, pointer)
        self.pointer = pointer
        self._report("pointer replaced")
        self._load(remove_orphans(self._repository))
        return path

    def _drop_broken(self, pointer: Pointer) -> Pointer:
        """Let go of bundles beside the live one that were deleted or changed.

        A start checks every bundle that the pointer names, and would refuse them all for one.
        """
        gone: dict[str, None] = {}
        for role, release in pointer.list_releases().items():
            if role != "live":
                try:
                    check_release(self._repository, release)
                except BundleInvalid as error:
                    self._report(f"the {role} bundle is given up: {error}")
                    gone[role] = None
        return msgspec.structs.replace(pointer, **gone)

    def _try(self, release: Release) -> None:
        for admin in self._admins:
            self._report(f"{release.bundle}: canary clips through {admin.record.grpc}")
            ask_canaries(admin.record, release)

    def _withdraw(self) -> None:
        """Take the candidate back; the first error is the one to report."""
        with contextlib.suppress(OSError, LivewardenError):
            if self.pointer is not None:
                write_pointer(self._repository, self.pointer)
            self._load(remove_orphans(self._repository))

    def _load(self, leaves: Iterable[str]) -> None:
        for admin in self._admins:
            for leaf in leaves:
                self._report(f"{leaf}: load on {admin.record.grpc}")
                admin.load([leaf])


def ask_canaries(record: Record, release: Release) -> None:
    """Have a server answer canary clips by `release`; ServerFailed where one is wrong.

    Right is: every stage scored, and the verdict names this bundle and these versions.
    """
    with ThreadPoolExecutor(_CANARY_THREADS) as pool:
        for problem in pool.map(
            lambda index: _try_canary(record, release, index), range(_CANARY_CLIPS)
        ):
            if problem:
                raise ServerFailed(
                    f"{record.grpc}: a canary clip by bundle {release.bundle}: {problem}"
                )


def _try_canary(record: Record, release: Release, index: int) -> str:
    """What is wrong with a canary clip's answer; an overload may spoil all tries but one."""
    problem = ""
    for _ in range(_CANARY_TRIES):
        problem = _ask_canary(record, release, f"publish-{index}")
        if not problem:
            break
    return problem


def _ask_canary(record: Record, release: Release, request_id: str) -> str:
    nonce = secrets.token_hex(8)
    with triton.InferenceServerClient(record.grpc) as client:
        try:
            result = client.infer(
                MODERATION.name,
                build_inputs(request_id, nonce, release.bundle, derive_server_key(record.secret)),
                client_timeout=_CANARY_TIMEOUT_S,
            )
        except triton.InferenceServerException as error:
            return (error.message() or "").partition("\n")[0]
    verdict = result.as_numpy("verdict")
    pulse = judge_verdict(verdict, nonce)
    if pulse.beat is not Beat.ALIVE:
        return pulse.detail
    provenance: Any = json.loads(verdict.item())["provenance"]
    if (provenance["bundle"], provenance["models"]) != (release.bundle, dict(release.versions)):
        return f"was answered by bundle {provenance['bundle']}"
    return ""

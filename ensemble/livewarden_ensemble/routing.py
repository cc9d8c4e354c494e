"""Routing: which bundle answers a clip, and the one switch from bundle to bundle.

Each batch looks at the pointer once, before its first clip: a batch that begins after the pointer
was replaced sees the new one, and no clip is ever answered by two bundles.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from livewarden_ensemble.bundle import POINTER, Bundle, Pointer, Share, load_bundle, read_pointer
from livewarden_ensemble.errors import BundleInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from livewarden_ensemble.clip import RawClip
    from livewarden_ensemble.pipeline import Outcome

_PARTS: Final = 10_000  # hundredths of a percent

# The key by which a server knows its own clips: they may name a bundle, and probes stay out of the
# audit log. Its supervisor, its shadow and `livewarden bundle` have it.
SERVER_KEY_VARIABLE: Final = "LIVEWARDEN_SERVER_KEY"


def is_server_key(given: str, key: str) -> bool:
    """Whether a clip proved to be the server's own; without a `key` none is."""
    return bool(key) and hmac.compare_digest(given.encode(), key.encode())


def derive_server_key(secret: str) -> str:
    """The key for `options.server_key`, of 32 hex digits, from a server's admin secret."""
    return hmac.digest(secret.encode(), b"livewarden.server-key/v1", "sha256")[:16].hex()


class Moderator(Protocol):
    """A pipeline on one bundle."""

    def moderate(self, clips: Sequence[RawClip]) -> list[Outcome]:
        """One outcome per clip, in order."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Which bundle answered a clip, in which role, and the bundle to compare it with, if any."""

    bundle: str
    role: str
    outcome: Outcome
    shadow: str | None = None


class _Asked(msgspec.Struct, frozen=True):
    bundle: str = ""
    server_key: str = ""
    canary: bool = False


class _Routed(msgspec.Struct, frozen=True):
    """The part of a context that routing needs; the rest is read and judged by the pipeline."""

    stream_id: str = ""
    options: _Asked = _Asked()


_DECODER: Final = msgspec.json.Decoder(_Routed)


def falls_in(share: Share, stream_id: str, purpose: str) -> bool:
    """Whether a stream is in the share: by hash, so that it stays there from clip to clip.

    Another bundle or purpose draws other streams. A clip without a stream is in no share.
    """
    if not stream_id:
        return False
    text = f"{purpose}\0{share.release.bundle}\0{stream_id}"
    draw = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
    return draw % _PARTS < share.percent * _PARTS / 100


def choose_bundle(pointer: Pointer, context: bytes, key: str = "") -> tuple[str, str, str | None]:
    """The bundle that answers a clip, its role, and the bundle that shadows it, if any.

    A clip that names a bundle gets it if it sends `key` too: else callers could have themselves
    judged by a bundle that was withdrawn. Without a `key` none does; such a clip goes as any other.
    A context that cannot be read goes to the live bundle, which refuses it in its own words.
    """
    releases = pointer.list_releases()
    if releases.keys() == {"live"}:
        return pointer.bundle, "live", None
    try:
        routed = _DECODER.decode(context)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return pointer.bundle, "live", None
    asked = routed.options.bundle
    if asked and is_server_key(routed.options.server_key, key):
        roles = [role for role, release in releases.items() if release.bundle == asked]
        return (asked, roles[0], None) if roles else (pointer.bundle, "live", None)
    if routed.options.canary:
        return pointer.bundle, "live", None
    bundle, role = pointer.bundle, "live"
    if pointer.canary and falls_in(pointer.canary, routed.stream_id, "canary"):
        bundle, role = pointer.canary.release.bundle, "canary"
    shadow = pointer.shadow
    shadowed = shadow is not None and falls_in(shadow, routed.stream_id, "shadow")
    return bundle, role, shadow.release.bundle if shadow and shadowed else None


class Router:
    """Sends each clip of a batch through the pipeline of its bundle.

    `make` builds a pipeline; `tell` hears of a pointer that cannot be used, once per pointer: the
    routes before it stay. `key` lets clips name their bundle; `show` hears of each pointer that is
    taken over. The constructor raises BundleInvalid where there are no routes before it.
    """

    def __init__(
        self,
        folder: Path,
        make: Callable[[Bundle], Moderator],
        tell: Callable[[str], None],
        key: str = "",
        show: Callable[[Pointer], None] = lambda _pointer: None,
    ) -> None:
        self._folder = folder
        self._show = show
        self._key = key
        self._make = make
        self._tell = tell
        self._pipelines: dict[str, tuple[object, Moderator]] = {}
        self._seen = self._look()
        self._pointer = self._follow(read_pointer(folder))

    def moderate(self, clips: Sequence[RawClip]) -> list[Answer]:
        """One answer per clip, in order."""
        self._refresh()
        pointer, pipelines = self._pointer, self._pipelines
        chosen = [choose_bundle(pointer, clip.context, self._key) for clip in clips]
        answers: dict[int, Answer] = {}
        for bundle in dict.fromkeys(bundle for bundle, _, _ in chosen):
            places = [place for place, choice in enumerate(chosen) if choice[0] == bundle]
            _, pipeline = pipelines[bundle]
            outcomes = pipeline.moderate([clips[place] for place in places])
            for place, outcome in zip(places, outcomes, strict=True):
                _, role, shadow = chosen[place]
                answers[place] = Answer(bundle, role, outcome, shadow)
        return [answers[place] for place in range(len(clips))]

    def _refresh(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._pointer = self._follow(read_pointer(self._folder))
        except BundleInvalid as error:
            self._tell(f"the pointer was replaced, but the bundles before it stay: {error}")

    def _follow(self, pointer: Pointer) -> Pointer:
        """Have a pipeline for every bundle that `pointer` names, and for no other."""
        pipelines: dict[str, tuple[object, Moderator]] = {}
        for release in pointer.list_releases().values():
            known = self._pipelines.get(release.bundle)
            if known is None or known[0] != release:
                known = (release, self._make(load_bundle(self._folder, release)))
            pipelines[release.bundle] = known
        self._pipelines = pipelines
        self._show(pointer)
        return pointer

    def _look(self) -> tuple[int, int, int] | None:
        """What changes whenever the pointer is replaced."""
        try:
            stat = (self._folder / POINTER).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

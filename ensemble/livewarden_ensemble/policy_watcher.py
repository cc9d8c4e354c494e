"""The policy watcher: picks up a changed policy file, and keeps the last good one."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.signature import locate_signature, verify_policy_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from livewarden_ensemble.policy import Policy

# Names the public key (PEM) that policies must be signed by.
POLICY_KEY_VARIABLE: Final = "LIVEWARDEN_POLICY_KEY"
INTERVAL_S: Final = 0.5
_FRESH_NS: Final = 2_000_000_000


class PolicyWatcher:
    """Holds the live policy; `policy` may be read from any thread and is always whole.

    Every `interval` seconds the files that the policy is made of are looked at: their size and time
    of change, and their content where those moved, or are too fresh to be trusted. A file that
    cannot be used is refused, through `on_refused`, and the last good policy stays; it is tried
    again at every look, because what it lacks may come in a file that nobody watches yet.
    `on_mended` is told when the file on disk can be used again, changed or not. `reloads` and
    `refusals` count since the start; `is_stale` says that the file on disk does not decide. With
    `public_key` (PEM) a policy that it did not sign cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        public_key: Path | None = None,
        interval: float = INTERVAL_S,
        on_reloaded: Callable[[Policy], None] = lambda _policy: None,
        on_refused: Callable[[PolicyInvalid], None] = lambda _error: None,
        on_mended: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._public_key = public_key
        # Before the policy is read: what changes meanwhile is a change.
        signature = _look(self._list_signature(), {})
        self.policy = self._load()
        self.reloads = 0
        self.refusals = 0
        self.is_stale = False
        self._interval = interval
        self._on_reloaded = on_reloaded
        self._on_refused = on_refused
        self._on_mended = on_mended
        self._refused = ""
        self._seen = self._recall(self.policy, signature)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy-watcher", daemon=True)

    def start(self) -> None:
        """Start looking, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; the policy stays as it is."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> bool:
        """Look at the files once; whether there is a new policy."""
        seen = _look(self._list_files(self.policy), self._seen)
        if seen == self._seen and not self.is_stale:
            return False
        self._seen = seen
        try:
            policy = self._load()
        except PolicyInvalid as error:
            self._refuse(error)
            return False
        if self.is_stale:
            self.is_stale, self._refused = False, ""
            self._on_mended()
        changed = policy.digest != self.policy.digest
        self._seen = self._recall(policy, seen)
        if changed:
            # One assignment: a batch that is under way ends with the policy that it began with.
            self.policy = policy
            self.reloads += 1
            self._on_reloaded(policy)
        return changed

    def _load(self) -> Policy:
        policy = load_policy(self._path)
        if self._public_key is not None:
            verify_policy_signature(policy, self._public_key)
        return policy

    def _refuse(self, error: PolicyInvalid) -> None:
        self.is_stale = True
        if str(error) != self._refused:
            self._refused = str(error)
            self.refusals += 1
            self._on_refused(error)

    def _list_files(self, policy: Policy) -> list[Path]:
        return [*policy.files, *self._list_signature()]

    def _list_signature(self) -> list[Path]:
        return [] if self._public_key is None else [locate_signature(self._path)]

    def _recall(self, policy: Policy, seen: Mapping[Path, _Look]) -> dict[Path, _Look]:
        """The files of `policy` as they were read, whatever they are by now; else as `seen`."""
        read = {path: _Look((), digest) for path, digest in policy.files.items()}
        looks = {path: seen[path] for path in self._list_files(policy) if path in seen}
        return read | {path: look for path, look in looks.items() if read.get(path, look) == look}

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                self.check()
            except Exception as error:  # noqa: BLE001 - without this thread no policy ever changes
                broken = f"{self._path}: cannot be taken over: {type(error).__name__}"
                # Those who are told may be what broke.
                with contextlib.suppress(Exception):
                    self._refuse(PolicyInvalid(broken))


@dataclass(frozen=True, slots=True)
class _Look:
    """A file as it was seen: `stamp` is size and times, `digest` is None where it is not there.

    Without a stamp only the digest is known, of what was read.
    """

    stamp: tuple[int, ...] = field(compare=False)
    digest: str | None


def _look(files: Iterable[Path], before: Mapping[Path, _Look]) -> dict[Path, _Look]:
    return {path: _look_at(path, before.get(path)) for path in files}


def _look_at(path: Path, before: _Look | None) -> _Look:
    try:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
        # Two changes within one tick of the file system's clock leave the same times.
        fresh = time.time_ns() - stat.st_ctime_ns < _FRESH_NS
        if before is not None and before.stamp == stamp and not fresh:
            return before
        return _Look(stamp, hashlib.sha256(path.read_bytes()).hexdigest())
    except OSError:
        return _Look((), None)

"""The hook: what a client tells those who watch it. No fact holds a clip's content."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livewarden_client.wire import Action

_LOG = logging.getLogger("livewarden_client")


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call has begun. `call` is its number in this process; the other facts carry it too."""

    call: int
    request_id: str
    stream_id: str
    timeout: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One sending of the clip has ended, before its call did.

    `error` is the code of the error, "" where a verdict came. `hedge` says that it was sent
    although an earlier attempt was still on the wire and had not failed.
    """

    call: int
    number: int
    endpoint: str
    seconds: float
    error: str
    hedge: bool


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call has its outcome: `action` of the verdict, or "" and the code of the `error`.

    With `on_failure="review"` both are set: the verdict is the client's own.
    """

    call: int
    request_id: str
    seconds: float
    attempts: int
    action: Action | None
    error: str


class Hook:
    """Watches the calls of a client; override what you need.

    The methods run in the caller's thread or task, so they must return at once. What they raise is
    logged and harms no call. `build_headers` may add gRPC metadata to what is sent.
    """

    def call_started(self, call: CallStarted) -> None:
        """Take note of a call that begins."""

    def build_headers(self, call: CallStarted) -> Mapping[str, str]:  # noqa: ARG002 - for overriding
        """Build gRPC metadata for the attempts of `call`; names in lower case."""
        return {}

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """Take note of an attempt that ended."""

    def call_ended(self, call: CallEnded) -> None:
        """Take note of a call that ended; every call that started ends once."""


class Hooks:
    """Several hooks as one, none of which can raise."""

    __slots__ = ("_hooks",)

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = tuple(hooks)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def call_started(self, call: CallStarted) -> tuple[tuple[str, str], ...]:
        """Tell all hooks, and collect the metadata that they want sent."""
        headers: dict[str, str] = {}
        for hook in self._hooks:
            try:
                hook.call_started(call)
                headers.update(hook.build_headers(call))
            except Exception as error:  # noqa: BLE001 - a hook may raise anything
                _log(hook, error)
        return tuple(headers.items())

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """Tell all hooks."""
        for hook in self._hooks:
            try:
                hook.attempt_ended(attempt)
            except Exception as error:  # noqa: BLE001 - a hook may raise anything
                _log(hook, error)

    def call_ended(self, call: CallEnded) -> None:
        """Tell all hooks."""
        for hook in self._hooks:
            try:
                hook.call_ended(call)
            except Exception as error:  # noqa: BLE001 - a hook may raise anything
                _log(hook, error)


def _log(hook: Hook, error: Exception) -> None:
    # The message is left out: nobody knows what a foreign hook puts there.
    _LOG.warning("the hook %s raised %s", type(hook).__name__, type(error).__name__)

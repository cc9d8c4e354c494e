"""One call under way: the machine of `call`, and what it does to the world. It never waits."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from livewarden_client.call import End, Wait
from livewarden_client.clip import Clip
from livewarden_client.errors import (
    CrossedReply,
    FarSideFailed,
    InvalidRequest,
    ModerationError,
    find_remedy,
)
from livewarden_client.fallback import build_fallback
from livewarden_client.hook import AttemptEnded, CallEnded, CallStarted, Hooks
from livewarden_client.request import build_request
from livewarden_client.verdict_json import decode_verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from livewarden_client.fleet import Fleet, Landing
    from livewarden_client.verdict import Verdict

OnFailure = Literal["review", "raise"]

_NUMBERS: Final = itertools.count(1)


class Flight:
    """One call: `advance`, wait, `receive`, and so on until `advance` gives None; then `conclude`.

    `deliver` gets every landing, in any thread. Leaving the context leaves what is on the wire to
    end by itself. Raises InvalidRequest, and what `fleet.check` raises, before anything is sent.
    """

    def __init__(
        self,
        fleet: Fleet,
        hooks: Hooks,
        clip: Clip,
        seconds: float,
        deliver: Callable[[Landing], None],
        *,
        on_failure: OnFailure = "review",
        hedge: bool = False,
    ) -> None:
        if not isinstance(clip, Clip):
            raise InvalidRequest(f"clip: got {type(clip).__name__}; accepted: Clip", "clip")
        fleet.check()
        self._fleet, self._hooks, self._clip, self._deliver = fleet, hooks, clip, deliver
        self._on_failure = on_failure
        self._number = next(_NUMBERS)
        self._request_id = clip.request_id or str(uuid.uuid4())
        self._began = time.monotonic()
        self._seconds = seconds
        self._headers: tuple[tuple[str, str], ...] = ()
        self._request = build_request(clip, seconds, self._request_id)
        self._landings: list[Landing] = []
        self._outcome: Verdict | ModerationError | None = None
        self._told = not hooks
        if hooks:
            self._headers = hooks.call_started(
                CallStarted(self._number, self._request_id, clip.stream_id, seconds)
            )
        self._call = fleet.begin(self._began, seconds, hedge=hedge)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    def advance(self) -> float | None:
        """Do what is due; gives the time of the next look, or None when the call is over."""
        while True:
            now = time.monotonic()
            decision = self._fleet.decide(self._call, now)
            if isinstance(decision, Wait):
                return decision.until
            if isinstance(decision, End):
                self._outcome = decision.outcome
                return None
            self._send(decision, now)

    def receive(self, landing: Landing) -> None:
        """Take what a sending of this call ended in."""
        error = landing.error
        if error is None:
            try:
                verdict = _read_verdict(landing)
            except FarSideFailed as wrong:
                error = wrong
            else:
                self._fleet.succeed(self._call, landing, verdict)
        if error is not None:
            strike = landing.error is None
            self._fleet.fail(self._call, landing.attempt, error, strike=strike)
        self._tell_attempt(landing, error)

    def leave(self) -> None:
        """Stop caring; what is on the wire is counted as abandoned until it ends."""
        self._fleet.abandon(self._landings)
        self._tell_end("interrupted" if self._outcome is None else "")

    def conclude(self) -> Verdict:
        """Give the outcome: the verdict, the client's own in place of a failure, or the error."""
        outcome = self._outcome
        if outcome is None:
            raise RuntimeError("the call is not over; advance() gives None when it is")
        if not isinstance(outcome, ModerationError):
            return outcome
        seconds = time.monotonic() - self._began
        return conclude_failure(self._clip, self._request_id, outcome, seconds, self._on_failure)

    def _send(self, landing: Landing, now: float) -> None:
        attempt = landing.attempt
        request = self._request
        if attempt.number > 1 or self._headers:
            left = self._began + self._seconds - now
            request = build_request(self._clip, left, self._request_id, self._headers)
        self._landings.append(landing)
        self._fleet.send(landing, request, self._deliver)

    def _tell_attempt(self, landing: Landing, error: ModerationError | None) -> None:
        if self._hooks:
            attempt = landing.attempt
            code = "" if error is None else find_remedy(type(error)).code
            self._hooks.attempt_ended(
                AttemptEnded(
                    self._number,
                    attempt.number,
                    attempt.endpoint.address,
                    landing.seconds,
                    code,
                    attempt.hedge,
                )
            )

    def _tell_end(self, code: str) -> None:
        if self._told:
            return
        self._told = True
        outcome: Any = self._outcome
        action = None if outcome is None else getattr(outcome, "action", None)
        if isinstance(outcome, ModerationError):
            code = find_remedy(type(outcome)).code
            if self._on_failure == "review" and isinstance(outcome, FarSideFailed):
                action = "review"
        seconds = time.monotonic() - self._began
        self._hooks.call_ended(
            CallEnded(self._number, self._request_id, seconds, self._call.attempts, action, code)
        )


def conclude_failure(
    clip: Clip,
    request_id: str,
    error: ModerationError,
    seconds: float,
    on_failure: OnFailure,
) -> Verdict:
    """Give the client's own verdict in place of `error`, or raise it: Misuse always is."""
    error.request_id = request_id
    if on_failure == "review" and isinstance(error, FarSideFailed):
        return build_fallback(clip, request_id, error, seconds)
    raise error


def _read_verdict(landing: Landing) -> Verdict:
    verdict = decode_verdict(landing.answer)
    if verdict.nonce != landing.nonce:
        raise CrossedReply("the answer carries a foreign nonce and was thrown away")
    return verdict

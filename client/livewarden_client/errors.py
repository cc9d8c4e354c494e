"""Every error the client raises, as one tree.

    ModerationError
    ├── Misuse                you misused me: the same call again fails again
    │   ├── InvalidRequest    an argument is wrong, or the server refused a field of the request
    │   │   └── InvalidClip   a field of the clip is wrong; nothing was sent
    │   ├── AccessDenied      the server wants other credentials
    │   ├── ClientClosed      the client was closed before the call
    │   └── WrongPlace        the client belongs to another process or event loop
    └── FarSideFailed         the far side failed: the clip itself may be fine
        ├── Unavailable       no server answered, or the one that did has lost a process
        ├── Overloaded        the server, or this client, refuses more work for now
        ├── DeadlineExceeded  no verdict came within the caller's timeout
        ├── CrossedReply      the answer belongs to another question; it was thrown away
        └── ServerError       the server failed, or answered what this client cannot read

None of them is a verdict: whoever catches one holds the clip back or sends it to review.
No message holds a caller's text or pixels: messages reach logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class ModerationError(Exception):
    """Base of all errors of the client; `request_id` names the call, "" before there was one."""

    request_id: str = ""


class Misuse(ModerationError):
    """The caller's side is wrong; the same call again fails again."""


class InvalidRequest(Misuse, ValueError):
    """An argument is wrong, or the server refused a field; `field` names it where it is known."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidClip(InvalidRequest):
    """A field of the clip breaks the contract; found before anything was sent."""


class AccessDenied(Misuse):
    """The server, or the gateway before it, does not accept the caller's credentials."""


class ClientClosed(Misuse):
    """The client was closed; a closed client stays closed."""


class WrongPlace(Misuse):
    """The client was made in another process or event loop; each needs one of its own."""


class FarSideFailed(ModerationError):
    """There is no verdict, and the clip is not the reason.

    `retry_after` is how many seconds to leave the server alone, None where nobody said.
    """

    retry_after: float | None = None


class Unavailable(FarSideFailed):
    """No server could be reached, or the one that answered has lost a process."""


class Overloaded(FarSideFailed):
    """The server, or this client, takes no more work for now."""


class DeadlineExceeded(FarSideFailed):
    """No verdict came in time; whether the server scored the clip is unknown."""


class CrossedReply(FarSideFailed):
    """The answer carries the nonce of another question; it was thrown away."""


class ServerError(FarSideFailed):
    """The server failed inside, or its answer is not a verdict that this client can read."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What the client does about an error of one attempt.

    `retries` is how often a call may be sent again after it. `strike` counts it against the
    endpoint. `code` names it in the synthetic verdict, in metrics and in spans.
    """

    code: str
    retries: int
    strike: bool


MAX_RETRIES: Final = 2

# Scoring changes nothing on the server, so to send again is always safe; it is done where it
# helps. Misuse is final. A call that got no answer in time is sent to another endpoint only.
REMEDIES: Final[dict[type[ModerationError], Remedy]] = {
    InvalidRequest: Remedy("invalid_request", retries=0, strike=False),
    InvalidClip: Remedy("invalid_clip", retries=0, strike=False),
    AccessDenied: Remedy("access_denied", retries=0, strike=False),
    ClientClosed: Remedy("client_closed", retries=0, strike=False),
    WrongPlace: Remedy("wrong_place", retries=0, strike=False),
    Unavailable: Remedy("unavailable", retries=MAX_RETRIES, strike=True),
    Overloaded: Remedy("overloaded", retries=1, strike=False),
    DeadlineExceeded: Remedy("deadline_exceeded", retries=MAX_RETRIES, strike=True),
    CrossedReply: Remedy("crossed_reply", retries=1, strike=True),
    ServerError: Remedy("server_error", retries=0, strike=True),
    # What a foreign transport raises beside them.
    Misuse: Remedy("misuse", retries=0, strike=False),
    ModerationError: Remedy("failed", retries=0, strike=True),
}


def find_remedy(kind: type[ModerationError]) -> Remedy:
    """Find the remedy for an error of class `kind`: its own, or that of its nearest base."""
    return next(REMEDIES[base] for base in kind.__mro__ if base in REMEDIES)


_Translation = tuple[type[ModerationError], str]

# Keyed by the name of a grpc.StatusCode, so that this module needs no gRPC.
BY_STATUS: Final[dict[str, _Translation]] = {
    "OK": (ServerError, "the call failed although its status is OK"),
    "CANCELLED": (Unavailable, "the call was cancelled before a verdict came"),
    "UNKNOWN": (ServerError, "the server failed without saying how; its log knows more"),
    "INVALID_ARGUMENT": (InvalidRequest, "the server refused the request"),
    "DEADLINE_EXCEEDED": (DeadlineExceeded, "the server gave no verdict before the call expired"),
    "NOT_FOUND": (ServerError, "the server has no model 'moderation'; is it a Livewarden server?"),
    "ALREADY_EXISTS": (ServerError, "the server answered ALREADY_EXISTS to an inference"),
    "PERMISSION_DENIED": (AccessDenied, "the credentials given do not allow inference"),
    "RESOURCE_EXHAUSTED": (Overloaded, "a limit before or in the server is used up; back off"),
    "FAILED_PRECONDITION": (ServerError, "the server is in no state to score clips"),
    "ABORTED": (Unavailable, "the server gave the call up; it can be sent again"),
    "OUT_OF_RANGE": (ServerError, "the server answered OUT_OF_RANGE to an inference"),
    "UNIMPLEMENTED": (ServerError, "the far side speaks no KServe v2; is this the gRPC port?"),
    "INTERNAL": (ServerError, "the server failed inside; its log knows more"),
    "UNAVAILABLE": (Unavailable, "no server answered; is it up, and is HOST:PORT right?"),
    "DATA_LOSS": (ServerError, "the answer was damaged on its way"),
    "UNAUTHENTICATED": (AccessDenied, "the server wants credentials, and none or wrong ones came"),
}

# Triton says several things with one status; its text tells them apart. First match wins.
BY_TEXT: Final[tuple[tuple[str, str, _Translation], ...]] = (
    (
        "UNAVAILABLE",
        "Exceeds maximum queue size",
        (Overloaded, "the queue of a model is full; back off"),
    ),
    (
        "UNAVAILABLE",
        "Request timeout expired",
        (Overloaded, "the request waited too long in the queue of a model; back off"),
    ),
    (
        "INTERNAL",
        "is not healthy",
        (Unavailable, "a process of the server has died; another call or replica may succeed"),
    ),
    (
        "RESOURCE_EXHAUSTED",
        "message larger than max",
        (InvalidRequest, "the request or its answer is larger than the far side accepts"),
    ),
)

_QUOTED: Final = 300


def translate_status(status: str, detail: str) -> ModerationError:
    """Give the error for a failed RPC: `status` is the name of a grpc.StatusCode.

    `detail` is the server's text. Only a refused request quotes it, cut to 300 printable
    characters, because it names the field to mend; the server never puts content there.
    """
    kind, message = _find_translation(status, detail)
    if status == "INVALID_ARGUMENT" and detail:
        quoted = "".join(c if c.isprintable() else " " for c in detail[:_QUOTED])
        message = f"{message}: {quoted}"
    return kind(message)


def _find_translation(status: str, detail: str) -> _Translation:
    for wanted, fragment, translation in BY_TEXT:
        if status == wanted and fragment in detail:
            return translation
    return BY_STATUS[status]

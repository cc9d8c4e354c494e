from __future__ import annotations

import inspect
import pickle
import re

import grpc
import pytest

from livewarden_client import errors
from livewarden_client.errors import (
    BY_STATUS,
    BY_TEXT,
    AccessDenied,
    DeadlineExceeded,
    FarSideFailed,
    InvalidClip,
    InvalidRequest,
    Misuse,
    ModerationError,
    Overloaded,
    ServerError,
    Unavailable,
    translate_status,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, ModerationError)
]


def test_every_status_is_mapped() -> None:
    """The table has exactly gRPC's status codes: a new one makes this test fail."""
    assert set(BY_STATUS) == {status.name for status in grpc.StatusCode}
    assert {status for status, _, _ in BY_TEXT} <= set(BY_STATUS)


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses", Unavailable),
        ("UNAVAILABLE", "[request id: 1] Exceeds maximum queue size", Overloaded),
        ("UNAVAILABLE", "Request timeout expired", Overloaded),
        ("INTERNAL", "Stub process 'moderation_0' is not healthy.", Unavailable),
        ("INTERNAL", "Failed to process", ServerError),
        ("RESOURCE_EXHAUSTED", "rate limit", Overloaded),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 8)", InvalidRequest),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded),
        ("INVALID_ARGUMENT", "/context/region: has a value", InvalidRequest),
        ("UNAUTHENTICATED", "", AccessDenied),
        ("PERMISSION_DENIED", "", AccessDenied),
        ("NOT_FOUND", "", ServerError),
    ],
)
def test_status_becomes_the_error_it_means(status: str, detail: str, kind: type) -> None:
    """A status, and where one status has two meanings its text, decide the class."""
    assert type(translate_status(status, detail)) is kind


def test_only_a_refused_request_quotes_the_server() -> None:
    """The server's text names the field to mend; in any other error it could hold anything."""
    told = str(translate_status("INVALID_ARGUMENT", "/context/region: wrong\x1b[31m" + "x" * 999))
    assert "/context/region: wrong" in told
    assert told.isprintable()
    assert len(told) < 400
    for status in set(BY_STATUS) - {"INVALID_ARGUMENT"}:
        assert "secret" not in str(translate_status(status, "secret"))


def test_misuse_and_far_side_are_two_halves() -> None:
    """Every error is either the caller's or the far side's; nobody has to guess."""
    leaves = set(KINDS) - {ModerationError}
    assert len(leaves) > 5
    assert all(issubclass(kind, Misuse) != issubclass(kind, FarSideFailed) for kind in leaves)


def test_drawn_tree_is_the_real_one() -> None:
    """The tree at the top of the module names each class under its base, in order."""
    drawn = re.findall(r"^([ │├└─]*)([A-Z]\w+)(?: |$)", inspect.getdoc(errors) or "", re.MULTILINE)
    tree = [(len(indent) // 4, name) for indent, name in drawn if name in vars(errors)]
    assert [name for _, name in tree] == [kind.__name__ for kind in KINDS]
    path: list[str] = []
    for depth, name in tree:
        path[depth - 1 :] = [name]
        if len(path) > 1:
            assert getattr(errors, name).__bases__[0].__name__ == path[-2]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_travel_between_processes(kind: type[ModerationError]) -> None:
    """An error that crosses a process border keeps class, message and call."""
    error = kind("message")
    error.request_id = "r1"
    if isinstance(error, InvalidRequest):
        error.field = "region"
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (kind, "message", vars(error))


def test_invalid_clip_is_a_value_error() -> None:
    """Code that knows only Python's own errors still reads a wrong clip right."""
    assert issubclass(InvalidClip, ValueError)

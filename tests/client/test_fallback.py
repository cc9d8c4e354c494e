from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from livewarden_client import Client, Clip, FakeTransport, Misuse, Text, verdict_to_json
from livewarden_client.errors import (
    REMEDIES,
    CrossedReply,
    DeadlineExceeded,
    FarSideFailed,
    InvalidRequest,
    ModerationError,
    Overloaded,
    ServerError,
    Unavailable,
    find_remedy,
)
from livewarden_client.fallback import NO_SERVER
from livewarden_client.request import Request
from livewarden_client.verdict_json import decode_verdict


class Own(Overloaded):
    """An error that a caller's own transport may raise."""


FAR = [Own, Unavailable, Overloaded, DeadlineExceeded, CrossedReply, ServerError]


@pytest.mark.parametrize("kind", FAR)
def test_failure_becomes_review_and_never_allow(kind: type[FarSideFailed]) -> None:
    """Whatever the far side does, the default client says review, why, and that nobody scored."""

    def fail(_request: Request) -> Any:
        raise kind("gone")

    clip = Clip(
        [b"a", b"b"], [Text("chat", "secret")], stream_id="s", clip_seq=3, state="t",
        pass_through={"k": 1}, request_id="r1", policy="p",
    )  # fmt: skip
    with Client(transport=FakeTransport(fail)) as client:
        verdict = client.moderate(clip)
    code = f"client_{find_remedy(kind).code}"
    assert (verdict.action, verdict.review) == ("review", (code,))
    assert [(reason.code, reason.action) for reason in verdict.reasons] == [(code, "review")]
    assert (verdict.coverage.degraded, verdict.coverage.frames.sent) == (True, 2)
    assert verdict.coverage.frames.scored == verdict.coverage.texts.scored == 0
    assert (verdict.provenance.server, verdict.provenance.bundle) == (NO_SERVER, "")
    assert (verdict.request_id, verdict.stream_id, verdict.clip_seq) == ("r1", "s", 3)
    assert (verdict.state, verdict.pass_through) == ("t", {"k": 1})
    assert decode_verdict(verdict_to_json(verdict).encode()) == verdict
    assert "secret" not in verdict_to_json(verdict)


def test_misuse_raises_in_either_mode() -> None:
    """The caller's own mistake is never hidden behind a review."""

    def refuse(_request: Request) -> Any:
        raise InvalidRequest("refused")

    for on_failure in ("review", "raise"):
        client = Client(transport=FakeTransport(refuse), on_failure=on_failure)  # type: ignore[arg-type]
        with pytest.raises(Misuse, match="refused"):
            client.moderate(Clip())
        client.close()
        with pytest.raises(Misuse, match="closed"):
            client.moderate(Clip())


def test_foreign_exception_of_a_transport_is_a_failed_far_side() -> None:
    """A transport that breaks its contract costs a review, and its message goes nowhere."""

    def explode(_request: Request) -> Any:
        raise KeyError("secret")

    with Client(transport=FakeTransport(explode)) as client:
        verdict = client.moderate(Clip())
    assert verdict.reasons[0].code == "client_server_error"
    assert "secret" not in verdict_to_json(verdict)
    cancelled: Future[bytes] = Future()
    cancelled.cancel()
    with Client(transport=FakeTransport(lambda _: cancelled)) as client:
        assert client.moderate(Clip()).reasons[0].code == "client_unavailable"


def test_every_error_has_its_remedy() -> None:
    """The table has each error that a call can end in; misuse is never retried nor counted."""

    def leaves(kind: type[ModerationError]) -> set[type[ModerationError]]:
        below = set().union(*map(leaves, kind.__subclasses__()))
        return below | ({kind} if not kind.__subclasses__() else set())

    assert leaves(ModerationError) - {Own} <= set(REMEDIES)
    assert find_remedy(Own) is REMEDIES[Overloaded]
    assert len({remedy.code for remedy in REMEDIES.values()}) == len(REMEDIES)
    for kind, remedy in REMEDIES.items():
        assert not issubclass(kind, Misuse) or (remedy.retries, remedy.strike) == (0, False)


def test_wrong_on_failure_is_refused() -> None:
    """There is no third way, and above all no allow."""
    with pytest.raises(InvalidRequest, match="on_failure"):
        Client(on_failure="allow")  # type: ignore[arg-type]  # the misuse under test

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from dataclasses import fields
from typing import Any

import pytest

from livewarden_client import AsyncClient, Client, Clip, FakeTransport, Hook, Text, Verdict
from livewarden_client.errors import DeadlineExceeded, InvalidRequest, Unavailable
from livewarden_client.hook import AttemptEnded, CallEnded, CallStarted
from livewarden_client.request import Request


class Notes(Hook):
    """Keeps every fact, and sends a header."""

    def __init__(self) -> None:
        self.facts: list[Any] = []
        self.call_started = self.attempt_ended = self.call_ended = self.facts.append  # type: ignore[method-assign]  # shorter

    def build_headers(self, call: CallStarted) -> dict[str, str]:
        """Name the call."""
        return {"x-call": call.request_id}


class Bomb(Hook):
    """Raises wherever it is called, with content in the message."""

    def _explode(self, _fact: object) -> Any:
        raise ZeroDivisionError("secret")

    call_started = build_headers = attempt_ended = call_ended = _explode


def outlines(notes: Notes) -> list[Any]:
    return [
        type(fact).__name__
        if isinstance(fact, CallStarted)
        else (fact.number, fact.error)
        if isinstance(fact, AttemptEnded)
        else (fact.attempts, fact.action, fact.error)
        for fact in notes.facts
    ]


def test_hook_hears_of_every_attempt_and_the_end(verdict: Verdict) -> None:
    """Start, each attempt with its error, end with the action; each attempt has the header."""
    notes = Notes()

    def answer(_request: Request) -> Verdict:
        if len(fake.requests) == 1:
            raise Unavailable("gone")
        return verdict

    fake = FakeTransport(answer)
    with Client(transport=fake, hooks=[notes]) as client:
        client.moderate(Clip(request_id="r1", stream_id="s1"), timeout=3)
    assert outlines(notes) == ["CallStarted", (1, "unavailable"), (2, ""), (2, "block", "")]
    assert len({fact.call for fact in notes.facts}) == 1
    assert notes.facts[0] == CallStarted(notes.facts[0].call, "r1", "s1", 3.0)
    assert [request.headers for request in fake.requests] == [(("x-call", "r1"),)] * 2


def test_failed_call_ends_once_for_the_hook() -> None:
    """A review of the client's own shows its error; a raised error shows no action."""
    for on_failure, action in (("review", "review"), ("raise", None)):
        notes = Notes()
        fake = FakeTransport(lambda _: Future())
        client = Client(transport=fake, hooks=[notes], on_failure=on_failure)  # type: ignore[arg-type]
        try:
            client.moderate(Clip(), timeout=0.01)
        except DeadlineExceeded:
            assert on_failure == "raise"
        assert outlines(notes) == ["CallStarted", (1, action, "deadline_exceeded")]


def test_cancelled_call_ends_for_the_hook() -> None:
    """A call whose task was cancelled is told as interrupted, so that no span stays open."""
    notes = Notes()

    async def run() -> None:
        client = AsyncClient(transport=FakeTransport(lambda _: Future()), hooks=[notes])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.moderate(Clip()), 0.02)

    asyncio.run(run())
    assert outlines(notes) == ["CallStarted", (1, None, "interrupted")]


def test_hook_that_raises_harms_no_call(verdict: Verdict, caplog: pytest.LogCaptureFixture) -> None:
    """The call and the other hooks go on; the log names the hook, and quotes nothing."""
    notes = Notes()
    with (
        caplog.at_level(logging.WARNING),
        Client(transport=FakeTransport(lambda _: verdict), hooks=[Bomb(), notes]) as client,
    ):
        assert client.moderate(Clip()).action == "block"
    assert outlines(notes) == ["CallStarted", (1, ""), (1, "block", "")]
    assert "Bomb raised ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_facts_hold_no_content(verdict: Verdict) -> None:
    """Nothing that a hook hears holds a text, a frame or what was passed through."""
    notes = Notes()
    with Client(transport=FakeTransport(lambda _: verdict), hooks=[notes]) as client:
        client.moderate(Clip([b"secret"], [Text("chat", "secret")], pass_through="secret"))
    assert "secret" not in repr(notes.facts)
    for kind in (CallStarted, AttemptEnded, CallEnded):
        assert kind.__slots__ == tuple(field.name for field in fields(kind))


def test_only_hooks_are_hooks() -> None:
    """Anything else is refused when the client is made."""
    with pytest.raises(InvalidRequest, match="hooks"):
        Client(hooks=[print])  # type: ignore[list-item]  # the misuse under test

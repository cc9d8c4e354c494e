"""The client against a network that does its worst, in steps that hypothesis chooses."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from livewarden_client import Client, Clip, Text
from livewarden_client.errors import FarSideFailed, Unavailable
from livewarden_client.request import Request
from livewarden_client.verdict import Verdict

TIMEOUT = 0.4  # seconds until a call that is never answered ends
ENDS = 10.0


def answer(request: Request) -> bytes:
    """The verdict on a request: the shortest that is one, with the state counted on."""
    context = json.loads(request.context)
    states = {"sent": 0, "decoded": 0, "scored": 0, "states": {}}
    state = f"{context.get('state') or ''}.{context.get('clip_seq', 0)}"
    return json.dumps(
        {
            "schema": "livewarden.verdict/v1",
            "request_id": context["request_id"],
            "stream_id": context.get("stream_id", ""),
            "clip_seq": context.get("clip_seq", 0),
            "nonce": context["nonce"],
            "action": "allow",
            "label": None,
            "reasons": [],
            "labels": [],
            "evidence": [],
            "coverage": {
                "frames": states,
                "texts": states,
                "missing": [],
                "failed": {},
                "unsupported_labels": [],
                "degraded": False,
            },
            "provenance": {
                "bundle": "b",
                "models": {},
                "calibration": "c",
                "policy": {"id": "p", "version": "1", "digest": "d", "overrides": []},
                "taxonomy": "t1.0",
                "wire": 1,
                "server": "s",
            },
            "timings_ms": {},
            "state": state,
        }
    ).encode()


@dataclass
class Wire:
    """A transport that keeps every request until a step says what becomes of it."""

    held: list[tuple[Request, Future[bytes]]] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def infer(self, request: Request) -> Future[bytes]:
        """Hold the request."""
        future: Future[bytes] = Future()
        with self.lock:
            self.held.append((request, future))
            self.seen.append(request)
        return future

    def is_ready(self, timeout: float) -> bool:
        """Say yes."""
        return timeout > 0

    def close(self) -> None:
        """Fail what is held."""
        for _, future in self.held:
            if not future.done():
                future.set_exception(Unavailable("closed"))


@dataclass
class Asked:
    """One call in its thread, and what it ended in."""

    name: str
    stream: bool
    thread: threading.Thread
    ends: list[Any] = field(default_factory=list)


class ClientMachine(RuleBasedStateMachine):
    """Calls and a stream over two wires that lose, delay, cross, repeat and break answers."""

    def __init__(self) -> None:
        super().__init__()
        self.wires = (Wire(), Wire())
        self.client = Client(
            ["a:1", "b:1"], timeout=TIMEOUT, on_failure="raise", transport=self.wires
        )
        self.stream = self.client.open_stream("stream")
        self.calls: list[Asked] = []

    @rule(stream=st.booleans())
    def ask(self, *, stream: bool) -> None:
        """Ask about one more clip, alone or as the stream's next."""
        if len(self.calls) >= 12:
            return
        name = f"call-{len(self.calls)}"
        clip = Clip(texts=[Text("chat", name)], request_id=name)
        moderate = self.stream.moderate if stream else self.client.moderate
        ends: list[Any] = []

        def run() -> None:
            try:
                ends.append(moderate(clip))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the machine looks at it
                ends.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self.calls.append(Asked(name, stream, thread, ends))
        thread.start()
        thread.join(0.01)

    # Drawn before the wires are looked at: what is held depends on threads, and so on time.
    @rule(
        what=st.sampled_from(["answer", "break", "fail", "foreign", "lose"]),
        place=st.integers(0, 30),
        other=st.integers(0, 30),
        cut=st.integers(0, 400),
    )
    def land(self, what: str, place: int, other: int, cut: int) -> None:
        """End one request that is on a wire, in any order."""
        held = [(wire, one) for wire in self.wires for one in list(wire.held)]
        if not held:
            return
        wire, (request, future) = held[place % len(held)]
        with wire.lock:
            wire.held.remove((request, future))
        if what == "answer":
            future.set_result(answer(request))
        elif what == "break":
            future.set_result(answer(request)[:cut])
        elif what == "fail":
            future.set_exception(Unavailable("broken"))
        elif what == "foreign":
            seen = [one for wire in self.wires for one in wire.seen if one is not request]
            future.set_result(answer(seen[other % len(seen)]) if seen else b"{}")
        # A lost one is never heard of again.

    @invariant()
    def nobody_gets_the_answer_of_another(self) -> None:
        """A call ends at most once: in its own verdict, in none, or in a typed error."""
        for call in self.calls:
            assert len(call.ends) <= 1
            for end in call.ends:
                if isinstance(end, Verdict):
                    assert end.request_id == call.name
                    assert end.stream_id == ("stream" if call.stream else "")
                elif end is None:
                    assert call.stream
                else:
                    assert isinstance(end, FarSideFailed), repr(end)

    @invariant()
    def no_attempt_is_made_too_often(self) -> None:
        """A clip is sent at most three times, each time with a nonce of its own."""
        sent = [request for wire in self.wires for request in wire.seen]
        names = [request.request_id for request in sent]
        assert all(names.count(name) <= 3 for name in names)
        assert len({request.nonce for request in sent}) == len(sent)

    @invariant()
    def the_stream_goes_forward(self) -> None:
        """No clip of the stream is judged before an earlier one, and none twice."""
        state = self.stream.state
        numbers = [int(part) for part in (state or "").split(".") if part]
        assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        """Every call ends, whatever was lost."""
        for call in self.calls:
            call.thread.join(ENDS)
            assert not call.thread.is_alive(), f"{call.name} never ended"
            assert len(call.ends) == 1
        self.nobody_gets_the_answer_of_another()
        counts = self.stream.counts
        assert counts.judged + counts.dropped == sum(call.stream for call in self.calls)
        for wire in self.wires:
            wire.close()
        self.client.close()


ClientMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestClientMachine = ClientMachine.TestCase

"""What callers write, as they write it: mypy must accept every line. Not run; see test_typing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from livewarden_client import (
    AsyncClient,
    Client,
    Clip,
    Credentials,
    FakeTransport,
    FarSideFailed,
    Hook,
    Misuse,
    ModerationError,
    Text,
    Transport,
    Verdict,
    verdict_to_json,
)
from livewarden_client.errors import InvalidRequest
from livewarden_client.request import Request
from livewarden_client.testing import RecordingTransport, ReplayTransport
from livewarden_client.verdict import Evidence, LabelVerdict, Reason
from livewarden_client.video import read_video
from livewarden_client.wire import Action, TextKind


def moderate(jpeg: bytes, pixels: NDArray[np.uint8], kind: TextKind) -> None:
    """Make clips of all kinds, and read every part of a verdict."""
    clip = Clip(
        frames=[jpeg],
        texts=(Text("chat", "hello", lang="en"), Text(kind, b"hello", ts_ms=3, author_ref="a")),
        frame_ts_ms=[0],
        stream_id="s",
        clip_seq=1,
        captured_at_ms=1_700_000_000_000,
        region="DE",
        state=None,
        pass_through={"any": ["json", 1, None]},
    )
    assert_type(clip.frames, Sequence[bytes])
    assert_type(clip.frame_count, int)
    Clip(frames_rgb=pixels)
    with Client("127.0.0.1:8001", timeout=2) as client:
        assert_type(client, Client)
        verdict = client.moderate(clip)
        assert_type(client.is_ready(), bool)
        client.moderate(clip, timeout=0.5)
        client.moderate(clip, 1)
    assert_type(verdict, Verdict)
    many = Client(["10.0.0.1:8001", "10.0.0.2:8001"], credentials=Credentials(token="t"))
    for number, outcome in many.moderate_many([clip], concurrency=4):
        assert_type(number, int)
        assert_type(outcome, Verdict | ModerationError)
    stream = many.open_stream("s", max_age=2.0)
    assert_type(stream.moderate(clip), Verdict | None)
    assert_type(verdict.action, Action)
    assert_type(verdict.label, str | None)
    assert_type(verdict.state, str | None)
    assert_type(verdict.reasons, tuple[Reason, ...])
    assert_type(verdict.labels, tuple[LabelVerdict, ...])
    assert_type(verdict.labels[0].score, float)
    assert_type(verdict.labels[0].per_modality, Mapping[str, float])
    assert_type(verdict.evidence, tuple[Evidence, ...])
    assert_type(verdict.evidence[0].span, tuple[int, int] | None)
    assert_type(verdict.coverage.degraded, bool)
    assert_type(verdict.provenance.policy.id, str)
    assert_type(verdict.pass_through, Any)
    assert_type(verdict_to_json(verdict, indent=2), str)


def decide(verdict: Verdict) -> str:
    """Every action is known to the checker: there is no way around the last branch."""
    match verdict.action:
        case "allow":
            return "on"
        case "review" | "restrict":
            return "held"
        case "block":
            return "off"


def survive(client: Client, clip: Clip) -> Verdict | None:
    """Tell the caller's mistakes from the far side's failures."""
    try:
        return client.moderate(clip)
    except InvalidRequest as error:
        assert_type(error.field, str)
    except Misuse as error:
        assert_type(error.request_id, str)
    except FarSideFailed:
        pass
    except ModerationError:
        pass
    return None


def film(path: Path) -> None:
    """Read clips of a recorded video."""
    assert_type(read_video(path, every=2, frames=8, like=Clip(region="DE")), Iterator[Clip])
    assert_type(Clip.from_video("show.mp4", start=3), Clip)


def fake(verdict: Verdict) -> None:
    """Every transport that ships is one, and a caller's own class need not inherit."""

    def answer(request: Request) -> Verdict | bytes:
        return verdict if request.texts else b"{}"

    transport = FakeTransport(answer)
    assert_type(transport.requests, list[Request])
    given: list[Transport] = [transport, ReplayTransport("case", ignore={"captured_at_ms"})]
    given.append(RecordingTransport(given[0], "case"))
    Client(transport=given[0])


class Count(Hook):
    """A hook overrides what it wants to hear."""


async def moderate_async(clip: Clip) -> Verdict:
    """The same on an event loop."""
    async with AsyncClient(hooks=[Count()], on_failure="raise", hedge=True) as client:
        async for _, outcome in client.moderate_many([clip]):
            assert_type(outcome, Verdict | ModerationError)
        return await client.moderate(clip, timeout=1)

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client import Clip, Text
from livewarden_client import clip as limits
from livewarden_client.errors import InvalidClip
from livewarden_client.request import build_request, encode_context
from livewarden_client.wire import MAX_CONTEXT_BYTES, MAX_FRAMES, MAX_TEXTS, TEXT_KINDS
from livewarden_ensemble.context import Context, TextInfo, parse_context
from livewarden_ensemble.errors import MalformedRequest

IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=limits.MAX_ID_CHARS)
TAGS = st.from_regex(r"\A[A-Za-z0-9_.:/-]{0,64}\Z")
MEDIA_MS = st.integers(0, limits.MAX_MS)
UNIX_MS = st.integers(limits.MIN_UNIX_MS, limits.MAX_MS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner)
    ),
    max_leaves=10,
)
TEXTS = st.builds(
    Text,
    st.sampled_from(TEXT_KINDS),
    st.text(st.characters(), max_size=40) | st.binary(max_size=40),
    ts_ms=st.none() | MEDIA_MS,
    lang=TAGS,
    author_ref=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    frames = draw(st.lists(st.binary(max_size=8), max_size=MAX_FRAMES))
    times = st.lists(MEDIA_MS, min_size=len(frames), max_size=len(frames))
    return Clip(
        frames,
        draw(st.lists(TEXTS, max_size=8)),
        frame_ts_ms=draw(times | st.just([])),
        stream_id=draw(IDS),
        clip_seq=draw(st.integers(0, limits.MAX_CLIP_SEQ)),
        captured_at_ms=draw(st.none() | UNIX_MS),
        region=draw(TAGS),
        surface=draw(TAGS),
        audience=draw(TAGS),
        room=draw(TAGS),
        policy=draw(TAGS),
        state=draw(st.none() | IDS),
        pass_through=draw(JSON),
        request_id=draw(IDS),
    )


@given(clip=clips(), timeout=st.floats(0.001, 3600))
def test_server_reads_the_context_of_every_clip(clip: Clip, timeout: float) -> None:
    """The server's own parser takes the context of every valid clip, and finds each field."""
    before = time.time()
    request = build_request(clip, timeout)
    after = time.time()
    context = parse_context(request.context)
    assert context == Context(
        request_id=clip.request_id or context.request_id,
        stream_id=clip.stream_id,
        clip_seq=clip.clip_seq,
        nonce=request.nonce,
        captured_at_ms=clip.captured_at_ms,
        frame_ts_ms=tuple(clip.frame_ts_ms),
        texts=tuple(
            TextInfo(text.kind, text.ts_ms, text.author_ref, text.lang) for text in clip.texts
        ),
        region=clip.region,
        surface=clip.surface,
        audience=clip.audience,
        room=clip.room,
        policy=clip.policy,
        deadline_ms=context.deadline_ms,
        state=clip.state,
        pass_through=clip.pass_through,
    )
    assert context.request_id == request.request_id != ""
    assert context.deadline_ms is not None
    assert int((before + timeout) * 1000) <= context.deadline_ms <= (after + timeout) * 1000
    assert request.frames == clip.frames
    assert request.texts == tuple(text.encode() for text in clip.texts)


LIMITS: list[tuple[str, Any, Any]] = [
    ("stream_id", "\U0001f600" * limits.MAX_ID_CHARS, "x" * (limits.MAX_ID_CHARS + 1)),
    ("request_id", "\u00e9" * limits.MAX_ID_CHARS, "x" * (limits.MAX_ID_CHARS + 1)),
    ("region", "x" * limits.MAX_TAG_CHARS, "x" * (limits.MAX_TAG_CHARS + 1)),
    ("surface", "aZ0_.:/-", "a b"),
    ("audience", "", "\u00e9"),
    ("policy", "x" * limits.MAX_TAG_CHARS, "x" * (limits.MAX_TAG_CHARS + 1)),
    ("clip_seq", limits.MAX_CLIP_SEQ, limits.MAX_CLIP_SEQ + 1),
    ("clip_seq", 0, -1),
    ("captured_at_ms", limits.MIN_UNIX_MS, limits.MIN_UNIX_MS - 1),
    ("captured_at_ms", limits.MAX_MS, limits.MAX_MS + 1),
    ("state", "x" * limits.MAX_STATE_CHARS, "x" * (limits.MAX_STATE_CHARS + 1)),
]


@pytest.mark.parametrize(("field", "last", "beyond"), LIMITS)
def test_client_and_server_draw_the_same_line(field: str, last: Any, beyond: Any) -> None:
    """The last value that the client accepts the server accepts too; the next, neither."""
    clip = Clip(**{field: last})
    parse_context(encode_context(clip, clip.request_id, "n", limits.MAX_MS))
    with pytest.raises(InvalidClip):
        Clip(**{field: beyond})
    # Past the border's checks, to learn what the server says of it.
    object.__setattr__(clip, field, beyond)
    with pytest.raises(MalformedRequest):
        parse_context(encode_context(clip, clip.request_id, "n", limits.MAX_MS))


def test_each_request_has_its_own_nonce_and_id() -> None:
    """Two calls with one clip are two requests: other nonce, other id where the clip has none."""
    first, second = build_request(Clip(), 1.0), build_request(Clip(), 1.0)
    assert first.nonce != second.nonce
    assert first.request_id != second.request_id
    assert build_request(Clip(request_id="mine"), 1.0).request_id == "mine"


def test_context_over_its_limit_is_refused() -> None:
    """The sum of the fields may exceed 64 KiB; the client says so and names what to shorten."""
    texts = [Text("chat", "", author_ref="\U0001f600" * 256)] * MAX_TEXTS
    with pytest.raises(InvalidClip, match=f"at most {MAX_CONTEXT_BYTES}; shorten pass_through"):
        build_request(Clip(texts=texts), 1.0)


def test_repr_shows_no_content() -> None:
    """A request in a log or traceback shows neither frames, texts nor context."""
    request = build_request(Clip([b"secret"], [Text("chat", "secret")], pass_through="secret"), 1.0)
    assert "secret" not in repr(request)

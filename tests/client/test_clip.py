from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from livewarden_client import Clip, Text
from livewarden_client.errors import InvalidClip
from livewarden_client.wire import MAX_FRAME_BYTES, MAX_TEXT_BYTES

RGB = np.zeros((2, 4, 6, 3), np.uint8)

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("frames", {"frames": b"\xff\xd8"}, "bytes of length 2"),
    ("frames", {"frames": "secret"}, "str of length 6"),
    ("frames", {"frames": 3}, "int 3"),
    ("frames", {"frames": [b""] * 65}, "tuple of length 65"),
    ("frames[1]", {"frames": [b"", "secret"]}, "str of length 6"),
    ("frames[0]", {"frames": [bytes(MAX_FRAME_BYTES + 1)]}, "bytes of length 8388609"),
    ("texts", {"texts": Text("chat", "secret")}, "Text"),
    ("texts[0]", {"texts": ["secret"]}, "str of length 6"),
    ("texts", {"texts": [Text("chat", "")] * 65}, "tuple of length 65"),
    ("frame_ts_ms", {"frames": [b"", b""], "frame_ts_ms": [1]}, "1 times for 2 frames"),
    ("frame_ts_ms[0]", {"frames": [b""], "frame_ts_ms": [-1]}, "int -1"),
    ("frame_ts_ms[0]", {"frames": [b""], "frame_ts_ms": [0.5]}, "float"),
    ("frame_ts_ms[0]", {"frames": [b""], "frame_ts_ms": [10**5000]}, "int"),
    ("stream_id", {"stream_id": 7}, "int 7"),
    ("stream_id", {"stream_id": "\udc80"}, "str of length 1"),
    ("clip_seq", {"clip_seq": True}, "bool"),
    ("clip_seq", {"clip_seq": "7"}, "str of length 1"),
    ("captured_at_ms", {"captured_at_ms": 1_700_000_000}, "int 1700000000"),
    ("region", {"region": "se cret"}, "str of length 7"),
    ("region", {"region": "DE\n"}, "str of length 3"),
    ("pass_through", {"pass_through": float("nan")}, "float"),
    ("pass_through", {"pass_through": {"secret": object()}}, "dict of length 1"),
    ("pass_through", {"pass_through": ["secret\ud800"]}, "list of length 1"),
    ("frames_rgb", {"frames_rgb": RGB[0]}, "uint8 [4, 6, 3]"),
    ("frames_rgb", {"frames_rgb": RGB.astype(np.float32)}, "float32 [2, 4, 6, 3]"),
    ("frames_rgb", {"frames_rgb": RGB[:0]}, "uint8 [0, 4, 6, 3]"),
    ("frames_rgb", {"frames_rgb": RGB[..., :1]}, "uint8 [2, 4, 6, 1]"),
    ("frames_rgb", {"frames_rgb": [b"secret"]}, "list of length 1"),
    ("frames_rgb", {"frames": [b""], "frames_rgb": RGB}, "beside frames"),
]


@pytest.mark.parametrize(("field", "given", "said"), WRONG, ids=[f"{w[0]}-{w[2]}" for w in WRONG])
def test_wrong_field_is_refused(field: str, given: dict[str, Any], said: str) -> None:
    """A wrong clip fails when it is made; the error names field and form, never the content."""
    with pytest.raises(InvalidClip) as caught:
        Clip(**given)
    message = str(caught.value)
    assert caught.value.field == field
    assert message.startswith(f"{field}: ")
    assert said in message
    assert "accepted: " in message or "either" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("kind", {"kind": "secret", "text": ""}),
        ("kind", {"kind": None, "text": ""}),
        ("text", {"kind": "chat", "text": 3}),
        ("text", {"kind": "chat", "text": "\u00e9" * (MAX_TEXT_BYTES // 2) + "x"}),
        ("ts_ms", {"kind": "chat", "text": "", "ts_ms": -1}),
        ("author_ref", {"kind": "chat", "text": "", "author_ref": "x" * 257}),
    ],
)
def test_wrong_text_is_refused(field: str, given: dict[str, Any]) -> None:
    """A wrong Text fails when it is made, naming the field and not the value."""
    with pytest.raises(InvalidClip) as caught:
        Text(**given)
    assert caught.value.field == field
    assert "secret" not in str(caught.value)


def test_whole_numbers_of_other_types_are_taken_as_int() -> None:
    """Integers of numpy are whole numbers too; what is kept is a plain int."""
    clip = Clip([b""], frame_ts_ms=np.array([5], np.int64), clip_seq=np.int32(3))
    assert clip.frame_ts_ms == (5,)
    assert type(clip.frame_ts_ms[0]) is int
    assert type(clip.clip_seq) is int


def test_sequences_are_copied() -> None:
    """A list that changes later does not change the clip."""
    frames = [b"a"]
    clip = Clip(frames)
    frames.append(b"b")
    assert clip.frames == (b"a",)


def test_repr_shows_no_content() -> None:
    """Neither frames, texts nor pass_through stand in a repr, which ends in logs."""
    clip = Clip([b"secret"], [Text("chat", "secret")], pass_through="secret")
    assert "secret" not in repr(clip) + repr(clip.texts[0])
    assert repr(clip) == "Clip(<1 frames>, <1 texts>, stream_id='', clip_seq=0)"


def test_text_that_is_no_unicode_is_sent_damaged() -> None:
    """A lone surrogate reaches the server as broken UTF-8; it does not stop the clip."""
    raw = Text("chat", "a\ud800b").encode()
    assert raw == b"a\xed\xa0\x80b"
    with pytest.raises(UnicodeDecodeError):
        raw.decode()

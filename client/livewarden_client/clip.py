"""The clip: a few frames and texts of a livestream, checked when it is made."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Final

from livewarden_client.errors import InvalidClip
from livewarden_client.wire import (
    MAX_CLIP_SEQ,
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    MAX_ID_CHARS,
    MAX_MS,
    MAX_STATE_CHARS,
    MAX_TAG_CHARS,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    MIN_UNIX_MS,
    TEXT_KINDS,
    TextKind,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_TAG: Final = re.compile(r"[A-Za-z0-9_.:/-]*")


@dataclass(frozen=True, slots=True, repr=False)
class Text:
    """One text of a clip: a title, a chat line, recognised speech or on-screen text.

    `text` is UTF-8 where it is bytes, at most 16 KiB. Broken UTF-8 is sent as it is: the server
    scores what it can and says so in the coverage. `ts_ms` is the time in the stream;
    `author_ref` is the caller's own opaque name for the author. `lang` is the language where it is
    known, as `en` or `pt-BR`: blocklists look at it. Raises InvalidClip.
    """

    kind: TextKind
    text: str | bytes
    ts_ms: int | None = None
    author_ref: str | None = None
    lang: str = ""

    def __post_init__(self) -> None:
        _apply(_TEXT_RULES, self)

    def __repr__(self) -> str:
        return f"Text(kind={self.kind!r}, <{len(self.encode())} bytes>)"

    def encode(self) -> bytes:
        """Encode the text as it goes over the wire."""
        if isinstance(self.text, bytes):
            return self.text
        # A lone surrogate in a chat line must not keep the line from being moderated.
        return self.text.encode("utf-8", "surrogatepass")


# Compared by identity: arrays have no single truth value, and frames are costly to compare.
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Clip:
    """What is judged in one call: frames and texts of one livestream, and where they come from.

    `frames` are JPEG, PNG or WebP files in time order, at most 64 of 8 MiB. Instead of them,
    `frames_rgb` may hold decoded frames, uint8 [T, H, W, 3]. `texts` are at most 64. Either may
    be empty. `frame_ts_ms` has one time in the stream per frame, or is empty.
    `captured_at_ms` is a Unix time. `state` is the token of the stream's last verdict.
    `pass_through` is any JSON value; it comes back in the verdict, unread. An empty `request_id`
    is replaced by a fresh one in every call. Raises InvalidClip, which names the field.
    """

    frames: Sequence[bytes] = ()
    texts: Sequence[Text] = ()
    _: KW_ONLY
    frame_ts_ms: Sequence[int] = ()
    stream_id: str = ""
    clip_seq: int = 0
    captured_at_ms: int | None = None
    region: str = ""
    surface: str = ""
    audience: str = ""
    room: str = ""
    policy: str = ""
    state: str | None = None
    pass_through: Any = None
    request_id: str = ""
    frames_rgb: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        _apply(_CLIP_RULES, self)
        if self.frames and self.frames_rgb is not None:
            raise InvalidClip(
                "frames_rgb: given beside frames; a clip has either of the two", "frames_rgb"
            )
        if len(self.frame_ts_ms) not in {0, self.frame_count}:
            raise InvalidClip(
                f"frame_ts_ms: got {len(self.frame_ts_ms)} times for {self.frame_count} frames; "
                "accepted: one for each frame, or none",
                "frame_ts_ms",
            )

    def __repr__(self) -> str:
        return (
            f"Clip(<{self.frame_count} frames>, <{len(self.texts)} texts>, "
            f"stream_id={self.stream_id!r}, clip_seq={self.clip_seq})"
        )

    @classmethod
    def from_video(
        cls,
        path: str | Path,
        *,
        every: float = 2.0,
        frames: int = 8,
        start: float = 0.0,
        longest_side: int = 640,
        like: Clip | None = None,
    ) -> Clip:
        """Read the clip of `every` seconds that begins at second `start` of a recorded video.

        Needs the extra `[video]`; see `livewarden_client.video.read_video`, which reads all clips.
        Raises InvalidRequest where the video cannot be read or is over by then.
        """
        # Imported here, because a live caller has no need of PyAV.
        from livewarden_client.video import read_first

        return read_first(
            path, every=every, frames=frames, start=start, longest_side=longest_side, like=like
        )

    @property
    def frame_count(self) -> int:
        """Count the frames, encoded or decoded."""
        return len(self.frames) if self.frames_rgb is None else len(self.frames_rgb)


def encode_json(value: Any, field: str) -> bytes:
    """Encode `value` as compact JSON in UTF-8.

    Raises InvalidClip for what JSON cannot say: NaN, foreign types, lone surrogates, cycles.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        # The cause is left out: a codec's message quotes the text.
        raise _refused(field, value, f"a JSON value ({type(error).__name__} otherwise)") from None


def _describe(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, int) and abs(value) <= MAX_MS:
        return f"{kind} {value}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{kind} {value.dtype} {list(value.shape)}"
    if isinstance(value, Sequence | Mapping):
        return f"{kind} of length {len(value)}"
    return kind


def _refused(field: str, value: object, accepted: str) -> InvalidClip:
    return InvalidClip(f"{field}: got {_describe(value)}; accepted: {accepted}", field)


_Rule = Callable[[str, Any], Any]


def _apply(rules: Mapping[str, _Rule], target: object) -> None:
    for field, rule in rules.items():
        object.__setattr__(target, field, rule(field, getattr(target, field)))


def _chars(most: int) -> _Rule:
    def check(field: str, value: Any) -> str:
        if isinstance(value, str) and len(value) <= most and _is_unicode(value):
            return value
        raise _refused(field, value, f"a str of at most {most} Unicode characters")

    return check


def _is_unicode(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def _tag(field: str, value: Any) -> str:
    if isinstance(value, str) and len(value) <= MAX_TAG_CHARS and _TAG.fullmatch(value):
        return value
    raise _refused(field, value, f"a str of at most {MAX_TAG_CHARS} of A-Z a-z 0-9 _ . : / -")


def _whole(least: int, most: int) -> _Rule:
    def check(field: str, value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            number = least - 1
        if isinstance(value, bool) or not least <= number <= most:
            raise _refused(field, value, f"an int from {least} to {most}")
        return number

    return check


def _optional(rule: _Rule) -> _Rule:
    return lambda field, value: None if value is None else rule(field, value)


def _each(rule: _Rule, most: int, what: str) -> _Rule:
    def check(field: str, value: Any) -> tuple[Any, ...]:
        # A lone str, bytes or Text would otherwise be read as a sequence of its parts.
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            raise _refused(field, value, f"a sequence of at most {most} {what}")
        items = tuple(value)
        if len(items) > most:
            raise _refused(field, items, f"a sequence of at most {most} {what}")
        return tuple(rule(f"{field}[{index}]", item) for index, item in enumerate(items))

    return check


def _frame(field: str, value: Any) -> bytes:
    if isinstance(value, bytes) and len(value) <= MAX_FRAME_BYTES:
        return value
    raise _refused(
        field, value, f"the bytes of one JPEG, PNG or WebP file, at most {MAX_FRAME_BYTES}"
    )


def _text_item(field: str, value: Any) -> Text:
    if isinstance(value, Text):
        return value
    raise _refused(field, value, "Text(kind, text)")


def _text_kind(field: str, value: Any) -> str:
    if isinstance(value, str) and value in TEXT_KINDS:
        return value
    raise _refused(field, value, f"one of {', '.join(TEXT_KINDS)}")


def _text_body(field: str, value: Any) -> str | bytes:
    if isinstance(value, str | bytes):
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        if len(raw) <= MAX_TEXT_BYTES:
            return value
    raise _refused(field, value, f"str or bytes, at most {MAX_TEXT_BYTES} bytes in UTF-8")


def _json(field: str, value: Any) -> Any:
    if value is not None:
        encode_json(value, field)
    return value


def _pixels(field: str, value: Any) -> Any:
    accepted = (
        f"a uint8 array [T, H, W, 3] with T from 1 to {MAX_FRAMES} "
        f"and H x W x 3 from 3 to {MAX_FRAME_BYTES}"
    )
    if not hasattr(value, "dtype") or not hasattr(value, "shape") or value.dtype != "uint8":
        raise _refused(field, value, accepted)
    match tuple(value.shape):
        case (count, height, width, 3) if (
            1 <= count <= MAX_FRAMES and 1 <= height * width * 3 <= MAX_FRAME_BYTES
        ):
            return value
    raise _refused(field, value, accepted)


_MEDIA_MS: Final = _whole(0, MAX_MS)

_TEXT_RULES: Final[Mapping[str, _Rule]] = {
    "kind": _text_kind,
    "text": _text_body,
    "ts_ms": _optional(_MEDIA_MS),
    "author_ref": _optional(_chars(MAX_ID_CHARS)),
    "lang": _tag,
}

_CLIP_RULES: Final[Mapping[str, _Rule]] = {
    "frames": _each(_frame, MAX_FRAMES, "frames"),
    "texts": _each(_text_item, MAX_TEXTS, "texts"),
    "frame_ts_ms": _each(_MEDIA_MS, MAX_FRAMES, "times in ms"),
    "stream_id": _chars(MAX_ID_CHARS),
    "clip_seq": _whole(0, MAX_CLIP_SEQ),
    "captured_at_ms": _optional(_whole(MIN_UNIX_MS, MAX_MS)),
    "region": _tag,
    "surface": _tag,
    "audience": _tag,
    "room": _tag,
    "policy": _tag,
    "state": _optional(_chars(MAX_STATE_CHARS)),
    "pass_through": _json,
    "request_id": _chars(MAX_ID_CHARS),
    "frames_rgb": _optional(_pixels),
}

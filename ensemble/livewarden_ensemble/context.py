"""The context of one clip: parsed once at the border, trusted inside."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec

from livewarden_client.wire import MAX_CONTEXT_BYTES, MAX_FRAMES, MAX_TEXTS, TextKind
from livewarden_ensemble.errors import MalformedRequest

_Id = Annotated[str, msgspec.Meta(max_length=256)]
_Tag = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9_.:/-]*$")]
# Unix time in ms. The lower bound (the year 2001) catches a duration given where a time belongs.
_UnixMs = Annotated[int, msgspec.Meta(ge=1_000_000_000_000, le=100_000_000_000_000)]
_MediaMs = Annotated[int, msgspec.Meta(ge=0, le=100_000_000_000_000)]


class TextInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the text at the same index of `texts`."""

    kind: TextKind
    ts_ms: _MediaMs | None = None
    author_ref: _Id | None = None


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the caller asks for beyond the verdict. `canary` marks the server's own probes."""

    explain: bool = True
    canary: bool = False


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `context` input: everything about a clip that is neither pixels nor text.

    `deadline_ms` and `captured_at_ms` are Unix times in milliseconds; `frame_ts_ms` and `ts_ms`
    are times in the stream. An unknown field is an error: a misspelt deadline must not be ignored.
    """

    request_id: _Id = ""
    stream_id: _Id = ""
    clip_seq: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    nonce: Annotated[str, msgspec.Meta(max_length=64)] = ""
    captured_at_ms: _UnixMs | None = None
    frame_ts_ms: Annotated[tuple[_MediaMs, ...], msgspec.Meta(max_length=MAX_FRAMES)] = ()
    texts: Annotated[tuple[TextInfo, ...], msgspec.Meta(max_length=MAX_TEXTS)] = ()
    region: _Tag = ""
    surface: _Tag = ""
    audience: _Tag = ""
    policy: _Tag = ""
    deadline_ms: _UnixMs | None = None
    state: Annotated[str, msgspec.Meta(max_length=16384)] | None = None
    options: Options = Options()
    pass_through: Any = None


_DECODER: Final = msgspec.json.Decoder(Context)
_PATH: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_UNKNOWN: Final = re.compile(r"^Object contains unknown field `(?P<name>[a-z][a-z0-9_]{0,31})`")
# Only messages that msgspec builds from our own types; the rest could quote the caller.
_QUOTABLE: Final = re.compile(r"^(Expected |Object missing required field )")


def parse_context(raw: bytes) -> Context:
    """The context in `raw` (JSON, at most 64 KiB).

    Raises MalformedRequest with the JSON pointer of the first bad field; the message never
    repeats a value that the caller sent.
    """
    if len(raw) > MAX_CONTEXT_BYTES:
        raise MalformedRequest(
            "/context", f"{len(raw)} bytes of JSON; at most {MAX_CONTEXT_BYTES} are accepted"
        )
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedRequest("/context", "is not valid JSON in UTF-8") from None


def _malformed(text: str) -> MalformedRequest:
    found = _PATH.search(text)
    path = found["path"] if found else ""
    pointer = "/context" + re.sub(r"\[(\d+|\.\.\.)\]", r"/\1", path).replace(".", "/")
    text = text[: found.start()] if found else text
    unknown = _UNKNOWN.match(text)
    if unknown:
        pointer = f"{pointer}/{unknown['name']}"
        detail = f"is unknown; the fields are: {', '.join(Context.__struct_fields__)}"
    elif text.startswith("Object contains unknown field"):
        detail = "holds an unknown field"
    elif text.startswith("Invalid enum value"):
        detail = "must be one of: title, chat, asr, ocr"
    else:
        detail = text if _QUOTABLE.match(text) else "has a value of the wrong form"
    return MalformedRequest(pointer, detail)

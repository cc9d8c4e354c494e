"""The context of one clip: parsed once at the border, trusted inside."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Final

import msgspec

from livewarden_client.wire import (
    MAX_CLIP_SEQ,
    MAX_CONTEXT_BYTES,
    MAX_FRAMES,
    MAX_ID_CHARS,
    MAX_MS,
    MAX_STATE_CHARS,
    MAX_TAG_CHARS,
    MAX_TEXTS,
    MIN_UNIX_MS,
    TEXT_KINDS,
    TextKind,
)
from livewarden_ensemble.errors import MalformedRequest

_Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]
# `$` alone also matches before a last newline, which would let one into a log line.
_Tag = Annotated[str, msgspec.Meta(max_length=MAX_TAG_CHARS, pattern=r"^[A-Za-z0-9_.:/-]*$(?!\n)")]
_UnixMs = Annotated[int, msgspec.Meta(ge=MIN_UNIX_MS, le=MAX_MS)]
_MediaMs = Annotated[int, msgspec.Meta(ge=0, le=MAX_MS)]


class TextInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the text at the same index of `texts`."""

    kind: TextKind
    ts_ms: _MediaMs | None = None
    author_ref: _Id | None = None
    lang: _Tag = ""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the caller asks for beyond the verdict.

    `canary` marks the server's own probes, which are not audited; `bundle` asks for a bundle other
    than the live one, and gets it where the pointer names it. Both count with `server_key` alone.
    """

    explain: bool = True
    canary: bool = False
    bundle: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-f]*$(?!\n)")] = ""
    server_key: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-f]*$(?!\n)")] = ""


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `context` input: everything about a clip that is neither pixels nor text.

    `deadline_ms` and `captured_at_ms` are Unix times in milliseconds; `frame_ts_ms` and `ts_ms`
    are times in the stream. An unknown field is an error: a misspelt deadline must not be ignored.
    """

    request_id: _Id = ""
    stream_id: _Id = ""
    clip_seq: Annotated[int, msgspec.Meta(ge=0, le=MAX_CLIP_SEQ)] = 0
    nonce: Annotated[str, msgspec.Meta(max_length=64)] = ""
    captured_at_ms: _UnixMs | None = None
    frame_ts_ms: Annotated[tuple[_MediaMs, ...], msgspec.Meta(max_length=MAX_FRAMES)] = ()
    texts: Annotated[tuple[TextInfo, ...], msgspec.Meta(max_length=MAX_TEXTS)] = ()
    region: _Tag = ""
    surface: _Tag = ""
    audience: _Tag = ""
    room: _Tag = ""
    policy: _Tag = ""
    deadline_ms: _UnixMs | None = None
    state: Annotated[str, msgspec.Meta(max_length=MAX_STATE_CHARS)] | None = None
    options: Options = Options()
    pass_through: Any = None


_DECODER: Final = msgspec.json.Decoder(Context)

# Which fields an object of the context has, by the last name on the way to it.
_FIELDS: Final = {
    "": Context.__struct_fields__,
    "texts": TextInfo.__struct_fields__,
    "options": Options.__struct_fields__,
}
_NAMES: Final = "|".join(sorted({name for names in _FIELDS.values() for name in names}))
# Where msgspec found the trouble. Names of ours alone: a caller's own key can end in something
# that reads like a path, and must not be taken for one.
_PATH: Final = re.compile(rf" - at `\$(?P<path>(?:\.(?:{_NAMES})|\[\d+\])+)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
# Only messages that msgspec builds from our own types; the others could quote the caller.
_QUOTABLE: Final = re.compile(r"Expected |Object missing required field ")
# A key this near to one of ours is a slip of the pen, and can be named; any other is content.
_NEAR: Final = 0.8


def parse_context(raw: bytes) -> Context:
    """Parse the context in `raw`: JSON in UTF-8, at most 64 KiB.

    Raises MalformedRequest with the JSON pointer of the first bad field; the message never
    repeats a value that the caller sent, nor a key that is not one of ours or close to it.
    """
    if len(raw) > MAX_CONTEXT_BYTES:
        raise MalformedRequest(
            "/context", f"{len(raw)} bytes of JSON; at most {MAX_CONTEXT_BYTES} are accepted"
        )
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    # ValueError: broken UTF-8, and integers of more digits than Python cares to read.
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise MalformedRequest("/context", "is not valid JSON in UTF-8") from None


def _explain(message: str) -> MalformedRequest:
    """Turn msgspec's message into ours, which holds nothing that the caller wrote."""
    found = _PATH.search(message)
    path = re.findall(r"\w+", found["path"]) if found else []
    pointer = "/".join(("/context", *path))
    problem = message[: found.start()] if found else message
    if unknown := _UNKNOWN.fullmatch(problem):
        owner = next((name for name in reversed(path) if not name.isdecimal()), "")
        return _explain_unknown(pointer, unknown["name"], _FIELDS[owner])
    return MalformedRequest(pointer, filter_problem(problem))


def filter_problem(problem: str) -> str:
    """What may be told of a problem that msgspec found: nothing that its input holds."""
    if problem.startswith("Invalid enum value"):
        return f"must be one of: {', '.join(TEXT_KINDS)}"
    return problem if _QUOTABLE.match(problem) else "has a value of the wrong form"


def _explain_unknown(pointer: str, name: str, fields: tuple[str, ...]) -> MalformedRequest:
    near = difflib.get_close_matches(name, fields, n=1, cutoff=_NEAR)
    if near and name.isidentifier():
        return MalformedRequest(f"{pointer}/{name}", f"is unknown; did you mean {near[0]!r}?")
    return MalformedRequest(pointer, f"holds an unknown field; the fields are: {', '.join(fields)}")

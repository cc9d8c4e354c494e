from __future__ import annotations

import json
import traceback
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.wire import MAX_CONTEXT_BYTES, MAX_FRAMES, MAX_TEXTS, TEXT_KINDS
from livewarden_ensemble.context import Context, Options, TextInfo, parse_context
from livewarden_ensemble.errors import MalformedRequest

CANARY = "cAnary7f3a"
NOON_MS = 1_750_000_000_000

FULL: dict[str, Any] = {
    "request_id": "r-1",
    "stream_id": "s-1",
    "clip_seq": 42,
    "nonce": "0a1b",
    "captured_at_ms": NOON_MS,
    "frame_ts_ms": [0, 500, 1000],
    "texts": [
        {"kind": "title", "ts_ms": 0, "author_ref": "a", "lang": "pt-BR"},
        {"kind": "chat"},
        {"kind": "asr", "ts_ms": None},
        {"kind": "ocr", "author_ref": None},
    ],
    "region": "DE",
    "surface": "live/kids",
    "audience": "minors",
    "room": "r/1",
    "policy": "live-default:17",
    "deadline_ms": NOON_MS + 800,
    "state": "v1.opaque",
    "options": {"explain": False, "canary": True, "bundle": "0a1b", "server_key": "2c3d"},
    "pass_through": {"any": ["thing", 1, None, 2.5]},
}


def refuse(context: Any) -> MalformedRequest:
    raw = context if isinstance(context, bytes) else json.dumps(context).encode()
    with pytest.raises(MalformedRequest) as caught:
        parse_context(raw)
    return caught.value


def test_every_field_is_read() -> None:
    """A context with all fields set comes out with all of them."""
    context = parse_context(json.dumps(FULL).encode())
    assert msgspec.to_builtins(context) == {
        **FULL,
        "frame_ts_ms": (0, 500, 1000),
        "texts": tuple(
            {"ts_ms": None, "author_ref": None, "lang": ""} | info for info in FULL["texts"]
        ),
    }
    assert set(FULL) == set(Context.__struct_fields__)


def test_an_empty_object_is_a_context() -> None:
    """Every field may be left out."""
    context = parse_context(b"{}")
    assert context == Context()
    assert context.options == Options(explain=True, canary=False)
    assert context.deadline_ms is None
    assert context.texts == ()


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_every_kind_of_the_contract_is_known(kind: str) -> None:
    """The kinds in wire.py are those that the parser takes."""
    assert parse_context(json.dumps({"texts": [{"kind": kind}]}).encode()).texts[0].kind == kind


# The second part is the start of what a caller reads after the pointer.
REFUSED: dict[str, tuple[Any, str, str]] = {
    "not JSON": (b"{nope", "/context", "is not valid JSON"),
    "nothing": (b"", "/context", "is not valid JSON"),
    "broken UTF-8": (b'{"stream_id":"\xff"}', "/context", "is not valid JSON in UTF-8"),
    "broken UTF-8 key": (b'{"\xff":1}', "/context", "is not valid JSON in UTF-8"),
    "lone surrogate": (b'{"stream_id":"\\ud800"}', "/context", "is not valid JSON"),
    "more behind it": (b"{}{}", "/context", "is not valid JSON"),
    "NaN": (b'{"pass_through":NaN}', "/context", "is not valid JSON"),
    "too deep": (
        b'{"pass_through":' + b"[" * 9999 + b"]" * 9999 + b"}",
        "/context",
        "is not valid JSON",
    ),
    "too long": (
        {"pass_through": "x" * MAX_CONTEXT_BYTES},
        "/context",
        f"{MAX_CONTEXT_BYTES + 20} bytes of JSON; at most {MAX_CONTEXT_BYTES}",
    ),
    "array": ([], "/context", "Expected `object`, got `array`"),
    "null": (None, "/context", "Expected `object`, got `null`"),
    "id of another type": ({"request_id": 5}, "/context/request_id", "Expected `str`, got `int`"),
    "id too long": (
        {"request_id": "x" * 257},
        "/context/request_id",
        "Expected `str` of length <= 256",
    ),
    "stream id too long": ({"stream_id": "x" * 257}, "/context/stream_id", "Expected `str` of"),
    "nonce too long": ({"nonce": "x" * 65}, "/context/nonce", "Expected `str` of length <= 64"),
    "negative seq": ({"clip_seq": -1}, "/context/clip_seq", "Expected `int` >= 0"),
    "seq over 2**53": ({"clip_seq": 2**53 + 1}, "/context/clip_seq", "Expected `int` <= "),
    "fractional seq": ({"clip_seq": 1.5}, "/context/clip_seq", "Expected `int`, got `float`"),
    "true seq": ({"clip_seq": True}, "/context/clip_seq", "Expected `int`, got `bool`"),
    "seq in quotes": ({"clip_seq": "7"}, "/context/clip_seq", "Expected `int`, got `str`"),
    "endless seq": (
        b'{"clip_seq":' + b"9" * 5000 + b"}",
        "/context/clip_seq",
        "has a value of the wrong form",
    ),
    "infinite seq": (
        b'{"clip_seq":1e999}',
        "/context/clip_seq",
        "has a value of the wrong form",
    ),
    "duration as deadline": (
        {"deadline_ms": 800},
        "/context/deadline_ms",
        "Expected `int` >= 1000000000000",
    ),
    "seconds as deadline": ({"deadline_ms": NOON_MS // 1000}, "/context/deadline_ms", "Expected"),
    "microseconds as deadline": ({"deadline_ms": NOON_MS * 1000}, "/context/deadline_ms", "Exp"),
    "duration as capture": ({"captured_at_ms": 5}, "/context/captured_at_ms", "Expected `int` >="),
    "negative time": ({"frame_ts_ms": [0, -1]}, "/context/frame_ts_ms/1", "Expected `int` >= 0"),
    "time of another type": (
        {"frame_ts_ms": [0, 1, "2"]},
        "/context/frame_ts_ms/2",
        "Expected `int`, got `str`",
    ),
    "too many times": (
        {"frame_ts_ms": [0] * (MAX_FRAMES + 1)},
        "/context/frame_ts_ms",
        f"Expected `array` of length <= {MAX_FRAMES}",
    ),
    "too many texts": (
        {"texts": [{"kind": "chat"}] * (MAX_TEXTS + 1)},
        "/context/texts",
        f"Expected `array` of length <= {MAX_TEXTS}",
    ),
    "unknown kind": (
        {"texts": [{"kind": "chat"}, {"kind": CANARY}]},
        "/context/texts/1/kind",
        "must be one of: title, chat, asr, ocr",
    ),
    "no kind": (
        {"texts": [{"ts_ms": 4}]},
        "/context/texts/0",
        "Object missing required field `kind`",
    ),
    "negative text time": (
        {"texts": [{"kind": "chat", "ts_ms": -4}]},
        "/context/texts/0/ts_ms",
        "Expected `int` >= 0",
    ),
    "author too long": (
        {"texts": [{"kind": "chat", "author_ref": "x" * 257}]},
        "/context/texts/0/author_ref",
        "Expected `str` of length <= 256",
    ),
    "region with a blank": ({"region": "D E"}, "/context/region", "Expected `str` matching regex"),
    "region ends the line": ({"region": "DE\n"}, "/context/region", "Expected `str` matching"),
    "surface with markup": ({"surface": "<b>"}, "/context/surface", "Expected `str` matching"),
    "audience too long": ({"audience": "x" * 65}, "/context/audience", "Expected `str` of length"),
    "policy with quotes": ({"policy": "'"}, "/context/policy", "Expected `str` matching regex"),
    "state too long": ({"state": "x" * 16385}, "/context/state", "Expected `str` of length <="),
    "state of another type": ({"state": {}}, "/context/state", "Expected `str | null`, got `obj"),
    "no options": ({"options": None}, "/context/options", "Expected `object`, got `null`"),
    "option of another type": (
        {"options": {"explain": 1}},
        "/context/options/explain",
        "Expected `bool`, got `int`",
    ),
    "misspelt field": (
        {"deadlin_ms": NOON_MS},
        "/context/deadlin_ms",
        "is unknown; did you mean 'deadline_ms'?",
    ),
    "misspelt field of a text": (
        {"texts": [{"kind": "chat", "author_red": "a"}]},
        "/context/texts/0/author_red",
        "is unknown; did you mean 'author_ref'?",
    ),
    "misspelt option": (
        {"options": {"explian": True}},
        "/context/options/explian",
        "is unknown; did you mean 'explain'?",
    ),
    "unknown field": (
        {CANARY: 1},
        "/context",
        f"holds an unknown field; the fields are: {', '.join(FULL)}",
    ),
    "unknown field of a text": (
        {"texts": [{"kind": "chat", CANARY: 1}]},
        "/context/texts/0",
        "holds an unknown field; the fields are: kind, ts_ms, author_ref, lang",
    ),
    "unknown option": (
        {"options": {CANARY: 1}},
        "/context/options",
        "holds an unknown field; the fields are: explain, canary, bundle",
    ),
    "key that looks like a path": (
        {f"x` - at `$.{CANARY}": 1},
        "/context",
        "holds an unknown field",
    ),
    "kind that looks like a path": (
        {"texts": [{"kind": f"x' - at `$.{CANARY}`"}]},
        "/context/texts/0/kind",
        "must be one of",
    ),
    "key of many lines": ({f"{CANARY}\nx`\n": 1}, "/context", "holds an unknown field"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_points_at_the_field_and_says_what_is_wanted(name: str) -> None:
    """Each rule of the context has its pointer and its sentence, without the caller's words."""
    context, pointer, detail = REFUSED[name]
    refusal = refuse(context)
    assert refusal.pointer == pointer
    assert refusal.detail.startswith(detail)
    assert str(refusal) == f"{pointer}: {refusal.detail}"
    assert CANARY not in str(refusal)
    assert CANARY not in "".join(traceback.format_exception(refusal))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", "x" * 256),
        ("nonce", "x" * 64),
        ("clip_seq", 2**53),
        ("deadline_ms", 1_000_000_000_000),
        ("frame_ts_ms", (0,) * MAX_FRAMES),
        ("texts", (TextInfo("chat"),) * MAX_TEXTS),
        ("region", "x" * 64),
        ("surface", "AZaz09_.:/-"),
        ("state", "x" * 16384),
    ],
)
def test_the_limit_itself_is_accepted(field: str, value: Any) -> None:
    """A limit is the largest value that passes, not the first that does not."""
    assert getattr(parse_context(msgspec.json.encode({field: value})), field) == value


def test_a_context_at_the_size_limit_is_accepted() -> None:
    """64 KiB of JSON pass; one byte more does not."""
    raw = b'{"pass_through":"' + b"x" * (MAX_CONTEXT_BYTES - 19) + b'"}'
    assert len(raw) == MAX_CONTEXT_BYTES
    assert parse_context(raw).pass_through == "x" * (MAX_CONTEXT_BYTES - 19)
    assert refuse(raw + b" ").pointer == "/context"


def test_the_texts_of_msgspec_are_those_the_parser_reads() -> None:
    """The parser takes msgspec's messages apart; a release that words them anew must show here."""
    seen = {}
    for raw in (
        b'{"texts":[{"kind":"x"}]}',
        b'{"texts":[{}]}',
        b'{"texts":[{"kind":"chat","x":1}]}',
        b'{"x":1}',
        b'{"clip_seq":"x"}',
        b'{"region":" "}',
    ):
        with pytest.raises(msgspec.ValidationError) as caught:
            msgspec.json.decode(raw, type=Context)
        seen[raw] = str(caught.value)
    assert list(seen.values()) == [
        "Invalid enum value 'x' - at `$.texts[0].kind`",
        "Object missing required field `kind` - at `$.texts[0]`",
        "Object contains unknown field `x` - at `$.texts[0]`",
        "Object contains unknown field `x`",
        "Expected `int`, got `str` - at `$.clip_seq`",
        r"Expected `str` matching regex '^[A-Za-z0-9_.:/-]*$(?!\\n)' - at `$.region`",
    ]


leaf_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.just(CANARY)
)
keys = st.text(max_size=8) | st.sampled_from([CANARY, f"a` - at `$.{CANARY}", "kind", "ts_ms"])
json_values = st.recursive(
    leaf_values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def find_refusal(raw: bytes) -> MalformedRequest | None:
    """The refusal of `raw`, held to what every refusal promises; None if it is a context."""
    try:
        assert isinstance(parse_context(raw), Context)
    except MalformedRequest as error:
        refusal = error
    else:
        return None
    assert CANARY not in str(refusal)
    assert refusal.pointer.split("/")[1] == "context"
    return refusal


@given(json_values)
def test_any_json_parses_or_is_refused_without_being_quoted(value: Any) -> None:
    """No JSON value does anything but parse or raise MalformedRequest."""
    find_refusal(json.dumps(value).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=64) | st.text().map(str.encode))
def test_any_bytes_parse_or_are_refused(raw: bytes) -> None:
    """No bytes do anything but parse or raise MalformedRequest."""
    find_refusal(raw)


@given(st.sampled_from([*FULL, CANARY]), json_values)
def test_any_value_in_any_field_parses_or_is_refused(field: str, value: Any) -> None:
    """A good context in which one field was replaced parses or names that field."""
    raw = json.dumps({**FULL, field: value}).encode("utf-8", "surrogatepass")
    refusal = find_refusal(raw)
    if refusal is not None and refusal.pointer != "/context":
        assert refusal.pointer.split("/")[2] == field


@given(st.data())
def test_a_context_cut_or_altered_anywhere_parses_or_is_refused(data: st.DataObject) -> None:
    """Bytes of a good context, cut short or overwritten, never do anything else."""
    raw = bytearray(json.dumps({**FULL, "stream_id": CANARY}).encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    find_refusal(bytes(raw))

"""The verdict as JSON: decoded from what the server sends, and encoded again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from itertools import repeat
from types import NoneType, UnionType
from typing import Any, Final, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from livewarden_client.errors import ServerError
from livewarden_client.verdict import Verdict
from livewarden_client.wire import VERDICT_SCHEMA

_Decode = Callable[[Any], Any]


class _MismatchError(Exception):
    """A JSON value of another form than its type asks for; `path` grows as the error rises."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path

    def under(self, step: str) -> _MismatchError:
        return _MismatchError(self.problem, step + self.path)


def decode_verdict(raw: bytes) -> Verdict:
    """Decode a verdict of schema `livewarden.verdict/v1` (JSON in UTF-8).

    Fields this client does not know are ignored, so that a newer server can be read. Raises
    ServerError where `raw` is no such verdict; the message says where, and quotes no value.
    """
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # The cause is left out: it holds the whole answer, with what the caller passed through.
        raise ServerError(f"the answer ({len(raw)} bytes) is not valid JSON in UTF-8") from None
    if isinstance(value, dict) and value.get("schema") != VERDICT_SCHEMA:
        raise ServerError(
            f"the answer is not of schema {VERDICT_SCHEMA!r}, the one that this client reads; "
            "is a client for the server's version installed?"
        )
    try:
        verdict: Verdict = _decoder(Verdict)(value)
    except _MismatchError as error:
        raise ServerError(f"the verdict breaks its schema at ${error.path}: {error}") from None
    return verdict


def verdict_to_json(verdict: Verdict, *, indent: int | None = None) -> str:
    """Encode `verdict` as the JSON that the server sent, without the fields it ignored."""
    separators = (",", ":") if indent is None else None
    return json.dumps(
        verdict,
        default=_plain,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a verdict holds a {type(value).__name__}, which JSON cannot say")


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and infinities are not JSON")


@cache
def _decoder(kind: Any) -> _Decode:
    """Build the function that turns a JSON value into `kind`, a type as annotations write it."""
    if is_dataclass(kind):
        return _decode_object(kind)
    origin = get_origin(kind)
    return _SCALARS[kind] if origin is None else _GENERICS[origin](get_args(kind))


def _scalar(name: str, *accepted: type) -> _Decode:
    def decode(value: Any) -> Any:
        if type(value) in accepted:
            return value
        raise _MismatchError(f"expected {name}, got {_json_name(value)}")

    return decode


def _decode_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    raise _MismatchError(f"expected a number, got {_json_name(value)}")


def _json_name(value: object) -> str:
    names: Mapping[type, str] = {dict: "an object", list: "an array", NoneType: "null"}
    return names.get(type(value), f"a {type(value).__name__}")


def _decode_object(kind: Any) -> _Decode:
    hints = get_type_hints(kind)
    plan = [
        (name, _list_as_is(hints[name]), _decoder(hints[name]), _default_of(field))
        for name, field in ((field.name, field) for field in fields(kind))
    ]

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise _MismatchError(f"expected an object, got {_json_name(value)}")
        given = []
        for name, as_is, decode_field, default in plan:
            item = value.get(name, MISSING)
            if type(item) in as_is:
                given.append(item)
            elif item is MISSING:
                given.append(default(name))
            else:
                try:
                    given.append(decode_field(item))
                except _MismatchError as error:
                    raise error.under(f".{name}") from None
        return kind(*given)

    return decode


def _default_of(field: Field[Any]) -> Callable[[str], Any]:
    factory, value = field.default_factory, field.default
    if factory is not MISSING:
        return lambda _name: factory()
    return _refuse_missing if value is MISSING else lambda _name: value


def _refuse_missing(name: str) -> NoReturn:
    raise _MismatchError(f"lacks the field {name!r}")


def _decode_tuple(arguments: tuple[Any, ...]) -> _Decode:
    if arguments[-1] is ...:
        repeated = _decoder(arguments[0])
        return lambda value: _decode_items(_expect_array(value), repeat(repeated))
    decoders = [_decoder(argument) for argument in arguments]

    def decode(value: Any) -> tuple[Any, ...]:
        if len(_expect_array(value)) != len(decoders):
            raise _MismatchError(f"expected {len(decoders)} items, got {len(value)}")
        return _decode_items(value, decoders)

    return decode


def _decode_items(items: list[Any], decoders: Iterable[_Decode]) -> tuple[Any, ...]:
    decoded: list[Any] = []
    try:
        for item, decode in zip(items, decoders, strict=False):
            decoded.append(decode(item))
    except _MismatchError as error:
        raise error.under(f"[{len(decoded)}]") from None
    return tuple(decoded)


def _expect_array(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    raise _MismatchError(f"expected an array, got {_json_name(value)}")


def _decode_mapping(arguments: tuple[Any, ...]) -> _Decode:
    decode_item, as_is = _decoder(arguments[1]), _list_as_is(arguments[1])

    def decode(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _MismatchError(f"expected an object, got {_json_name(value)}")
        try:
            return {
                name: item if type(item) in as_is else decode_item(item)
                for name, item in value.items()
            }
        except _MismatchError as error:
            raise error.under(".*") from None

    return decode


def _decode_literal(arguments: tuple[Any, ...]) -> _Decode:
    def decode(value: Any) -> Any:
        if type(value) is str and value in arguments:
            return value
        raise _MismatchError(f"expected one of {', '.join(arguments)}")

    return decode


def _decode_union(arguments: tuple[Any, ...]) -> _Decode:
    given = [argument for argument in arguments if argument is not NoneType]
    if len(given) != 1:
        raise TypeError(f"a verdict's field may be of one type or null, not {arguments}")
    decode_given = _decoder(given[0])
    return lambda value: None if value is None else decode_given(value)


def _list_as_is(kind: Any) -> frozenset[type]:
    """List the types whose JSON values need no decoding to be a `kind`: no call for each of them.

    They are told by exact type: bool is an int to isinstance, and no number to JSON.
    """
    parts = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    return frozenset(part for part in parts if part in {str, int, bool, float, NoneType})


_SCALARS: Final[Mapping[Any, _Decode]] = {
    Any: lambda value: value,
    str: _scalar("a string", str),
    int: _scalar("an integer", int),
    bool: _scalar("true or false", bool),
    NoneType: _scalar("null", NoneType),
    float: _decode_float,
}

_GENERICS: Final[Mapping[Any, Callable[[tuple[Any, ...]], _Decode]]] = {
    tuple: _decode_tuple,
    Mapping: _decode_mapping,
    Literal: _decode_literal,
    Union: _decode_union,
    UnionType: _decode_union,
}

"""Checks of data against the document's types, which say for every fault the key and the remedy."""

from __future__ import annotations

import copy
import re
import types
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from livewarden_ensemble.policy.fault import MAX_SHOWN, Faults, Path
from livewarden_ensemble.policy.nearest import suggest

_T = TypeVar("_T")

_FAULT: Final = re.compile(
    r"(?P<problem>.*?)(?: - at `(?P<key>key` in `)?\$(?P<path>[^`]*)`)?", re.DOTALL
)
_STEP: Final = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d+|\.\.\.)\]")
_FIELD: Final = re.compile(
    r"Object (?P<what>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL
)


def check_document(data: Any, kind: type[_T], faults: Faults) -> _T | None:
    """Convert `data` to `kind`, or note every fault (up to 20) and return None."""
    data = copy.deepcopy(data)
    removed: set[Path] = set()
    for _ in range(2 * MAX_SHOWN):
        try:
            document = msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            path, problem, lacking = _locate(data, kind, str(error))
            # What is lacking only because it was wrong has been told already.
            if (*path, lacking) not in removed:
                faults.add(path, problem)
            if not _remove(data, path):
                return None
            removed.add(path)
        else:
            return None if faults.found else document
    return None


def _locate(data: Any, kind: Any, message: str) -> tuple[Path, str, str | None]:
    """Find where the fault is: its path, what is wrong, and the key that lacks if one does."""
    found = _FAULT.fullmatch(message)
    if found is None:
        return (), message, None
    path: Path = ()
    for step in _STEP.finditer(found["path"] or ""):
        if step["name"]:
            path = (*path, step["name"])
        elif step["index"] != "...":
            path = (*path, int(step["index"]))
        else:
            path = (*path, _find_key(data, kind, path, message))
    problem = found["problem"]
    if found["key"]:
        path = (*path, _find_key(data, kind, path, message))
        return path, f"is no name that can stand here ({_say(problem)})", None
    if field := _FIELD.fullmatch(problem):
        if field["what"] == "missing required":
            return path, f"lacks the key {field['name']!r}", field["name"]
        known = _list_fields(_find_type(kind, path))
        return (*path, field["name"]), f"is no key here; {suggest(field['name'], known)}", None
    if problem.startswith("Invalid enum value"):
        options = _list_options(_find_type(kind, path))
        value = problem.removeprefix("Invalid enum value ").strip("'")
        return path, f"{value!r} is not accepted; {suggest(value, options)}", None
    return path, _say(problem), None


def _say(problem: str) -> str:
    return problem[:1].lower() + problem[1:].replace("`", "")


def _find_key(data: Any, kind: Any, path: Path, message: str) -> str:
    """Find which key of the mapping at `path` causes `message`: the one that causes it alone."""
    mapping = _pick(data, path)
    for key, value in mapping.items():
        try:
            msgspec.convert(_put(data, path, {key: value}), kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    return str(next(iter(mapping)))


def _pick(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _put(data: Any, path: Path, value: Any) -> Any:
    """A copy of `data` with `value` at `path`; what is not on the way is shared."""
    if not path:
        return value
    changed = copy.copy(data)
    changed[path[0]] = _put(data[path[0]], path[1:], value)
    return changed


def _remove(data: Any, path: Path) -> bool:
    if not path:
        return False
    owner = _pick(data, path[:-1])
    try:
        del owner[path[-1]]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _find_type(kind: Any, path: Path) -> Any:
    """Find the type that `kind` has at `path`, without what is around it (None, Annotated)."""
    kind = _unwrap(kind)
    for step in path:
        origin = get_origin(kind)
        if origin is dict:
            kind = get_args(kind)[1]
        elif origin is tuple:
            kind = get_args(kind)[0]
        else:
            kind = next(
                (f.type for f in _fields(kind) if f.name == step),
                None,
            )
        kind = _unwrap(kind)
    return kind


def _unwrap(kind: Any) -> Any:
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in {Union, types.UnionType}:
            # Of a union, a mapping has the most to say.
            inner = [one for one in get_args(kind) if one is not types.NoneType]
            kind = next((one for one in inner if _fields(one)), inner[0])
        else:
            return kind


def _fields(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return msgspec.structs.fields(kind)
    return ()


def _list_fields(kind: Any) -> list[str]:
    return [field.name for field in _fields(kind)]


def _list_options(kind: Any) -> list[str]:
    return list(get_args(kind)) if get_origin(kind) is Literal else []

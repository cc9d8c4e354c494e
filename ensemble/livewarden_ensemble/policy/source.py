"""Sources: YAML into plain data, with the place of every key.

The subset of YAML is one in which nothing means what it does not say: booleans are `true` and
`false` alone (else `NO` is no country and `mode: off` no mode), dates and numbers like 1:30 stay
text, no key stands twice, and there are no anchors, aliases or tags.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from livewarden_ensemble.policy.fault import Faults, Path, Place, show_path

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 24

_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = frozenset(
    f"{_TAG}{kind}" for kind in ("map", "seq", "str", "null", "bool", "int", "float")
)
_EXACT_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class Source:
    """One file's data: `places` has an entry for every key and item, () for the whole."""

    data: Any
    places: Mapping[Path, Place]


# libyaml where PyYAML was built with it (its wheels are): several times faster.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # one of two
    """YAML 1.2's core schema, for booleans, numbers and null."""


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        (
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), list(_first))


def read_source(raw: bytes, name: str) -> Source:
    """Read YAML in UTF-8, at most 4 MiB; `name` is the file's name in messages.

    Raises PolicyInvalid, with line and column, for what is no such YAML.
    """
    faults = Faults(name)
    if len(raw) > MAX_BYTES:
        faults.add((), f"holds {len(raw)} bytes; at most {MAX_BYTES} are accepted")
        faults.check()
    root = _compose(raw, faults)
    reader = _Reader(faults)
    data = reader.read(root, ()) if root is not None else None
    faults.places = reader.places
    faults.check()
    return Source(data, reader.places)


def _compose(raw: bytes, faults: Faults) -> yaml.Node | None:
    problem, place = "is not YAML in UTF-8", Place(1, 1)
    try:
        loader = _Loader(raw.decode("utf-8-sig"))
        node: yaml.Node | None = loader.get_single_node()
        return node  # noqa: TRY300 - an else would stand after four ways out
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"is not YAML: {error.problem or error.context}"
        place = Place(mark.line + 1, mark.column + 1) if mark else place
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        place = Place(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
    except yaml.reader.ReaderError as error:
        problem = f"holds the character U+{error.character:04X}, which YAML does not allow"
    except RecursionError:
        problem = f"is nested deeper than {MAX_DEPTH} levels"
    faults.add_at(place, f"the file: {problem}")
    faults.check()
    return None


class _Reader:
    """Turns nodes into data; what a policy never needs is a fault."""

    def __init__(self, faults: Faults) -> None:
        self.places: dict[Path, Place] = {}
        self._faults = faults
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Any:  # noqa: PLR0911 - one way out per kind
        place = Place(node.start_mark.line + 1, node.start_mark.column + 1)
        if id(node) in self._seen:
            # The node stands where its anchor does; what is near the alias is the key above it.
            near = self.places.get(path) or self.places[path[:-1]]
            return self._refuse(near, path, "is an alias; write the value out")
        self.places.setdefault(path, place)
        self._seen.add(id(node))
        if len(self._seen) == MAX_NODES:
            self._refuse(place, path, f"is one value too many; at most {MAX_NODES} are accepted")
        if len(self._seen) >= MAX_NODES:
            return None
        if len(path) > MAX_DEPTH:
            return self._refuse(place, path, f"is nested deeper than {MAX_DEPTH} levels")
        if node.tag not in _PLAIN:
            return self._refuse(place, path, "has a tag; policies use none")
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._read_scalar(node, path, place)

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            place = Place(key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(place, path, "has a key that is no text")
                continue
            if key.value in data:
                self._refuse(place, (*path, key.value), "stands here twice")
                continue
            self.places[(*path, key.value)] = place
            data[key.value] = self.read(value, (*path, key.value))
        return data

    def _read_scalar(  # noqa: PLR0911 - one way out per kind of scalar
        self, node: yaml.Node, path: Path, place: Place
    ) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if _EXACT_INT.fullmatch(text):
                return int(text)
            case "int" if not re.fullmatch(r"[-+]?0[0-9]+", text):
                return self._refuse(place, path, "is an integer of too many digits")
            case "int":
                return self._refuse(place, path, f"{text} starts with 0; quote it if it is a name")
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if math.isfinite(number):
            return number
        return self._refuse(place, path, "must be a number, not NaN or infinity")

    def _refuse(self, place: Place, path: Path, problem: str) -> None:
        self._faults.places = self.places
        self._faults.add_at(place, f"{show_path(path)}: {problem}")

"""Faults: what is wrong with a policy file, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.errors import PolicyInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The keys on the way to a value: names in mappings, indices in lists.
Path = tuple[str | int, ...]

MAX_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key or an item stands; lines and columns count from 1."""

    line: int
    column: int


def show_path(path: Path) -> str:
    """Write `path` as people do: `labels.hate.thresholds`, `shadow[0].file`."""
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shown.removeprefix(".") or "the file"


@dataclass(slots=True)
class Faults:
    """The faults found in one file, which is called `name` in their messages."""

    name: str
    places: Mapping[Path, Place] = field(default_factory=dict)
    found: list[tuple[Place, str]] = field(default_factory=list)

    def find_place(self, path: Path) -> Place:
        """Where `path` stands, or the nearest thing around it that stands in the file."""
        for end in range(len(path), -1, -1):
            if place := self.places.get(path[:end]):
                return place
        return Place(1, 1)

    def add(self, path: Path, problem: str) -> None:
        """Note that what stands at `path` has a problem."""
        self.add_at(self.find_place(path), f"{show_path(path)}: {problem}")

    def add_at(self, place: Place, message: str) -> None:
        """Note a fault at a place that no path leads to."""
        self.found.append((place, message))

    def add_all(self, path: Path, problems: Iterable[str]) -> None:
        """Note several problems of what stands at `path`."""
        for problem in problems:
            self.add(path, problem)

    def check(self) -> None:
        """Raise PolicyInvalid if any was found, with one line each in the order of the file."""
        if not self.found:
            return
        ordered = sorted(self.found, key=lambda fault: (fault[0].line, fault[0].column))
        lines = [
            f"{self.name}:{place.line}:{place.column}: {message}"
            for place, message in ordered[:MAX_SHOWN]
        ]
        if len(ordered) > MAX_SHOWN:
            lines.append(f"{self.name}: and {len(ordered) - MAX_SHOWN} faults more")
        raise PolicyInvalid("\n".join(lines))

"""One file of a corpus: bytes that a caller could send, and what may become of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes with the states that they may end in; `group` is a row of the table."""

    group: str
    name: str
    data: bytes = field(repr=False)
    states: frozenset[str]

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"

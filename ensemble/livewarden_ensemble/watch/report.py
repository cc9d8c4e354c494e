"""The report: everything that a page shows of a watched recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_client.verdict import Provenance
    from livewarden_ensemble.watch.difference import Difference
    from livewarden_ensemble.watch.session import Way
    from livewarden_ensemble.watch.timeline import Timeline


@dataclass(frozen=True, slots=True, repr=False)
class Side:
    """One side: named "A" or "B", or "" where there is one; `way` says how it came about."""

    name: str
    timeline: Timeline
    way: Way

    @property
    def provenance(self) -> Provenance:
        """What made its verdicts: that of the first one that a server gave, else the client's."""
        made = [moment.verdict.provenance for moment in self.timeline.moments]
        return next((one for one in made if one.bundle), made[0])

    def describe(self) -> str:
        """Name the side with its policy and bundle."""
        made = self.provenance
        bundle = made.bundle.removeprefix("sha256:")[:12] or "none"
        policy = f"{made.policy.id or 'none'} v{made.policy.version or '-'}"
        return f"{self.name}: " * bool(self.name) + f"policy {policy}, bundle {bundle}"


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A recording and its one or two sides; `difference` is between the two.

    `unsent` counts the texts that are later than the last clip.
    """

    video: str
    every_ms: int
    frames: int
    began_ms: int
    place: Mapping[str, str]
    unsent: int
    sides: tuple[Side, ...]
    difference: Difference | None

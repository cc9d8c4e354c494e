"""What a backfill changed, counted from its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from livewarden_export.backfill.errors import BackfillFailed
from livewarden_export.backfill.row import Row


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over all rows; `moves` are those of (before, now), where an action was known before.

    `scored` and `seconds` are of this run alone, without what earlier ones had done.
    """

    clips: int
    actions: Mapping[str, int]
    moves: Mapping[tuple[str, str], int]
    errors: Mapping[str, int]
    degraded: int
    made_by: Mapping[str, int]
    scored: int = 0
    seconds: float = 0.0
    changed: int = field(init=False)
    failed: int = field(init=False)

    def __post_init__(self) -> None:
        moved = sum(count for (before, now), count in self.moves.items() if before != now)
        object.__setattr__(self, "changed", moved)
        object.__setattr__(self, "failed", sum(self.errors.values()))

    @property
    def clips_per_second(self) -> float:
        """What this run scored a second."""
        return self.scored / self.seconds if self.seconds else 0.0

    def describe(self) -> dict[str, Any]:
        """Describe it as JSON data."""
        return {
            "clips": self.clips,
            "actions": dict(sorted(self.actions.items())),
            "compared": sum(self.moves.values()),
            "changed": self.changed,
            "moves": [
                {"before": before, "now": now, "clips": count}
                for (before, now), count in sorted(self.moves.items())
            ],
            "errors": dict(sorted(self.errors.items())),
            "degraded": self.degraded,
            "made_by": dict(sorted(self.made_by.items())),
            "this_run": {
                "clips": self.scored,
                "seconds": round(self.seconds, 3),
                "clips_per_second": round(self.clips_per_second, 3),
            },
        }


def sum_up(
    rows: Iterable[Row],
    expected: int,
    before: Mapping[str, str] | None = None,
    *,
    scored: int = 0,
    seconds: float = 0.0,
) -> Summary:
    """Count `rows`, of which there must be `expected`, no two of one clip; else BackfillFailed.

    `before` gives earlier actions by clip id, in place of those in the recording.
    """
    actions, errors, made_by = Counter[str](), Counter[str](), Counter[str]()
    moves = Counter[tuple[str, str]]()
    degraded, seen = 0, set[str]()
    for row in rows:
        if row.id in seen:
            raise BackfillFailed(f"clip {row.id!r} has two rows; name a new folder with --output")
        seen.add(row.id)
        earlier = row.before if before is None else before.get(row.id)
        if row.action is None:
            errors[row.error or "unknown"] += 1
            continue
        actions[row.action] += 1
        degraded += row.degraded
        made_by[f"bundle {row.bundle}, policy {row.policy}"] += 1
        if earlier is not None:
            moves[earlier, row.action] += 1
    if len(seen) != expected:
        raise BackfillFailed(f"{len(seen)} rows for {expected} clips; name a new folder")
    return Summary(len(seen), actions, moves, errors, degraded, made_by, scored, seconds)

"""One clip of a backfill: what is asked, and the row that says what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from livewarden_client.clip import Clip
from livewarden_client.verdict import Verdict
from livewarden_export.backfill.errors import BackfillFailed

ROW_FORMAT: Final = "livewarden.backfill/v1"


@dataclass(frozen=True, slots=True)
class RecordedClip:
    """A clip of a recording; `before` is the action decided then, None where none was recorded.

    `load` reads its media. It raises OSError, or a ModerationError where it is no clip.
    """

    id: str
    load: Callable[[], Clip]
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one clip: a verdict in short, or the type of the error that it ended in.

    Holds no text and no pixel. `scores` are the labels' joint scores; `codes` the reasons'.
    """

    id: str
    action: str | None
    before: str | None
    error: str | None = None
    label: str | None = None
    codes: tuple[str, ...] = ()
    degraded: bool = False
    scores: dict[str, float] | None = None
    bundle: str | None = None
    policy: str | None = None

    @classmethod
    def from_verdict(cls, clip: RecordedClip, verdict: Verdict) -> Self:
        """Make the row of a clip that was judged."""
        policy = verdict.provenance.policy
        return cls(
            id=clip.id,
            action=verdict.action,
            before=clip.before,
            label=verdict.label,
            codes=tuple(reason.code for reason in verdict.reasons),
            degraded=verdict.coverage.degraded,
            scores={label.id: label.score for label in verdict.labels},
            bundle=verdict.provenance.bundle,
            policy=f"{policy.id}@{policy.version} {policy.digest}",
        )

    @classmethod
    def from_error(cls, clip: RecordedClip, error: Exception) -> Self:
        """Make the row of a clip without a verdict; of the error only its type is kept."""
        return cls(id=clip.id, action=None, before=clip.before, error=type(error).__name__)

    def to_line(self) -> str:
        """Its line in a part file, with the newline."""
        return json.dumps({"format": ROW_FORMAT, **asdict(self)}) + "\n"


def parse_row(line: str, where: str) -> Row:
    """Parse one line of a part file; raises BackfillFailed, which names `where`."""
    try:
        data: dict[str, Any] = json.loads(line)
        if data.pop("format") == ROW_FORMAT:
            return Row(**data | {"codes": tuple(data["codes"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise BackfillFailed(f"{where}: is no row of the format {ROW_FORMAT!r}")

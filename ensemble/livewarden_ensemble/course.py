"""The course of one batch: when each stage and each call to a leaf began and ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

STAGES: Final = ("read", "decode", "tokenise", "encode", "fuse", "decide")


@dataclass(frozen=True, slots=True)
class Visit:
    """One call to a leaf: how many rows it took, and what became of it ("" for an answer)."""

    leaf: str
    stage: str
    rows: int
    begin_ns: int
    end_ns: int
    cause: str


@dataclass(slots=True, eq=False)
class Course:
    """What a batch of `clips` clips went through; all its outcomes share it.

    Times are of the performance counter; `epoch_ns` added to one makes it Unix time. A stage ends
    where the next begins, so `ends_ns` maps each to its end alone.
    """

    clips: int
    begin_ns: int = field(default_factory=time.perf_counter_ns)
    epoch_ns: int = field(default_factory=lambda: time.time_ns() - time.perf_counter_ns())
    ends_ns: dict[str, int] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)

    @property
    def stage(self) -> str:
        """The stage that is under way; the last one once all are done."""
        return STAGES[min(len(self.ends_ns), len(STAGES) - 1)]

    def end_stage(self) -> None:
        """Note that the stage under way has ended."""
        self.ends_ns[self.stage] = time.perf_counter_ns()

    def list_spans(self) -> list[tuple[str, int, int]]:
        """Each stage that ended, with its begin and its end."""
        begins = (self.begin_ns, *self.ends_ns.values())
        return [
            (stage, begin, end)
            for (stage, end), begin in zip(self.ends_ns.items(), begins, strict=False)
        ]

    def measure_stages(self) -> dict[str, float]:
        """Milliseconds per stage, and their `total`."""
        spans = self.list_spans()
        laps = {stage: round((end - begin) / 1e6, 3) for stage, begin, end in spans}
        return laps | {"total": round(sum(laps.values()), 3)}

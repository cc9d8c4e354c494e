"""A backfill from start to end: what is missing is scored, written part by part, and summed up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from livewarden_export.backfill.output import Output
from livewarden_export.backfill.row import Row
from livewarden_export.backfill.source import Part, Source
from livewarden_export.backfill.summary import Summary, sum_up

# Scores parts; gives the number and the rows of each, in any order.
Scorer = Callable[[Sequence[Part]], Iterator[tuple[int, list[Row]]]]


def run_backfill(
    source: Source,
    output: Output,
    score: Scorer,
    *,
    before: Mapping[str, str] | None = None,
    retry_errors: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Summary:
    """Score what is missing in `output`; with `retry_errors`, parts with failed clips once more.

    `on_progress` hears how many of all clips have rows. Raises BackfillFailed.
    """
    with output.open():
        missing = output.list_missing(errors_too=retry_errors)
        there = source.clips - sum(part.clips for part in missing)
        on_progress(there, source.clips)
        begin, done = time.monotonic(), dict[int, int]()
        for number, rows in score(missing) if missing else ():
            output.write_part(number, rows)
            done[number] = len(rows)  # not added up: a part may come twice
            on_progress(there + sum(done.values()), source.clips)
        seconds = time.monotonic() - begin
        summary = sum_up(
            output.read_rows(), source.clips, before, scored=sum(done.values()), seconds=seconds
        )
        output.write_summary(summary.describe())
    return summary

"""A backfill to kill: python kill_run.py RECORDING OUTPUT, with a server that takes its time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from backfill_case import judge, open_client

from livewarden_export.backfill.output import Output
from livewarden_export.backfill.run import run_backfill
from livewarden_export.backfill.score import score_part
from livewarden_export.backfill.source import open_source, read_part

PART_CLIPS = 3


def answer_slowly(request):
    """Judge after a few milliseconds, so that the run lasts."""
    time.sleep(0.004)
    return judge(request)


def score(parts):
    """Score parts one after the other."""
    with open_client(answer_slowly) as client:
        for part in parts:
            yield part.number, score_part(read_part(part), client, 2, 1.0)


if __name__ == "__main__":
    source = open_source(Path(sys.argv[1]), PART_CLIPS)
    run_backfill(source, Output(Path(sys.argv[2]), source, PART_CLIPS), score)

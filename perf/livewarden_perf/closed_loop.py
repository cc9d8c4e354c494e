"""Closed-loop load with perf_analyzer: so many callers, each waiting for its verdict.

Such callers slow down with the server, so the latencies say nothing about a given rate of clips.
"""

from __future__ import annotations

import csv
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livewarden_client.wire import MODERATION
from livewarden_perf.analyzer_input import write_input
from livewarden_perf.errors import AnalyzerFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livewarden_client.clip import Clip
    from livewarden_perf.analyzer import Analyzer

# perf_analyzer reports the mean over its last three windows, once they agree.
_WINDOWS: Final = 3
# So lenient that the first three windows always do: the run takes the time it was given.
_STABILITY_PERCENT: Final = 999
# Rounds of all callers that fill caches and let every batch shape be compiled.
_WARM_UP_ROUNDS: Final = 10
_PATIENCE_S: Final = 120


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What `concurrency` callers saw; latencies in milliseconds, from send to verdict."""

    concurrency: int
    clips_per_second: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


def run_closed_loop(
    analyzer: Analyzer, url: str, clips: Sequence[Clip], *, concurrency: int, seconds: float
) -> LoadResult:
    """Warm up, then load the model `moderation` at `url` (gRPC) for about `seconds`.

    Raises AnalyzerFailed, also where a single request fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder, "clips.json"), Path(folder, "report.csv")
        write_input(data, clips)
        common = [str(analyzer.binary), "-m", MODERATION.name, "-u", url, "-i", "grpc", "-b", "1"]
        common += ["--input-data", str(data), "--concurrency-range", str(concurrency)]
        # Good for warming up only: this mode divides by whole windows, and its rates are wrong.
        _run(analyzer, [*common, "--request-count", str(_WARM_UP_ROUNDS * concurrency)], seconds)
        window_ms = max(1, round(seconds * 1000 / _WINDOWS))
        measure = ["-p", str(window_ms), "-s", str(_STABILITY_PERCENT), "-r", str(_WINDOWS)]
        _run(analyzer, [*common, *measure, "-f", str(report)], seconds)
        try:
            return parse_report(report.read_text(encoding="utf-8"))
        except OSError:
            raise AnalyzerFailed("perf_analyzer ended well, but left no report") from None


def parse_report(text: str) -> LoadResult:
    """Parse perf_analyzer's CSV report of one concurrency; AnalyzerFailed names what is missing."""
    rows = list(csv.DictReader(text.splitlines()))
    if len(rows) != 1:
        raise AnalyzerFailed(f"perf_analyzer reported {len(rows)} load levels, not 1")
    row = rows[0]
    try:
        p50, p90, p95, p99 = (float(row[f"p{p} latency"]) / 1000 for p in (50, 90, 95, 99))
        return LoadResult(
            concurrency=int(row["Concurrency"]),
            clips_per_second=float(row["Inferences/Second"]),
            p50_ms=p50,
            p90_ms=p90,
            p95_ms=p95,
            p99_ms=p99,
        )
    except KeyError as error:
        raise AnalyzerFailed(f"perf_analyzer's report has no column {error}") from None
    except (TypeError, ValueError):
        raise AnalyzerFailed("perf_analyzer's report has a field that is no number") from None


def _run(analyzer: Analyzer, command: list[str], seconds: float) -> None:
    try:
        run = subprocess.run(  # noqa: S603 - our own argument list
            command,
            env=analyzer.build_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds * _WINDOWS + _PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AnalyzerFailed(
            f"perf_analyzer did not end within {error.timeout:.0f} s; does the server answer?"
        ) from None
    if run.returncode != 0:
        lines = [line.strip() for line in run.stderr.splitlines() if line.strip()]
        cause = "; ".join(lines[-2:]) or f"exit code {run.returncode}"
        raise AnalyzerFailed(f"perf_analyzer gave no figures: {cause}")

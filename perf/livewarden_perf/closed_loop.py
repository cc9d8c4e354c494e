"""Load with perf_analyzer: callers that each wait for their verdict, or clips at a rate.

Callers slow down with the server, so their latencies say nothing about a given rate of clips. At a
rate, perf_analyzer counts from the moment it sends, so what it could not send in time is not seen.
"""

from __future__ import annotations

import csv
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livewarden_client.wire import MODERATION
from livewarden_perf.analyzer_input import write_input
from livewarden_perf.errors import AnalyzerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from livewarden_client.clip import Clip
    from livewarden_perf.analyzer import Analyzer

# perf_analyzer reports the mean over its last three windows, once they agree.
_WINDOWS: Final = 3
# So lenient that the first three windows always do: the run takes the time it was given.
_STABILITY_PERCENT: Final = 999
# Rounds of all callers that fill caches and let every batch shape be compiled.
_WARM_UP_ROUNDS: Final = 10
_PATIENCE_S: Final = 120
_RATE_MODE: Final = "--request-rate-range"
_RATE: Final = "Request Rate"
_SHORT_WINDOW: Final = "use a larger time window"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What `concurrency` callers saw; latencies in milliseconds, from send to verdict.

    At a rate, `concurrency` is 0 and `rate` says how many clips a second were asked for.
    """

    concurrency: int
    clips_per_second: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    rate: float | None = None


def run_closed_loop(
    analyzer: Analyzer, url: str, clips: Sequence[Clip], *, concurrency: int, seconds: float
) -> LoadResult:
    """Warm up, then load the model `moderation` at `url` (gRPC) for about `seconds`.

    Raises AnalyzerFailed, also where a single request fails.
    """
    with _open_run(analyzer, url, clips) as run:
        run.warm_up(concurrency, seconds)
        return run.measure("--concurrency-range", concurrency, seconds)


def run_sweep(
    analyzer: Analyzer,
    url: str,
    clips: Sequence[Clip],
    *,
    concurrencies: Sequence[int],
    rates: Sequence[float],
    seconds: float,
    on_step: Callable[[str], None] = lambda _line: None,
) -> list[LoadResult]:
    """Warm up once, then measure every number of callers and every rate for about `seconds`.

    Raises AnalyzerFailed, also where a single request fails.
    """
    results = []
    with _open_run(analyzer, url, clips) as run:
        run.warm_up(max(concurrencies, default=1), seconds)
        for callers in concurrencies:
            on_step(f"perf_analyzer: {callers} callers")
            results.append(run.measure("--concurrency-range", callers, seconds))
        for rate in rates:
            on_step(f"perf_analyzer: {rate:g} clips/s")
            results.append(run.measure(_RATE_MODE, rate, seconds))
    return results


@contextmanager
def _open_run(analyzer: Analyzer, url: str, clips: Sequence[Clip]) -> Iterator[_AnalyzerRun]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "clips.json")
        write_input(data, clips)
        yield _AnalyzerRun(analyzer, url, data)


@dataclass(frozen=True, slots=True)
class _AnalyzerRun:
    """perf_analyzer with one set of clips against one server."""

    analyzer: Analyzer
    url: str
    data: Path

    def warm_up(self, concurrency: int, seconds: float) -> None:
        """Fill caches and let every batch shape be compiled."""
        # Good for warming up only: this mode divides by whole windows, and its rates are wrong.
        count = str(_WARM_UP_ROUNDS * concurrency)
        self._call("--concurrency-range", concurrency, ["--request-count", count], seconds)

    def measure(self, mode: str, level: float, seconds: float) -> LoadResult:
        """Measure one level of load."""
        report = self.data.with_name("report.csv")
        report.unlink(missing_ok=True)
        window_ms = max(1, round(seconds * 1000 / _WINDOWS))
        measure = ["-p", str(window_ms), "-s", str(_STABILITY_PERCENT), "-r", str(_WINDOWS)]
        self._call(mode, level, [*measure, "-f", str(report)], seconds)
        try:
            return parse_report(report.read_text(encoding="utf-8"))
        except OSError:
            raise AnalyzerFailed("perf_analyzer ended well, but left no report") from None

    def _call(self, mode: str, level: float, more: list[str], seconds: float) -> None:
        command = [str(self.analyzer.binary), "-m", MODERATION.name, "-u", self.url, "-i", "grpc"]
        command += ["-b", "1", "--input-data", str(self.data), mode, f"{level:g}"]
        if mode == _RATE_MODE:
            command += ["--request-distribution", "poisson"]
        _run(self.analyzer, [*command, *more], seconds)


def parse_report(text: str) -> LoadResult:
    """Parse perf_analyzer's CSV report of one level; AnalyzerFailed names what is missing."""
    rows = list(csv.DictReader(text.splitlines()))
    if len(rows) != 1:
        raise AnalyzerFailed(f"perf_analyzer reported {len(rows)} load levels, not 1")
    row = rows[0]
    try:
        p50, p90, p95, p99 = (float(row[f"p{p} latency"]) / 1000 for p in (50, 90, 95, 99))
        return LoadResult(
            concurrency=0 if _RATE in row else int(row["Concurrency"]),
            clips_per_second=float(row["Inferences/Second"]),
            p50_ms=p50,
            p90_ms=p90,
            p95_ms=p95,
            p99_ms=p99,
            rate=float(row[_RATE]) if _RATE in row else None,
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
        if _SHORT_WINDOW in run.stderr:
            cause = f"a window of {seconds / _WINDOWS:g} s was too short; measure longer"
        raise AnalyzerFailed(f"perf_analyzer gave no figures: {cause}")

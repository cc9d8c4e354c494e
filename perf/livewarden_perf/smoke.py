"""The smoke run: does the whole way of a clip work under load, and how near is it to the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from livewarden_client.client import Client
from livewarden_client.errors import ModerationError
from livewarden_perf.closed_loop import LoadResult, run_closed_loop
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.standard_clip import standard_clip

if TYPE_CHECKING:
    from livewarden_perf.analyzer import Analyzer
    from livewarden_perf.stages import StageCosts

# One take of the film: no two of them share a frame.
CLIPS = 16
_PROBE_S = 30.0


@dataclass(frozen=True, slots=True)
class SmokeResult:
    """What a server delivered on standard clips; `stages` where the limit was measured beside."""

    load: LoadResult
    analyzer_version: str
    stages: StageCosts | None = None

    @property
    def ratio(self) -> float | None:
        """Delivered clips per second divided by the machine limit."""
        return None if self.stages is None else self.load.clips_per_second / self.stages.limit


def run_smoke(
    analyzer: Analyzer,
    url: str,
    *,
    concurrency: int,
    seconds: float,
    stages: StageCosts | None = None,
) -> SmokeResult:
    """Load the server at `url` with standard clips, after one of them came back fully scored.

    Raises MeasurementInvalid where none did: a server that skips work is fast. AnalyzerFailed.
    """
    clips = [standard_clip(index) for index in range(CLIPS)]
    try:
        with Client(url, timeout=_PROBE_S, on_failure="raise") as client:
            verdict = client.moderate(clips[0])
    except ModerationError as error:
        raise MeasurementInvalid(f"{url} gives no verdict: {error}") from error
    if verdict.coverage.degraded:
        failed = ", ".join(verdict.coverage.failed) or "a frame or text"
        raise MeasurementInvalid(f"{url} did not score a standard clip in full: {failed} failed")
    load = run_closed_loop(analyzer, url, clips, concurrency=concurrency, seconds=seconds)
    return SmokeResult(load, analyzer.version, stages)

"""What happened to every clip of a run, and the figures that follow from it.

Latency counts from the moment at which a clip was due, not from the one at which it was sent: a
generator or a server that holds things up cannot hide the wait (known as coordinated omission).
Percentiles are exact: each one is a latency that some clip had.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from livewarden_perf.target import REJECTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PERCENTILES: Final = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
# A generator later than this, and than a tenth of the median, spoils the schedule.
_LATE_MS: Final = 10.0
_LATE_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """One run, clip by clip; times in seconds from its start, NaN for what did not happen.

    `free` is when a clip could be sent at the earliest: when it was due, or when its stream's clip
    before it was answered. `seconds` is how long the schedule lasts, `cpu_s` what the generator's
    process used.
    """

    due: Floats
    free: Floats
    sent: Floats
    ended: Floats
    ok: NDArray[np.bool_]
    reasons: tuple[str, ...]
    seconds: float
    cpu_s: float = 0.0

    @property
    def latency_ms(self) -> Floats:
        """Milliseconds from due to answer; NaN where none came."""
        return (self.ended - self.due) * 1e3

    @property
    def lag_ms(self) -> Floats:
        """How much later than possible each clip was sent: the generator's own fault."""
        return (self.sent - self.free)[~np.isnan(self.sent)] * 1e3

    def select(self, begin: float, end: float) -> Samples:
        """Keep the clips that were due in [`begin`, `end`) seconds."""
        keep = (self.due >= begin) & (self.due < end)
        reasons = tuple(np.array(self.reasons, object)[keep])
        return Samples(
            due=self.due[keep],
            free=self.free[keep],
            sent=self.sent[keep],
            ended=self.ended[keep],
            ok=self.ok[keep],
            reasons=reasons,
            seconds=end - begin,
            cpu_s=self.cpu_s * float(keep.mean()) if len(keep) else 0.0,
        )

    def summarise(self) -> Summary:
        """Give the figures of the run."""
        # A clip that got no full verdict is infinitely late: failing fast is no way to be fast.
        judged = np.where(self.ok, self.latency_ms, np.inf)
        finished = self.ended[self.ok]
        # Answers to what piled up may come after the schedule's end, and count over that time.
        span = max(self.seconds, float(finished.max(initial=0.0) - self.due.min(initial=np.inf)))
        lag = self.lag_ms
        return Summary(
            clips=len(self.due),
            ok=int(self.ok.sum()),
            failed=dict(Counter(reason for reason in self.reasons if reason)),
            offered_per_second=len(self.due) / self.seconds,
            clips_per_second=int(self.ok.sum()) / span,
            latency_ms={name: pick(judged[self.ok], q) for name, q in PERCENTILES.items()},
            judged_p99_ms=pick(judged, 99.0),
            max_ms=pick(judged[self.ok], 100.0),
            lag_ms={"p50": pick(lag, 50.0), "p99": pick(lag, 99.0)},
            generator_cpu_ms=self.cpu_s * 1e3 / max(len(self.due), 1),
            generator_cores=self.cpu_s / span,
        )

    def list_seconds(self) -> list[dict[str, Any]]:
        """One row per second of the schedule: offered, ok, rejected, failed, p50 and worst."""
        rows = []
        for second in range(int(np.ceil(self.seconds))):
            part = self.select(second, second + 1)
            latency = part.latency_ms[part.ok]
            rejected = part.reasons.count(REJECTED)
            rows.append(
                {
                    "second": second,
                    "offered": len(part.due),
                    "ok": int(part.ok.sum()),
                    "rejected": rejected,
                    "failed": int((~part.ok).sum()) - rejected,
                    "p50_ms": None if not len(latency) else round(pick(latency, 50.0), 2),
                    "max_ms": None if not len(latency) else round(pick(latency, 100.0), 2),
                }
            )
        return rows


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run; `latency_ms` of the clips that got a full verdict, from due.

    `judged_p99_ms` counts every other clip as infinitely late. `lag_ms` is the generator's own
    delay, `generator_cpu_ms` its processor time per clip, `generator_cores` its share of cores.
    """

    clips: int
    ok: int
    failed: Mapping[str, int]
    offered_per_second: float
    clips_per_second: float
    latency_ms: Mapping[str, float]
    judged_p99_ms: float
    max_ms: float
    lag_ms: Mapping[str, float]
    generator_cpu_ms: float
    generator_cores: float

    @property
    def behind(self) -> bool:
        """Whether the generator was too late for its schedule to count."""
        late = max(_LATE_MS, _LATE_SHARE * np.nan_to_num(self.latency_ms["p50"]))
        return bool(self.lag_ms["p99"] > late)

    @property
    def error_share(self) -> float:
        """The share of clips without a full verdict, 0..1."""
        return (self.clips - self.ok) / self.clips if self.clips else 0.0


def pick(values: Floats, percentile: float) -> float:
    """Pick the smallest value that at least `percentile` % of all values do not exceed.

    NaN of no values. This is the nearest-rank definition: nothing is interpolated.
    """
    if not len(values):
        return float("nan")
    return float(np.percentile(values, percentile, method="inverted_cdf"))

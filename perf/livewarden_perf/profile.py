"""`perf profile`: where the time of a request goes, waiting apart from computing.

Three clocks are laid over each other: the generator's (from due to verdict), Triton's statistics
(queue, copies and computing of each model), and the verdict's own `timings_ms` (the pipeline's
stages). All are means over the same clips, so they add up.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_client.wire import FUSION_CLASSIFIER, LEAVES, MODERATION
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.load import describe_summary, warn_of
from livewarden_perf.section import Chart, Section, Table, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livewarden_perf.samples import Samples
    from livewarden_perf.server_statistics import ModelStatistics

_TOTAL: Final = "total"
_ENCODERS: Final = tuple(leaf.name for leaf in LEAVES if leaf is not FUSION_CLASSIFIER)
WAITING: Final = "waiting"
COMPUTING: Final = "computing"
MOVING: Final = "moving"
# From this share on, what others sent matters.
_FOREIGN: Final = 0.1
_KINDS: Final = (WAITING, COMPUTING, MOVING)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request's time, in milliseconds, and what is done in it."""

    name: str
    kind: str
    ms: float


def split_request(
    latency_ms: float,
    timings: Sequence[Mapping[str, float]],
    models: Mapping[str, ModelStatistics],
) -> list[Part]:
    """Split the mean latency into parts, in the order in which a clip meets them.

    `timings` are the verdicts' own. The encoders run side by side: the one that takes longest is
    the one that counts, and the rest of that stage is the calls themselves.
    """
    means: defaultdict[str, float] = defaultdict(float)
    for one in timings:
        for stage, lap in one.items():
            means[stage] += lap / len(timings)
    queue = models[MODERATION.name].queue_ms
    slowest = max(_ENCODERS, key=lambda name: _busy_ms(models[name]))
    encoder, fusion = models[slowest], models[FUSION_CLASSIFIER.name]
    return [
        Part("network, gRPC, Triton's copies", MOVING, latency_ms - queue - means[_TOTAL]),
        Part("pipeline: queue", WAITING, queue),
        Part("read", COMPUTING, means["read"]),
        Part("decode", COMPUTING, means["decode"]),
        Part("tokenise", COMPUTING, means["tokenise"]),
        Part(f"{slowest}: queue", WAITING, encoder.queue_ms),
        Part(f"{slowest}: compute", COMPUTING, encoder.compute_ms),
        Part("encode: calls and copies", MOVING, means["encode"] - _busy_ms(encoder)),
        Part(f"{FUSION_CLASSIFIER.name}: queue", WAITING, fusion.queue_ms),
        Part(f"{FUSION_CLASSIFIER.name}: compute", COMPUTING, fusion.compute_ms),
        Part("fuse: calls and copies", MOVING, means["fuse"] - _busy_ms(fusion)),
        Part("decide", COMPUTING, means["decide"]),
    ]


def _warn_of_others(models: Mapping[str, ModelStatistics], own: int) -> list[str]:
    everything = models[MODERATION.name].requests
    if everything - own <= _FOREIGN * everything:
        return []
    others = f"{everything - own} of {everything} requests in Triton's statistics"
    return [
        f"{others} are not of this run (canary, other callers); its queues are for all of them."
    ]


def _place_part(part: Part) -> list[float]:
    """Place a part in the bar of all, and in the one of its kind."""
    ms = max(part.ms, 0.0)
    return [ms, *(ms if part.kind == kind else 0.0 for kind in _KINDS)]


def _busy_ms(leaf: ModelStatistics) -> float:
    return leaf.queue_ms + leaf.compute_ms


def make_profile_section(
    samples: Samples,
    timings: Sequence[Mapping[str, float]],
    models: Mapping[str, ModelStatistics],
    what: str,
) -> Section:
    """Make the section of a profile. MeasurementInvalid where there is nothing to split."""
    missing = [name for name in (MODERATION.name, *_ENCODERS) if name not in models]
    if missing or not timings:
        lack = f"no statistics of {', '.join(missing)}" if missing else "no verdict with timings"
        raise MeasurementInvalid(f"nothing to profile: {lack}")
    summary = samples.summarise()
    mean = float(np.mean(samples.latency_ms[samples.ok]))
    parts = split_request(mean, timings, models)
    by_kind = {kind: sum(part.ms for part in parts if part.kind == kind) for kind in _KINDS}
    leaves = {name: models[name] for name in (MODERATION.name, *(leaf.name for leaf in LEAVES))}
    first = Table(
        ("where", "ms", "share", "what"),
        (
            *((part.name, show(part.ms), f"{part.ms / mean:.1%}", part.kind) for part in parts),
            ("from due to verdict, mean", show(mean), "100.0%", ""),
        ),
    )
    second = Table(
        ("model", "requests", "queue ms", "compute ms", "rows at once"),
        tuple(
            (
                name,
                str(one.requests),
                show(one.queue_ms),
                show(one.compute_ms),
                show(one.rows_per_execution),
            )
            for name, one in leaves.items()
        ),
    )
    return Section(
        name="profile",
        title=f"Where the time goes: {what}",
        headline=f"Of {show(mean)} ms, {by_kind[WAITING] / mean:.0%} is waiting in queues, "
        f"{by_kind[COMPUTING] / mean:.0%} computing, {by_kind[MOVING] / mean:.0%} moving data.",
        tables=(first, second),
        charts=(
            Chart(
                "stack",
                f"One request at {summary.offered_per_second:.1f} clips/s",
                "",
                "ms, mean",
                ("all", *_KINDS),
                {part.name: _place_part(part) for part in parts},
            ),
        ),
        data={
            "mean_ms": mean,
            "parts": [{"name": one.name, "kind": one.kind, "ms": one.ms} for one in parts],
            "models": {
                name: {
                    "requests": one.requests,
                    "queue_ms": one.queue_ms,
                    "compute_ms": one.compute_ms,
                    "rows_per_execution": one.rows_per_execution,
                }
                for name, one in leaves.items()
            },
            "load": describe_summary(summary),
        },
        figures={
            f"share of waiting in queues at {summary.offered_per_second:.1f} clips/s": (
                f"{by_kind[WAITING] / mean:.0%}"
            )
        },
        notes=(
            "Queues are means over requests, computing over rows; stages are those of a batch.",
            "Encoders run side by side: the slowest one stands for them.",
        ),
        warnings=(*warn_of(summary), *_warn_of_others(models, len(timings))),
    )

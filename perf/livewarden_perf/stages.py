"""What each stage of a clip costs on one thread, and what the machine could serve at most.

The pipeline itself runs here, in one process, on leaves that use one thread: no queue, no copy
between processes, nothing at the same time. The machine limit, cores divided by the sum of the
stages, is what perfect serving of the same arithmetic would reach.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import msgspec

from livewarden_client.wire import FUSION_CLASSIFIER, LEAVES, MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import load_policy, locate_policy
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.replay import encode_replay_context
from livewarden_perf.standard_clip import standard_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from livewarden_client.clip import Clip
    from livewarden_ensemble.bundle import Bundle
    from livewarden_ensemble.decode import DecodedFrame
    from livewarden_ensemble.errors import LeafFailed
    from livewarden_ensemble.leaf_call import Arrays, Infer, LeafCall
    from livewarden_ensemble.policy import Policy

# Which stage's lap holds the calls to a leaf.
_STAGE_OF: Final[Mapping[str, str]] = {
    leaf.name: "fuse" if leaf is FUSION_CLASSIFIER else "encode" for leaf in LEAVES
}
_LEAST_RUNS: Final = 8
_CLIPS: Final = 8
# On an idle machine, a clip takes 1.01 times the sum of its stages.
_DISTURBED: Final = 1.1
_SERVER: Final = "in-process"


@dataclass(frozen=True, slots=True)
class StageCosts:
    """Medians in milliseconds per clip, by stage; a leaf is a stage of its own.

    What takes long (decoding, leaves) is processor time of the whole process, so that neither
    other programs nor a hidden second thread can falsify it. `encode` and `fuse` are what
    surrounds their leaves: stacking, splitting, padding. `elapsed_ms` is a clip from start to end.
    """

    stages: Mapping[str, float]
    elapsed_ms: float
    runs: int
    cores: int

    @property
    def total_ms(self) -> float:
        """The sum of the stages: what one clip costs one core."""
        return sum(self.stages.values())

    @property
    def disturbed(self) -> bool:
        """Whether other programs took so many turns that served rates would be too low."""
        return self.elapsed_ms > _DISTURBED * self.total_ms

    @property
    def limit(self) -> float:
        """Clips per second that all cores could do, if serving cost nothing."""
        return self.cores * 1e3 / self.total_ms


class Meter:
    """Books the milliseconds of named blocks of one clip: elapsed, and of the processor."""

    def __init__(self) -> None:
        self.elapsed_ms: defaultdict[str, float] = defaultdict(float)
        self.cpu_ms: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def book(self, block: str) -> Iterator[None]:
        """Book on `block` what happens inside."""
        elapsed, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu_ms[block] += (time.process_time() - cpu) * 1e3
        self.elapsed_ms[block] += (time.perf_counter() - elapsed) * 1e3

    def clear(self) -> None:
        """Forget all, for the next clip."""
        self.elapsed_ms.clear()
        self.cpu_ms.clear()

    def wrap_infer(self, infer: Infer) -> Infer:
        """Pass calls on to `infer` one by one, booked on their leaves."""

        def infer_booked(calls: Sequence[LeafCall]) -> list[Arrays | LeafFailed]:
            answers: list[Arrays | LeafFailed] = []
            for call in calls:
                with self.book(call.model.name):
                    answers += infer([call])
            return answers

        return infer_booked

    def map_frames(
        self, decode: Callable[[Any], DecodedFrame], frames: Iterable[Any]
    ) -> list[DecodedFrame]:
        """Decode `frames` one after the other, booked on the stage `decode`."""
        with self.book("decode"):
            return list(map(decode, frames))

    def split_laps(self, laps: Mapping[str, float]) -> dict[str, float]:
        """Give the stages' elapsed `laps` with each block's own time taken out, set behind it."""
        costs: dict[str, float] = {}
        for stage, lap in laps.items():
            blocks = [name for name in self.cpu_ms if _STAGE_OF.get(name, name) == stage]
            costs[stage] = lap - sum(self.elapsed_ms[name] for name in blocks)
            for name in blocks:
                costs[name] = costs.get(name, 0.0) + self.cpu_ms[name]
        return costs


def measure_repository(repository: Path, policy: Path | None, seconds: float) -> StageCosts:
    """Measure the live bundle of `repository` on standard clips for `seconds`.

    `policy` is the default one beside the repository where it is None. Raises BundleInvalid,
    PolicyInvalid and MeasurementInvalid.
    """
    return measure_stages(
        load_bundle(repository / MODERATION.name),
        load_policy(policy or locate_policy(repository)),
        LocalLeaves(repository, threads=1),
        [standard_clip(index) for index in range(_CLIPS)],
        seconds,
    )


def measure_stages(
    bundle: Bundle, policy: Policy, infer: Infer, clips: Sequence[Clip], seconds: float
) -> StageCosts:
    """Send `clips` through the pipeline in turn for `seconds`, at least eight times in all.

    `infer` should run leaves on one thread. Each clip goes through once before, unmeasured.
    Raises MeasurementInvalid where a clip is not fully scored.
    """
    meter = Meter()
    pipeline = Pipeline(
        bundle, policy, meter.wrap_infer(infer), server=_SERVER, map_frames=meter.map_frames
    )
    raws = [encode_raw(clip, f"stages-{number}") for number, clip in enumerate(clips)]
    for raw in raws:
        _measure_once(pipeline, meter, raw)
    costs: defaultdict[str, list[float]] = defaultdict(list)
    elapsed: list[float] = []
    end = time.perf_counter() + seconds
    for raw in cycle(raws):
        start = time.perf_counter()
        if len(elapsed) >= _LEAST_RUNS and start >= end:
            break
        for stage, cost in _measure_once(pipeline, meter, raw).items():
            costs[stage].append(cost)
        elapsed.append((time.perf_counter() - start) * 1e3)
    return StageCosts(
        stages={stage: median(values) for stage, values in costs.items()},
        elapsed_ms=median(elapsed),
        runs=len(elapsed),
        cores=len(os.sched_getaffinity(0)),
    )


def encode_raw(clip: Clip, request_id: str) -> RawClip:
    """Encode `clip` as the pipeline gets it from Triton."""
    return RawClip(
        context=encode_replay_context(clip, request_id),
        frames=clip.frames,
        texts=[text.encode() for text in clip.texts],
    )


def _measure_once(pipeline: Pipeline, meter: Meter, raw: RawClip) -> dict[str, float]:
    """Give the milliseconds of every stage of one clip, from bytes in to JSON out."""
    meter.clear()
    start = time.perf_counter()
    outcome = pipeline.moderate([raw])[0]
    msgspec.json.encode(outcome.verdict)
    total = (time.perf_counter() - start) * 1e3
    if outcome.verdict is None or outcome.verdict.coverage.degraded:
        raise MeasurementInvalid(
            "a clip was not fully scored, so its cost says nothing; "
            "see its coverage with: livewarden moderate --json"
        )
    laps = dict(outcome.verdict.timings_ms)
    # The verdict's own making and its JSON belong to no lap.
    laps["decide"] += total - laps.pop("total")
    return meter.split_laps(laps)

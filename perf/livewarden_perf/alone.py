"""One clip alone in one process with every core: the least latency that serving could reach."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import msgspec

from livewarden_client.wire import MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import load_policy, locate_policy
from livewarden_perf.stages import encode_raw
from livewarden_perf.standard_clip import standard_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from livewarden_ensemble.leaf_call import Arrays, Infer, LeafCall

_CLIPS: Final = 8
_LEAST_RUNS: Final = 8


def measure_alone(repository: Path, policy: Path | None, seconds: float) -> float:
    """Measure the median milliseconds of a standard clip, from bytes in to JSON out.

    Frames are decoded on all cores. Leaves have all cores one after the other, or run side by
    side; the faster way counts. Raises BundleInvalid and PolicyInvalid.
    """
    cores = len(os.sched_getaffinity(0))
    leaves = LocalLeaves(repository, threads=cores)
    with ThreadPoolExecutor(cores) as pool:

        def ask_side_by_side(calls: Sequence[LeafCall]) -> list[Arrays]:
            # One call of each leaf at a time: an executor is not for two threads.
            names = [call.model.name for call in calls]
            if len(set(names)) < len(names):
                return leaves(calls)
            return list(pool.map(lambda call: leaves([call])[0], calls))

        def map_frames(decode: Callable[[Any], Any], frames: Iterable[Any]) -> list[Any]:
            return list(pool.map(decode, frames))

        return min(
            _time_clips(repository, policy, infer, map_frames, seconds / 2)
            for infer in (leaves, ask_side_by_side)
        )


def _time_clips(
    repository: Path,
    policy: Path | None,
    infer: Infer,
    map_frames: Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]],
    seconds: float,
) -> float:
    pipeline = Pipeline(
        load_bundle(repository / MODERATION.name),
        load_policy(policy or locate_policy(repository)),
        infer,
        server="alone",
        map_frames=map_frames,
    )
    raws = [encode_raw(standard_clip(number), f"alone-{number}") for number in range(_CLIPS)]
    for raw in raws:
        pipeline.moderate([raw])
    elapsed: list[float] = []
    end = time.perf_counter() + seconds
    for raw in cycle(raws):
        start = time.perf_counter()
        if len(elapsed) >= _LEAST_RUNS and start >= end:
            break
        msgspec.json.encode(pipeline.moderate([raw])[0].verdict)
        elapsed.append((time.perf_counter() - start) * 1e3)
    return median(elapsed)

"""Replay of whole files, on all cores: each process takes the streams of its share."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.recording import read_recordings
from livewarden_ensemble.replay import Replayer, Tally, merge_tallies

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

# Less than this is replayed sooner than other processes would be up.
_SMALL_BYTES: Final = 4 * 1024 * 1024
_POLL_SECONDS: Final = 0.1
_TELL_BYTES: Final = 256 * 1024

# Of this process: how many bytes each share has read. Inherited, because it cannot be sent.
_read: Sequence[Synchronized[int]] = ()


@dataclass(frozen=True, slots=True)
class _Share:
    """What one process has to do: share number `shard` of the streams in `records`."""

    records: Path
    new: Path
    old: Path | None
    keep: int | None
    shard: int = 0
    shards: int = 1

    def replay(self, tell: Callable[[int], None]) -> Tally:
        """Replay the share; `tell` hears, now and then, how many bytes of the file are read."""
        old = load_policy(self.old) if self.old else None
        replayer = Replayer(load_policy(self.new), old, Tally(self.keep))
        told = 0

        def tell_sometimes(read: int) -> None:
            nonlocal told
            if read - told >= _TELL_BYTES:
                told = read
                tell(read)

        for line, recording in read_recordings(
            self.records, shard=self.shard, shards=self.shards, on_bytes=tell_sometimes
        ):
            replayer.take(line, recording)
        return replayer.tally


def replay_file(
    records: Path,
    new: Path,
    old: Path | None = None,
    *,
    keep: int | None = 5,
    workers: int | None = None,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> Tally:
    """Replay the recordings in `records` under the policy files `new` and `old`.

    Without `old`, the live decisions of the recordings are the old side. `keep` bounds the changes
    that are kept for each pair of actions. `workers` processes share the streams, by default one
    for each core; their number makes no difference to the result. `on_progress` hears how much is
    done, 0..1. Raises PolicyInvalid and RecordsInvalid.
    """
    size = max(records.stat().st_size, 1) if records.exists() else 1
    if workers is None:
        workers = 1 if size < _SMALL_BYTES else len(os.sched_getaffinity(0))
    if workers == 1:
        whole = _Share(records, new, old, keep)
        return merge_tallies([whole.replay(lambda read: on_progress(read / size))], keep)
    # Not fork: the caller may have threads. The shares count in shared memory.
    spawn = multiprocessing.get_context("spawn")
    counters = [spawn.Value("q", 0) for _ in range(workers)]
    with ProcessPoolExecutor(workers, spawn, _share_counters, (counters,)) as pool:
        jobs = [
            pool.submit(_replay_in_process, _Share(records, new, old, keep, shard, workers))
            for shard in range(workers)
        ]
        done: set[Future[Tally]] = set()
        while len(done) < workers and not any(job.exception() for job in done):
            done, _ = wait(jobs, _POLL_SECONDS, FIRST_EXCEPTION)
            on_progress(sum(counter.value for counter in counters) / (size * workers))
    return merge_tallies([job.result() for job in jobs], keep)


def _share_counters(counters: Sequence[Synchronized[int]]) -> None:
    global _read  # noqa: PLW0603 - how a pool hands shared memory to its processes
    _read = counters


def _replay_in_process(share: _Share) -> Tally:
    def tell(read: int) -> None:
        _read[share.shard].value = read

    return share.replay(tell)

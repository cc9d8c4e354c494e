"""Parts scored by Ray Data: on this machine, or on a cluster that reaches the same files.

The workers read recordings and media, and ask the server; only rows come back, and only the process
that started the run writes. So a worker that Ray starts twice can do no harm.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from livewarden_client.client import Client
from livewarden_export.backfill.errors import BackfillFailed
from livewarden_export.backfill.row import Row, parse_row
from livewarden_export.backfill.score import score_part
from livewarden_export.backfill.source import Part, read_part

INSTALL: Final = "pip install 'livewarden[backfill]'"
LOCAL: Final = "local"
# Rows are small and media never pass through Ray's memory.
_OBJECT_STORE_BYTES: Final = 128 * 1024**2


@dataclass(frozen=True, slots=True)
class Asking:
    """How workers ask: server(s), seconds a call, calls on their way, seconds to wait for it."""

    servers: tuple[str, ...]
    timeout_s: float
    in_flight: int
    patience_s: float


class Worker:
    """Scores parts in a process of Ray's; it holds one client for all of them."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._client = Client(asking.servers, timeout=asking.timeout_s, on_failure="raise")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Score the part that `row` describes."""
        part = Part(**row)
        asking = self._asking
        rows = score_part(read_part(part), self._client, asking.in_flight, asking.patience_s)
        return {"number": part.number, "rows": [one.to_line() for one in rows]}


def score_on_ray(
    parts: Sequence[Part], asking: Asking, workers: int, address: str = LOCAL
) -> Iterator[tuple[int, list[Row]]]:
    """Score `parts`; give the number and the rows of each as it is done, in any order.

    `address` is `local` for a Ray of this run's own, `auto` or HOST:PORT for one that runs. Raises
    BackfillFailed where Ray is not installed or does not answer.
    """
    with _open_ray(address, workers) as data:
        scored = data.from_items(
            [asdict(part) for part in parts], override_num_blocks=len(parts)
        ).map(
            Worker,
            fn_constructor_args=(asking,),
            # Workers wait for the server; they need no core of their own.
            num_cpus=0.1,
            compute=data.ActorPoolStrategy(size=min(workers, len(parts))),
        )
        for row in _watch_ray(scored.iter_rows()):
            yield (
                int(row["number"]),
                [parse_row(line, "a worker's answer") for line in row["rows"]],
            )


def _watch_ray(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give `rows`; BackfillFailed where Ray or a worker of it breaks before their end."""
    from ray.exceptions import RayError  # noqa: PLC0415 - as in _open_ray

    try:
        yield from rows
    except (RayError, ConnectionError) as error:
        # The type alone: Ray quotes what a worker was at.
        raise BackfillFailed(
            f"Ray broke off ({type(error).__name__}); what was scored is kept, run it again"
        ) from None


@contextmanager
def _open_ray(address: str, workers: int) -> Iterator[Any]:
    # Ray reads these when it is imported: no report to its makers, no log on our stderr.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray  # noqa: PLC0415 - an extra of its own, and slow to import
        from ray import data  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise BackfillFailed(
            f"a backfill runs on Ray Data, and {error.name!r} is not installed; run: {INSTALL}"
        ) from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        quiet |= {
            "num_cpus": max(2, workers),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    else:
        quiet["address"] = address
    try:
        ray.init(**quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BackfillFailed(f"{address}: no Ray answers there ({type(error).__name__})") from None
    try:
        data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield data
    finally:
        ray.shutdown()

"""Triton's own statistics of every model: how long requests waited in queues, and were computed.

The server sends itself a small canary clip every second. Computing is therefore averaged over rows
and not over requests: a clip's eight frames then weigh eight times what the canary's one does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import tritonclient.grpc as triton

from livewarden_perf.errors import MeasurementInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Sums of one model: requests and the nanoseconds they waited, executions by rows at once.

    `compute_ns` holds for each number of rows the nanoseconds of all its executions.
    """

    requests: int = 0
    queue_ns: int = 0
    executions: Mapping[int, int] = field(default_factory=dict)
    compute_ns: Mapping[int, int] = field(default_factory=dict)

    @property
    def queue_ms(self) -> float:
        """Mean milliseconds that a request waited in the model's queue."""
        return self.queue_ns / 1e6 / max(self.requests, 1)

    @property
    def compute_ms(self) -> float:
        """Mean milliseconds of the execution that a row was part of."""
        weighted = sum(ns * rows for rows, ns in self.compute_ns.items())
        return weighted / 1e6 / max(self.rows, 1)

    @property
    def rows(self) -> int:
        """Rows computed."""
        return sum(rows * count for rows, count in self.executions.items())

    @property
    def rows_per_execution(self) -> float:
        """How many rows the model saw at once, on average."""
        return self.rows / max(sum(self.executions.values()), 1)


def read_statistics(url: str) -> dict[str, ModelStatistics]:
    """Read the statistics of every model, all its versions together. MeasurementInvalid."""
    client = triton.InferenceServerClient(url)
    try:
        answer = client.get_inference_statistics(client_timeout=_TIMEOUT_S)
    except triton.InferenceServerException as error:
        raise MeasurementInvalid(f"{url} gives no statistics: {error.message()}") from None
    finally:
        client.close()
    sums: dict[str, ModelStatistics] = {}
    for model in answer.model_stats:
        batches = model.batch_stats
        here = ModelStatistics(
            requests=model.inference_stats.success.count,
            queue_ns=model.inference_stats.queue.ns,
            executions={one.batch_size: one.compute_infer.count for one in batches},
            compute_ns={one.batch_size: one.compute_infer.ns for one in batches},
        )
        sums[model.name] = _combine(sums.get(model.name, ModelStatistics()), here, 1)
    return sums


def subtract_statistics(
    after: Mapping[str, ModelStatistics], before: Mapping[str, ModelStatistics]
) -> dict[str, ModelStatistics]:
    """What every model did between two readings."""
    return {
        name: _combine(one, before.get(name, ModelStatistics()), -1) for name, one in after.items()
    }


def _combine(one: ModelStatistics, other: ModelStatistics, sign: int) -> ModelStatistics:
    return ModelStatistics(
        requests=one.requests + sign * other.requests,
        queue_ns=one.queue_ns + sign * other.queue_ns,
        executions=_combine_counts(one.executions, other.executions, sign),
        compute_ns=_combine_counts(one.compute_ns, other.compute_ns, sign),
    )


def _combine_counts(one: Mapping[int, int], other: Mapping[int, int], sign: int) -> dict[int, int]:
    sums = Counter(one)
    for rows, count in other.items():
        sums[rows] += sign * count
    return {rows: count for rows, count in sums.items() if count}

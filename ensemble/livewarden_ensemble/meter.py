"""The meter: the table's metrics as objects of Triton, and the bound on how many there are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from livewarden_ensemble.metric import OTHER, PIPELINE, Metric, Series, Tally

# Series of one metric with an open label: bundles that were live long ago go first.
MOST_OPEN: Final = 64


class Meter:
    """Counts for Prometheus with `make_family`, which is Triton's `pb_utils.MetricFamily`.

    Series whose labels are listed exist from the start, at 0: a first failure is then an increase,
    which Prometheus cannot see in a series that begins with it. Safe to use from several threads.
    """

    def __init__(
        self, make_family: Callable[..., Any], table: Mapping[str, Metric] = PIPELINE
    ) -> None:
        self._table = table
        self._lock = threading.Lock()
        # A family takes its metrics with it when it is collected.
        self._families = {
            name: make_family(
                name=name, description=metric.help, kind=getattr(make_family, metric.kind.upper())
            )
            for name, metric in table.items()
        }
        self._series: dict[str, OrderedDict[tuple[str, ...], Any]] = {
            name: OrderedDict() for name in table
        }
        for name, metric in table.items():
            if not metric.is_open:
                for values in metric.list_series():
                    self._find((name, *values))

    def push(self, tally: Tally) -> None:
        """Add what a tally holds: one message to tritonserver per series, about 25 µs each."""
        with self._lock:
            for series, count in tally.counts.items():
                self._find(series).increment(count)
            for series, value in tally.observed:
                self._find(series).observe(value)

    def add(self, *series: str, count: float = 1) -> None:
        """Add to one counter: its name, then the values of its labels."""
        with self._lock:
            self._find(series).increment(count)

    def set(self, value: float, *series: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._find(series).set(value)

    def point(self, name: str, *sets: tuple[str, ...]) -> None:
        """Set a gauge to 1 for these values of its labels, and let go of all others."""
        with self._lock:
            for values in self._series[name].keys() - set(sets):
                # To 0 first: another process may hold the same series, and keep it.
                self._series[name].pop(values).set(0)
            for values in sets:
                self._find((name, *values)).set(1)

    def count_series(self) -> int:
        """How many series there are; a histogram counts as one."""
        return sum(map(len, self._series.values()))

    def _find(self, series: Series) -> Any:
        name, *given = series
        metric, held = self._table[name], self._series[name]
        values = tuple(
            value if not allowed or value in allowed else OTHER
            for value, allowed in zip(given, metric.labels.values(), strict=True)
        )
        if values not in held:
            labels = dict(zip(metric.labels, values, strict=True))
            buckets = {"buckets": list(metric.buckets)} if metric.buckets else {}
            held[values] = self._families[name].Metric(labels=labels, **buckets)
            while metric.is_open and len(held) > MOST_OPEN:
                held.popitem(last=False)
        elif metric.is_open:
            held.move_to_end(values)
        return held[values]

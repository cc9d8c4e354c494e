"""`perf memory`: resident size of every process of a server, over time, under load."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import psutil

from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.load import describe_summary, warn_of
from livewarden_perf.section import Chart, Section, Table, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from livewarden_perf.samples import Summary

_MB: Final = 1e6
_SHARED: Final = "/dev/shm/"  # noqa: S108 - where shared memory is, not a file of ours
_STUB: Final = "triton_python_backend_stub"
_BLOCK: Final = 512
_HOUR_S: Final = 3600.0
_LEAST_SAMPLES: Final = 4
SHARED_MEMORY: Final = "shared memory"
PRIVATE: Final = "private, all together"


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth in MB per hour, and its standard error, by least squares."""

    mb_per_hour: float
    error: float


class MemoryWatch:
    """Samples process `pid` and all below it every `interval_s`, while the block runs."""

    def __init__(self, pid: int, interval_s: float) -> None:
        self._root = _find_process(pid)
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.times: list[float] = []
        self.sizes: list[dict[str, float]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        start = time.monotonic()
        while True:
            self.times.append(time.monotonic() - start)
            self.sizes.append(measure_tree(self._root))
            if self._stop.wait(self._interval_s):
                return


def measure_tree(root: psutil.Process) -> dict[str, float]:
    """Measure `root` and all below it, in MB: resident size by name, and what they hold together.

    PRIVATE is the sum without pages that others may map as well (libraries, model files, shared
    memory); SHARED_MEMORY counts each file in /dev/shm that any of them maps once.
    """
    sizes: dict[str, float] = {}
    shared: dict[str, int] = {}
    private = 0.0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return sizes
    for process in processes:
        try:
            memory = process.memory_info()
            name = _name_process(process)
            shared |= _list_shared(process.pid)
        except psutil.Error:  # it ended just now
            continue
        name = f"{name} ({process.pid})" if name in sizes else name
        sizes[name] = memory.rss / _MB
        private += (memory.rss - memory.shared) / _MB
    sizes[PRIVATE] = private
    sizes[SHARED_MEMORY] = sum(shared.values()) / _MB
    return sizes


def fit_slope(seconds: Sequence[float], sizes: Sequence[float]) -> Slope:
    """Fit the growth of `sizes` (MB at `seconds`), at least four of them."""
    if len(sizes) < _LEAST_SAMPLES:
        raise MeasurementInvalid(
            f"{len(sizes)} samples of memory are too few for a slope; measure longer"
        )
    hours = np.asarray(seconds, np.float64) / _HOUR_S
    values = np.asarray(sizes, np.float64)
    slope, start = np.polyfit(hours, values, 1)
    rest = values - (slope * hours + start)
    spread = float(((hours - hours.mean()) ** 2).sum())
    error = float(np.sqrt((rest**2).sum() / (len(values) - 2) / spread))
    return Slope(float(slope), error)


def make_memory_section(
    times: Sequence[float],
    sizes: Sequence[Mapping[str, float]],
    summary: Summary,
    warm_up_s: float,
    bound: float | None,
) -> tuple[Section, bool]:
    """Make the section, with slopes after `warm_up_s`; tell whether all grew above `bound`."""
    kept = [number for number, second in enumerate(times) if second >= warm_up_s]
    # A process that ended, or came later, has no slope.
    names = [name for name in sizes[0] if all(name in sizes[number] for number in kept)]
    series = {name: [sample.get(name) for sample in sizes] for name in names}
    slopes = {
        name: fit_slope([times[n] for n in kept], [sizes[n][name] for n in kept]) for name in names
    }
    total = slopes[PRIVATE]
    too_much = bound is not None and total.mb_per_hour - total.error > bound
    minutes = times[-1] / 60
    rows = tuple(
        (
            name,
            show(sizes[kept[0]][name]),
            show(sizes[-1][name]),
            show(max(sizes[number][name] for number in kept)),
            f"{slopes[name].mb_per_hour:+.1f} ± {slopes[name].error:.1f}",
        )
        for name in names
    )
    section = Section(
        name="memory",
        title=f"Memory over {minutes:.1f} minutes at {summary.offered_per_second:.1f} clips/s",
        headline=f"All processes: {show(sizes[-1][PRIVATE])} MB of their own at the end, "
        f"growing by {total.mb_per_hour:+.1f} ± {total.error:.1f} MB/h; shared memory "
        f"{show(sizes[-1][SHARED_MEMORY])} MB.",
        tables=(Table(("process", "MB, warm", "MB, end", "MB, most", "MB/h"), rows),),
        charts=(
            Chart(
                "lines",
                "Resident memory of each process, and what all hold",
                "minutes",
                "MB",
                tuple(second / 60 for second in times),
                series,
            ),
        ),
        data={
            "seconds": list(times),
            "mb": series,
            "warm_up_s": warm_up_s,
            "bound_mb_per_hour": bound,
            "slopes_mb_per_hour": {
                name: {"slope": slope.mb_per_hour, "error": slope.error}
                for name, slope in slopes.items()
            },
            "load": describe_summary(summary),
        },
        figures={
            "memory of all processes (private), shared memory": f"{show(sizes[-1][PRIVATE])}, "
            f"{show(sizes[-1][SHARED_MEMORY])} MB",
            f"its growth over {minutes:.1f} minutes": f"{total.mb_per_hour:+.1f} ± "
            f"{total.error:.1f} MB/h",
        },
        notes=("± is one standard error. A short run says little of a slope.",),
        warnings=(
            *warn_of(summary),
            *([f"Memory grows by more than {bound:g} MB/h."] if too_much else []),
        ),
    )
    return section, too_much


def _find_process(pid: int) -> psutil.Process:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        raise MeasurementInvalid(f"there is no process {pid} on this machine") from None


def _name_process(process: psutil.Process) -> str:
    command = process.cmdline()
    if command and command[0].endswith(_STUB) and len(command) > 1:
        # The last two arguments are the model instance's name and a directory setting.
        return command[-2]
    return process.name()


def _list_shared(pid: int) -> dict[str, int]:
    """The bytes in use of each file in shared memory that process `pid` maps."""
    found: dict[str, int] = {}
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        path = line[line.find("/") :] if "/" in line else ""
        if path.startswith(_SHARED) and path not in found:
            try:
                found[path] = Path(path).stat().st_blocks * _BLOCK
            except OSError:  # deleted, and gone with its last user
                continue
    return found

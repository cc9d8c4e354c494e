"""The measurements that a session can make, each as the section of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from livewarden_perf.clip_mix import ClipStock
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.growth import AXES, Point, make_growth_section
from livewarden_perf.load import make_curve_section
from livewarden_perf.memory import MemoryWatch, make_memory_section
from livewarden_perf.overload import Phases, make_overload_section
from livewarden_perf.profile import make_profile_section
from livewarden_perf.schedule import draw_poisson
from livewarden_perf.server_statistics import read_statistics, subtract_statistics
from livewarden_perf.slo import find_highest_rate, make_slo_section
from livewarden_perf.standard_clip import sized_clip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from livewarden_perf.samples import Summary
    from livewarden_perf.section import Section
    from livewarden_perf.served import Answer
    from livewarden_perf.session import Session
    from livewarden_perf.slo import Objective

# Fewer clips than usual: 32 frames of one are 3 MB.
_SIZED_DISTINCT: Final = 8
_TEXTS_BESIDE_FRAMES: Final = 3
_FRAMES_BESIDE_TEXTS: Final = 1
_WARM_UP_SHARE: Final = 0.2
_CLIPS_A_STREAM: Final = 2


def measure_curve(session: Session, rates: Iterable[float], seconds: float) -> Section:
    """Measure latency against rate: an open-loop run of `seconds` for each of `rates`."""
    runs = [session.load_rate(rate, seconds).summarise() for rate in rates]
    return make_curve_section(runs, session.overhead, "standard clips, poisson")


def measure_slo(
    session: Session,
    objective: Objective,
    start: float,
    seconds: float,
    stock: ClipStock | None = None,
) -> tuple[Section, float]:
    """Search the highest rate that holds `objective`; also give it, 0 where none does."""
    runs: list[tuple[float, Summary]] = []

    def attempt(rate: float, duration: float) -> bool:
        runs.append((rate, session.load_rate(rate, duration, stock=stock).summarise()))
        return objective.holds(runs[-1][1])

    search = find_highest_rate(
        lambda rate: attempt(rate, seconds), lambda rate: attempt(rate, 2 * seconds), start
    )
    return make_slo_section(objective, search, runs, seconds), search.rate


def measure_profile(
    session: Session, rate: float, seconds: float, stock: ClipStock | None = None
) -> Section:
    """Measure where a request's time goes at `rate`."""
    timings: list[Mapping[str, float]] = []

    def keep(answer: Answer) -> None:
        timings.append(answer.timings_ms)

    due = draw_poisson(rate, seconds)
    if not len(due):
        raise MeasurementInvalid(f"no clip is due in {seconds:g} s at {rate:g} clips/s")
    session.announce(f"Profiling at {rate:.2f} clips/s for {seconds:g} s")
    before = read_statistics(session.url)
    samples = session.load(due, seconds, stock=stock, on_answer=keep)
    models = subtract_statistics(read_statistics(session.url), before)
    return make_profile_section(samples, timings, models, f"{rate:g} clips/s")


def measure_overload(
    session: Session,
    seconds: float,
    timeout_s: float,
    callers: int,
    peak: float | None = None,
) -> Section:
    """Flood the server for `seconds`; `peak` is measured with `callers` where it is None."""
    if peak is None:
        peak = session.saturate(callers, seconds / 2).summarise().clips_per_second
    if not peak:
        raise MeasurementInvalid("no clip came back in full, so there is no peak to exceed")
    phases = Phases(peak, before_s=seconds / 2, flood_s=seconds, after_s=seconds)
    session.announce(f"Flooding at three times {peak:.1f} clips/s for {seconds:g} s")
    samples = session.load(phases.draw(), phases.seconds, timeout_s=timeout_s)
    return make_overload_section(samples, phases, session.overhead, timeout_s)


def measure_growth(
    session: Session,
    axes: Sequence[str],
    most: int,
    seconds: float,
    callers: int,
    rate: float,
) -> Section:
    """Measure each of `axes` at its sizes up to `most`, two runs of `seconds` a size."""
    points: dict[str, list[Point]] = {}
    for axis in axes:
        points[axis] = []
        for size in (size for size in AXES[axis] if size <= most):
            session.announce(f"{size} {axis}")
            point = _measure_size(session, axis, size, seconds, callers, rate)
            if not (point.alone.ok and point.busy.ok):
                raise MeasurementInvalid(f"no clip came back in full with {size} {axis}")
            points[axis].append(point)
    return make_growth_section(points, callers, rate)


def measure_memory(
    session: Session,
    rate: float,
    seconds: float,
    interval_s: float,
    bound: float | None = None,
    pid: int | None = None,
) -> tuple[Section, bool]:
    """Watch the server's memory at `rate` for `seconds`; tell whether it grows above `bound`."""
    root = pid or session.pid
    if root is None:
        raise MeasurementInvalid("which processes are the server's? Name tritonserver with --pid")
    due = draw_poisson(rate, seconds)
    session.get_stock()
    session.announce(f"Watching memory at {rate:g} clips/s for {seconds / 60:g} min")
    with MemoryWatch(root, interval_s) as watch:
        summary = session.load(due, seconds).summarise()
    return make_memory_section(watch.times, watch.sizes, summary, _WARM_UP_SHARE * seconds, bound)


def _measure_size(
    session: Session, axis: str, size: int, seconds: float, callers: int, rate: float
) -> Point:
    if axis == "streams":
        # Long enough for each stream to send a token back.
        seconds = max(seconds, _CLIPS_A_STREAM * size / rate)
        due = draw_poisson(rate, seconds)
        run = session.load(due, seconds, streams=size).summarise()
        return Point(size, run, run)
    frames, texts = (
        (size, _TEXTS_BESIDE_FRAMES) if axis == "frames" else (_FRAMES_BESIDE_TEXTS, size)
    )
    stock = ClipStock.of_one_shape(
        lambda index: sized_clip(index, frames, texts), min(_SIZED_DISTINCT, session.distinct)
    )
    session.saturate(callers, seconds / 4, stock=stock)  # other sizes, other batch shapes
    alone = session.saturate(1, seconds, stock=stock)
    return Point(
        size, alone.summarise(), session.saturate(callers, seconds, stock=stock).summarise()
    )

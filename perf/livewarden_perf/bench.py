"""`perf bench`: the standard set, one server after the other's stage costs, within ten minutes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from livewarden_perf.closed_loop import run_sweep
from livewarden_perf.measurement import (
    measure_curve,
    measure_growth,
    measure_memory,
    measure_overload,
    measure_profile,
    measure_slo,
)
from livewarden_perf.report import describe_stages
from livewarden_perf.section import Chart, Section, Table, show
from livewarden_perf.slo import Objective
from livewarden_perf.sweep import make_run_section

if TYPE_CHECKING:
    from livewarden_perf.analyzer import Analyzer
    from livewarden_perf.session import Session
    from livewarden_perf.stages import StageCosts

# Seconds of the whole set, by part; together under ten minutes with start, warm-up and clips.
STAGES_S: Final = 8.0
_SWEEP_S: Final = 9.0
# perf_analyzer gives no figures where a window, a third of it, is shorter than a request.
_SWEEP_LEAST_S: Final = 9.0
_CALLERS: Final = (1, 4, 8)
_CURVE_S: Final = 20.0
_CURVE: Final = (0.3, 0.5, 0.7, 0.85, 0.95)
_SLO_S: Final = 8.0
_SLO_TIMES_ALONE: Final = 5.0
_PROFILE_S: Final = 12.0
_OVERLOAD_S: Final = 14.0
_OVERLOAD_TIMEOUT_S: Final = 5.0
_GROWTH_S: Final = 2.0
_GROWTH_MOST: Final = 16
_MEMORY_S: Final = 45.0
_DISTURBED: Final = "Other programs used the machine: what a server delivers now is too low."


def make_stages_section(costs: StageCosts) -> Section:
    """Make the section of the stage costs on one thread."""
    return Section(
        name="stages",
        title="One standard clip on one thread",
        headline=f"A clip costs {costs.total_ms:.1f} ms of one core; {costs.cores} cores could do "
        f"{costs.limit:.1f} clips/s.",
        tables=(
            Table(
                ("stage", "ms", "share"),
                tuple(
                    (stage, show(ms), f"{ms / costs.total_ms:.1%}")
                    for stage, ms in costs.stages.items()
                ),
            ),
        ),
        charts=(
            Chart(
                "stack",
                "One clip on one thread",
                "",
                "ms",
                ("clip",),
                {stage: [ms] for stage, ms in costs.stages.items()},
            ),
        ),
        data=describe_stages(costs),
        figures={
            "one standard clip on one thread": f"{costs.total_ms:.1f} ms",
            f"machine limit, {costs.cores} cores": f"{costs.limit:.1f} clips/s",
        },
        warnings=(_DISTURBED,) if costs.disturbed else (),
    )


def run_bench(
    session: Session,
    analyzer: Analyzer,
    costs: StageCosts,
    best_ms: float,
    scale: float = 1.0,
) -> list[Section]:
    """Run the standard set, each part `scale` times as long as usual.

    `best_ms` is what one clip takes alone in one process with every core.
    """
    stock = session.get_stock()
    clips = [stock.get(number) for number in range(session.distinct)]
    results = run_sweep(
        analyzer,
        session.url,
        clips,
        concurrencies=_CALLERS,
        rates=(),
        seconds=max(_SWEEP_LEAST_S, _SWEEP_S * scale),
        on_step=session.announce,
    )
    peak = max(one.clips_per_second for one in results)
    alone_ms = results[0].p50_ms
    sweep = make_run_section(results, analyzer.version, costs.limit)
    sweep = replace(
        sweep,
        figures={
            **sweep.figures,
            "a standard clip alone, p50": f"{alone_ms:.0f} ms",
            "the same in one process with every core": f"{best_ms:.0f} ms",
            "their ratio": f"{alone_ms / best_ms:.2f}",
        },
    )
    if costs.disturbed:
        sweep = replace(sweep, warnings=(_DISTURBED,))
    objective = Objective(round(_SLO_TIMES_ALONE * alone_ms))
    return [
        make_stages_section(costs),
        sweep,
        measure_curve(session, [share * peak for share in _CURVE], _CURVE_S * scale),
        measure_slo(session, objective, peak / 2, _SLO_S * scale)[0],
        measure_profile(session, 0.7 * peak, _PROFILE_S * scale),
        measure_overload(session, _OVERLOAD_S * scale, _OVERLOAD_TIMEOUT_S, max(_CALLERS), peak),
        measure_growth(
            session,
            ("frames", "texts", "streams"),
            _GROWTH_MOST,
            _GROWTH_S * scale,
            max(_CALLERS),
            peak / 2,
        ),
        measure_memory(session, peak / 2, _MEMORY_S * scale, _MEMORY_S * scale / 40)[0],
    ]

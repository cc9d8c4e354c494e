"""`livewarden perf bench`: the standard set of measurements, and its report."""

from __future__ import annotations

from pathlib import Path

import click

from livewarden_perf.cli_option import (
    REPOSITORY,
    distinct_option,
    policy_option,
    repository_option,
    show_progress,
)


@click.command()
@repository_option
@policy_option
@distinct_option
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports"),
    show_default=True,
    help="Folder of report.md, report.json and report.html.",
)
@click.option(
    "--scale",
    type=click.FloatRange(min=0.01),
    default=1.0,
    show_default=True,
    help="How long each part takes, as a multiple of the usual time.",
)
def bench(
    *, repository: Path | None, policy: Path | None, distinct: int, output: Path, scale: float
) -> None:
    """Run the standard set within ten minutes, write its report, print the README's table.

    Stage costs, perf_analyzer, latency against rate, the highest rate that holds, a profile,
    overload, growth and memory, all on one server.

    \b
    Example:
      livewarden perf bench
      livewarden perf bench --scale 3 --output reports/long
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.alone import measure_alone
    from livewarden_perf.analyzer import find_analyzer
    from livewarden_perf.bench import STAGES_S, run_bench
    from livewarden_perf.report_file import Report, render_figures, write_report
    from livewarden_perf.session import open_session
    from livewarden_perf.stages import measure_repository

    home = repository or REPOSITORY
    with show_progress() as announce:
        analyzer = find_analyzer(announce=announce)
        announce("Measuring the stages on one thread")
        costs = measure_repository(home, policy, STAGES_S * scale)
        announce("Measuring one clip alone with every core")
        best_ms = measure_alone(home, policy, STAGES_S * scale)
        with open_session(None, home, policy, announce, distinct=distinct) as session:
            sections = run_bench(session, analyzer, costs, best_ms, scale)
        report = Report("livewarden perf bench", session.machine, tuple(sections))
        paths = write_report(report, output)
    for section in sections:
        for warning in section.warnings:
            click.echo(f"Warning, {section.name}: {warning}", err=True)
    for path in paths:
        click.echo(f"Written: {path}", err=True)
    click.echo(render_figures(report))

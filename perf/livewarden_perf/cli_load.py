"""`livewarden perf run | load | slo`: load of every kind on one server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livewarden_perf.cli_option import (
    Milliseconds,
    give_result,
    mix_option,
    open_cli_session,
    rate_option,
    seconds_option,
    session_options,
    show_progress,
    timeout_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command()
@session_options
@click.option("--concurrency", default="", metavar="RANGE", help="Callers: 4, 1,2,8 or 1:16:5.")
@click.option("--rate", "rates", default="", metavar="RANGE", help="Clips/s: 4, 2,4 or 2:10:2.")
@mix_option
@seconds_option(8.0, "How long to measure each level, after one warm-up.")
def run(*, concurrency: str, rates: str, mix: str, seconds: float, **options: Any) -> None:
    """Load the server with the real perf_analyzer, over ranges of callers and of rates.

    Without a range: 1, 4 and 8 callers. Where it starts the server itself, it measures the
    machine limit as well.

    \b
    Example:
      livewarden perf run
      livewarden perf run --concurrency 1:16:5 --rate 2:10:2 --output reports
      livewarden perf run --url 127.0.0.1:8001 --rate 5 --mix standard:8,one-frame:2
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.analyzer import find_analyzer
    from livewarden_perf.clip_mix import parse_mix
    from livewarden_perf.closed_loop import run_sweep
    from livewarden_perf.sweep import make_run_section, parse_range

    with show_progress() as announce:
        callers = [int(value) for value in parse_range(concurrency)]
        asked = parse_range(rates)
        stock_mix = parse_mix(mix)
        analyzer = find_analyzer(announce=announce)
        limit = _measure_limit(options, announce) if mix == "standard" else None
        with open_cli_session(options, announce) as session:
            stock = session.get_stock(stock_mix)
            results = run_sweep(
                analyzer,
                session.url,
                [stock.get(number) for number in range(session.distinct)],
                concurrencies=callers if callers or asked else [1, 4, 8],
                rates=asked,
                seconds=seconds,
                on_step=announce,
            )
        section = make_run_section(results, analyzer.version, limit)
    give_result(section, session.machine, as_json=options["as_json"], output=options["output"])


@click.command()
@session_options
@rate_option(4.0)
@seconds_option(20.0, "How long clips come.")
@click.option(
    "--schedule",
    type=click.Choice(["poisson", "steady", "burst"]),
    default="poisson",
    show_default=True,
    help="When clips are due: independently, evenly, or four times as fast a quarter of the time.",
)
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of due times, one number of seconds a line, in place of --rate and --schedule.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How many times faster to play the recorded times.",
)
@click.option(
    "--streams",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Streams; each one's clips go in order with their state token. 0: every clip by itself.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@mix_option
@timeout_option
def load(
    *,
    rate: float,
    seconds: float,
    schedule: str,
    recorded: Path | None,
    speed: float,
    streams: int,
    seed: int,
    mix: str,
    timeout: float,
    **options: Any,
) -> None:
    """Send clips when they are due, however the server fares, and count from the due time.

    \b
    Example:
      livewarden perf load --rate 6
      livewarden perf load --rate 6 --schedule burst --streams 50 --seconds 60
      livewarden perf load --recorded arrivals.txt --speed 2 --mix standard:7,text-only:3
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.clip_mix import parse_mix
    from livewarden_perf.load import make_load_section
    from livewarden_perf.schedule import draw_schedule, read_recording

    with show_progress() as announce:
        stock_mix = parse_mix(mix)
        if recorded is not None:
            due = read_recording(recorded, speed)
            seconds, kind = max(float(due[-1]), 1.0), f"recorded in {recorded.name}"
        else:
            due, kind = draw_schedule(schedule, rate, seconds, seed), schedule
        with open_cli_session(options, announce) as session:
            stock = session.get_stock(stock_mix)
            announce(f"Sending {len(due)} clips in {seconds:g} s")
            samples = session.load(due, seconds, stock=stock, streams=streams, timeout_s=timeout)
        what = f"{mix}, {kind}" + (f", {streams} streams" if streams else "")
        section = make_load_section(samples, session.overhead, what)
    give_result(section, session.machine, as_json=options["as_json"], output=options["output"])


@click.command()
@session_options
@click.option(
    "--p99",
    type=Milliseconds(),
    default="500ms",
    show_default=True,
    help="What 99 of 100 clips must keep, from due to verdict: 150ms, 0.5s.",
)
@click.option(
    "--errors",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of clips that may come back without a full verdict.",
)
@click.option(
    "--start",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="The first rate to try, clips/s.",
)
@seconds_option(10.0, "How long to try each rate; the result is confirmed for twice as long.")
@mix_option
def slo(
    *, p99: float, errors: float, start: float, seconds: float, mix: str, **options: Any
) -> None:
    """Find the highest rate that holds an objective over the whole way of a clip.

    Rates double until one fails; the gap is then halved until it is below 5 %, and the result must
    hold once more. Exit code 1 where no rate holds.

    \b
    Example:
      livewarden perf slo --p99 150ms
      livewarden perf slo --p99 0.5s --errors 0.001 --start 5 --seconds 30
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.clip_mix import parse_mix
    from livewarden_perf.measurement import measure_slo
    from livewarden_perf.slo import Objective

    with show_progress() as announce:
        stock_mix = parse_mix(mix)
        with open_cli_session(options, announce) as session:
            stock = session.get_stock(stock_mix)
            section, rate = measure_slo(session, Objective(p99, errors), start, seconds, stock)
    give_result(section, session.machine, as_json=options["as_json"], output=options["output"])
    if not rate:
        raise click.exceptions.Exit(1)


def _measure_limit(options: dict[str, Any], announce: Callable[[str], None]) -> float | None:
    """Measure the machine limit of the repository that is going to be served."""
    from livewarden_perf.cli_option import REPOSITORY
    from livewarden_perf.stages import measure_repository

    if options["url"] is not None:
        return None
    announce("Measuring the stages on one thread")
    return measure_repository(options["repository"] or REPOSITORY, options["policy"], 3.0).limit

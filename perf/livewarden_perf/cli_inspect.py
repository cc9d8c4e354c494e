"""`livewarden perf profile | overload | growth | memory`: how a server behaves, and why."""

from __future__ import annotations

from typing import Any

import click

from livewarden_perf.cli_option import (
    callers_option,
    give_result,
    mix_option,
    open_cli_session,
    rate_option,
    seconds_option,
    session_options,
    show_progress,
)

# The server's own clips would be in Triton's statistics.
_RARE_CANARY_S = 60.0
_AXES = ("frames", "texts", "streams")


@click.command()
@session_options
@rate_option(2.0)
@seconds_option(15.0, "How long clips come.")
@mix_option
def profile(*, rate: float, seconds: float, mix: str, **options: Any) -> None:
    """Show where the time of a request goes, stage by stage, queues apart from computing.

    \b
    Example:
      livewarden perf profile
      livewarden perf profile --rate 8 --output reports
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.clip_mix import parse_mix
    from livewarden_perf.measurement import measure_profile

    with show_progress() as announce:
        stock_mix = parse_mix(mix)
        with open_cli_session(options, announce, _RARE_CANARY_S) as session:
            stock = session.get_stock(stock_mix)
            section = measure_profile(session, rate, seconds, stock)
    give_result(section, session.machine, as_json=options["as_json"], output=options["output"])


@click.command()
@session_options
@click.option(
    "--peak",
    type=click.FloatRange(min=0, min_open=True),
    help="The peak in clips/s; else it is measured with --callers.",
)
@callers_option
@seconds_option(20.0, "How long the flood lasts.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds that a caller gives each clip; the server knows them as its deadline.",
)
def overload(
    *, peak: float | None, callers: int, seconds: float, timeout: float, **options: Any
) -> None:
    """Send three times the peak, then half of it: goodput, refusals, recovery.

    \b
    Example:
      livewarden perf overload
      livewarden perf overload --peak 12 --seconds 30 --timeout 1
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.measurement import measure_overload

    with show_progress() as announce, open_cli_session(options, announce) as session:
        section = measure_overload(session, seconds, timeout, callers, peak)
    give_result(section, session.machine, as_json=options["as_json"], output=options["output"])


@click.command()
@session_options
@click.option(
    "--axis",
    "axes",
    type=click.Choice(_AXES),
    multiple=True,
    default=_AXES,
    show_default=True,
    help="What grows; may be given several times.",
)
@click.option(
    "--most",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="The largest size, of 1, 2, 4, 8, 16, 32.",
)
@seconds_option(4.0, "How long each of the two runs at a size lasts.")
@callers_option
@rate_option(4.0)
def growth(
    *,
    axes: tuple[str, ...],
    most: int,
    seconds: float,
    callers: int,
    rate: float,
    **options: Any,
) -> None:
    """Measure latency and throughput against frames, texts and streams, with a line through each.

    --rate is the load in clips/s, all streams together, for the axis `streams`.

    \b
    Example:
      livewarden perf growth
      livewarden perf growth --axis frames --most 8 --seconds 10
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.measurement import measure_growth

    with show_progress() as announce, open_cli_session(options, announce) as session:
        section = measure_growth(session, tuple(dict.fromkeys(axes)), most, seconds, callers, rate)
    give_result(section, session.machine, as_json=options["as_json"], output=options["output"])


@click.command()
@session_options
@rate_option(4.0)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="How long to watch; the first fifth counts as warm-up.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.05),
    default=5.0,
    show_default=True,
    help="Seconds between two samples.",
)
@click.option(
    "--bound",
    type=float,
    help="MB per hour; exit code 1 where memory grows by more, by over one standard error.",
)
@click.option("--pid", type=click.IntRange(min=1), help="With --url: tritonserver's process.")
def memory(
    *,
    rate: float,
    minutes: float,
    interval: float,
    bound: float | None,
    pid: int | None,
    **options: Any,
) -> None:
    """Watch the memory of every server process under load: size, growth, shared memory.

    \b
    Example:
      livewarden perf memory --rate 5 --minutes 30 --bound 5
      livewarden perf memory --url 127.0.0.1:8001 --pid 4711 --minutes 2 --interval 1
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.measurement import measure_memory

    with show_progress() as announce, open_cli_session(options, announce) as session:
        section, too_much = measure_memory(session, rate, minutes * 60, interval, bound, pid)
    give_result(section, session.machine, as_json=options["as_json"], output=options["output"])
    if too_much:
        raise click.exceptions.Exit(1)

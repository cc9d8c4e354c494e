"""`livewarden perf compare`: two servers, repositories or bundles against each other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from livewarden_perf.cli_option import (
    callers_option,
    distinct_option,
    give_result,
    json_option,
    mix_option,
    output_option,
    policy_option,
    seconds_option,
    show_progress,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_perf.samples import Summary
    from livewarden_perf.session import Session


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Compare p50 and p99 at so many clips/s; else throughput with --callers.",
)
@callers_option
@click.option(
    "--pairs", type=click.IntRange(6, 1000), default=8, show_default=True, help="Pairs of runs."
)
@seconds_option(5.0, "How long each run lasts.")
@click.option(
    "--bound",
    type=click.FloatRange(min=0),
    default=0.05,
    show_default=True,
    help="How much worse B may be: 0.05 is 5 %.",
)
@mix_option
@policy_option
@distinct_option
@json_option
@output_option
def compare(
    *,
    a: str,
    b: str,
    rate: float | None,
    callers: int,
    pairs: int,
    seconds: float,
    bound: float,
    mix: str,
    policy: Path | None,
    distinct: int,
    as_json: bool,
    output: Path | None,
) -> None:
    """Load A and B in turns and tell whether B is worse; exit code 1 if it is.

    A and B are each HOST:PORT, or a model repository to serve; #DIGEST behind it asks for a bundle
    that its pointer names. B is a regression where its median is worse by more than --bound and the
    95 % interval excludes "the same".

    \b
    Example:
      livewarden perf compare 127.0.0.1:8001 127.0.0.1:9001 --rate 5
      livewarden perf compare old/model_repository model_repository --bound 0.03 --pairs 12
      livewarden perf compare model_repository 'model_repository#sha256:4f0c...'
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.clip_mix import parse_mix
    from livewarden_perf.compare import make_compare_section, run_pairs
    from livewarden_perf.schedule import draw_schedule

    with show_progress() as announce, ExitStack() as stack:
        stock_mix = parse_mix(mix)
        first = _open(a, policy, distinct, announce, stack, None)
        second = _open(b, policy, distinct, announce, stack, (a, first))
        stock = first.get_stock(stock_mix)

        def make_load(session: Session) -> Callable[[], Summary]:
            if rate is None:
                return lambda: session.saturate(callers, seconds, stock=stock).summarise()
            due = draw_schedule("poisson", rate, seconds)
            return lambda: session.load(due, seconds, stock=stock).summarise()

        runs = run_pairs(
            make_load(first),
            make_load(second),
            pairs,
            lambda number: announce(f"Pair {number} of {pairs}"),
        )
        metrics = ["clips/s"] if rate is None else ["p50 ms", "p99 ms"]
        section, regressed = make_compare_section((a, b), runs, metrics, bound)
        machine = {name: value for name, value in first.machine.items() if name not in _SIDE}
        for side, session in (("A", first), ("B", second)):
            machine |= {f"{side}: {name}": session.machine[name] for name in _SIDE}
    give_result(section, machine, as_json=as_json, output=output)
    if regressed:
        raise click.exceptions.Exit(1)


_SIDE = ("server", "bundle", "policy")


def _open(
    side: str,
    policy: Path | None,
    distinct: int,
    announce: Any,
    stack: ExitStack,
    other: tuple[str, Session] | None,
) -> Session:
    """Open one side; two bundles of one repository share its server."""
    from livewarden_perf.session import open_session

    place, _, bundle = side.partition("#")
    folder = Path(place)
    url = None if folder.is_dir() else place
    if url is not None and ":" not in url:
        raise click.UsageError(f"{place!r} is neither a model repository nor HOST:PORT")
    if other is not None and other[0].partition("#")[0] == place:
        url = other[1].url
    return stack.enter_context(
        open_session(url, folder, policy, announce, distinct=distinct, bundle=bundle)
    )

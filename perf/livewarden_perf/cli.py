"""The command `livewarden perf`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console

from livewarden_perf.cli_baselines import baselines
from livewarden_perf.cli_bench import bench
from livewarden_perf.cli_capacity import capacity
from livewarden_perf.cli_compare import compare
from livewarden_perf.cli_inspect import growth, memory, overload, profile
from livewarden_perf.cli_load import load, run, slo
from livewarden_perf.cli_option import (
    REPOSITORY,
    json_option,
    policy_option,
    repository_option,
    show_progress,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_perf.stages import StageCosts

_STAGE_SECONDS: Final = 5.0


@click.group()
def perf() -> None:
    """Measure what a clip costs and what a server delivers.

    \b
    Example:
      livewarden perf stages
      livewarden perf load --rate 6 --seconds 30
      livewarden perf slo --p99 500ms
      livewarden perf bench
    """  # noqa: D301 - the \b is click's mark for "do not wrap"


for _command in (
    baselines,
    run,
    load,
    slo,
    compare,
    profile,
    overload,
    growth,
    memory,
    bench,
    capacity,
):
    perf.add_command(_command)


@perf.command()
@repository_option
@policy_option
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=_STAGE_SECONDS,
    show_default=True,
    help="How long to measure.",
)
@json_option
def stages(*, repository: Path | None, policy: Path | None, seconds: float, as_json: bool) -> None:
    """Measure every stage of a clip on one thread, and the machine's limit.

    \b
    Example:
      livewarden perf stages
      livewarden perf stages --seconds 20 --json
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.report import describe_stages, render_stages

    with show_progress() as announce:
        costs = _measure_stages(repository or REPOSITORY, policy, seconds, announce)
    if as_json:
        click.echo(json.dumps(describe_stages(costs), indent=2))
    else:
        Console().print(render_stages(costs))


@perf.command()
@click.option("--url", metavar="HOST:PORT", help="gRPC address of a server that is up already.")
@repository_option
@policy_option
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Callers at the same time.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=8.0,
    show_default=True,
    help="How long to measure, after a warm-up.",
)
@json_option
def smoke(
    *,
    url: str | None,
    repository: Path | None,
    policy: Path | None,
    concurrency: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Load the whole pipeline with the real perf_analyzer and real clips.

    Without --url it measures the stages, starts a server on free ports, and compares the two.

    \b
    Example:
      livewarden perf smoke
      livewarden perf smoke --concurrency 8 --seconds 20
      livewarden perf smoke --url 127.0.0.1:8001 --json
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    if url is not None and (repository is not None or policy is not None):
        raise click.UsageError("--url names a running server; --repository and --policy start one")
    from livewarden_ensemble.server import Server
    from livewarden_perf.analyzer import find_analyzer
    from livewarden_perf.report import describe_smoke, render_smoke, render_stages
    from livewarden_perf.smoke import run_smoke

    with show_progress() as announce:
        analyzer = find_analyzer(announce=announce)
        if url is not None:
            announce(f"Loading {url} for {seconds:g} s")
            result = run_smoke(analyzer, url, concurrency=concurrency, seconds=seconds)
        else:
            home = repository or REPOSITORY
            costs = _measure_stages(home, policy, _STAGE_SECONDS, announce)
            announce("Starting the server")
            # The load repeats its clips, which a server that remembers would not compute again.
            with Server(
                home, grpc_port=0, http_port=0, metrics_port=0, policy=policy, cache_mib=0
            ) as server:
                announce(f"Loading the server for {seconds:g} s")
                result = run_smoke(
                    analyzer,
                    server.grpc_url,
                    concurrency=concurrency,
                    seconds=seconds,
                    stages=costs,
                )
    if as_json:
        click.echo(json.dumps(describe_smoke(result), indent=2))
        return
    console = Console()
    if result.stages is not None:
        console.print(render_stages(result.stages))
    console.print(render_smoke(result))


@perf.command("policy")
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Policy file.  [default: a made-up one with 20 overrides and every rule over time]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=_STAGE_SECONDS,
    show_default=True,
    help="How long to measure.",
)
@json_option
def policy_cost(*, policy: Path | None, seconds: float, as_json: bool) -> None:
    """Measure what the policy engine costs per clip, on one thread.

    \b
    Example:
      livewarden perf policy
      livewarden perf policy --policy policies/default.yaml --json
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_perf.policy_cost import (
        describe_policy,
        measure_policy,
        render_policy,
        write_benchmark_policy,
    )

    with show_progress() as announce, tempfile.TemporaryDirectory() as folder:
        announce(f"Deciding for {seconds:g} s")
        path = policy or write_benchmark_policy(Path(folder) / "benchmark.yaml")
        costs = measure_policy(path, seconds)
    if as_json:
        click.echo(json.dumps(describe_policy(costs), indent=2))
    else:
        Console().print(render_policy(costs))


@perf.command("client")
@click.option("--url", metavar="HOST:PORT", help="gRPC address of a server that is up already.")
@repository_option
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long to measure.",
)
@json_option
def client_cost(*, url: str | None, repository: Path | None, seconds: float, as_json: bool) -> None:
    """Measure what the client costs per call over tritonclient alone, on a small clip.

    \b
    Example:
      livewarden perf client
      livewarden perf client --url 127.0.0.1:8001 --json
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_ensemble.server import Server
    from livewarden_perf.client_cost import (
        describe_client_cost,
        measure_client,
        render_client_cost,
    )

    with show_progress() as announce:
        announce(f"Asking in turns for {seconds:g} s")
        if url is not None:
            cost = measure_client(url, seconds)
        else:
            with Server(
                repository or REPOSITORY, grpc_port=0, http_port=0, metrics_port=0
            ) as server:
                server.wait_ready(120)
                cost = measure_client(server.grpc_url, seconds)
    if as_json:
        click.echo(json.dumps(describe_client_cost(cost), indent=2))
    else:
        Console().print(render_client_cost(cost))


@perf.command()
@repository_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    required=True,
    help="SVG file to write.",
)
def stream(*, repository: Path | None, output: Path) -> None:
    """Draw what the shipped policy's memory does to a heated stream of 60 clips.

    \b
    Example:
      livewarden perf stream --repository model_repository --output docs/images/stream.svg
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_ensemble.policy import locate_policy
    from livewarden_perf.stream_plot import compare_memory, draw_stream, read_thresholds

    home = repository or REPOSITORY
    policy = locate_policy(home)
    with show_progress() as announce:
        announce("Judging the stream, with memory and without")
        with_memory, without = compare_memory(home, policy)
        draw_stream(with_memory, without, read_thresholds(policy), output)
    click.echo(f"changes of action: {without.changes} without memory, {with_memory.changes} with")


def _measure_stages(
    repository: Path, policy: Path | None, seconds: float, announce: Callable[[str], None]
) -> StageCosts:
    from livewarden_perf.stages import measure_repository

    announce(f"Measuring the stages on one thread for {seconds:g} s")
    return measure_repository(repository, policy, seconds)

"""`livewarden backfill`: recorded clips scored again in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from livewarden_client.connect import DEFAULT_URL

if TYPE_CHECKING:
    from livewarden_export.backfill.row import Row
    from livewarden_export.backfill.source import Part
    from livewarden_export.backfill.summary import Summary


@click.command()
@click.argument("recording", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the rows; where it has some already, the run goes on.",
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    default=(DEFAULT_URL,),
    show_default=True,
    metavar="HOST:PORT",
    help="Who scores; may be given several times.",
)
@click.option(
    "--ray-address",
    default="local",
    show_default=True,
    metavar="ADDRESS",
    help="local: a Ray for this run; auto or HOST:PORT: a cluster that reaches the same files.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Ray processes."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Clips that each worker has on their way.",
)
@click.option(
    "--part-clips",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Clips of a part: what is lost at most when the run is killed, for each worker.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 3600, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds for a clip.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0, 3600, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a server that is away, before its clips count as failed.",
)
@click.option(
    "--before",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare with the rows of an earlier backfill, not with what was recorded.",
)
@click.option("--retry-errors", is_flag=True, help="Score parts with failed clips once more.")
@click.option("--allow-errors", is_flag=True, help="Exit code 0 even where clips failed.")
def backfill(
    *,
    recording: Path,
    output: Path,
    servers: tuple[str, ...],
    ray_address: str,
    workers: int,
    concurrency: int,
    part_clips: int,
    timeout: float,
    patience: float,
    before: Path | None,
    retry_errors: bool,
    allow_errors: bool,
) -> None:
    """Score recorded clips again, after a change of models or policy; say what changed.

    RECORDING is a folder with clips.jsonl (as `livewarden evaluate` reads it) or exchanges.jsonl
    (as the client's RecordingTransport writes it), or the file. Killed at any time, the same
    command goes on. Each clip is judged by itself, without its stream's memory.

    \b
    Example:
      livewarden backfill my-clips --output runs/new-policy
      livewarden backfill recording --output runs/new --server 10.0.0.7:8001 --concurrency 32
      livewarden backfill my-clips --output runs/new --before runs/old --ray-address auto
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_client.errors import ModerationError
    from livewarden_export.backfill.errors import BackfillFailed
    from livewarden_export.backfill.output import Output, read_output
    from livewarden_export.backfill.ray_scorer import Asking, score_on_ray
    from livewarden_export.backfill.run import run_backfill
    from livewarden_export.backfill.source import open_source

    asking = Asking(servers, timeout, concurrency, patience)

    def score(parts: Sequence[Part]) -> Iterator[tuple[int, list[Row]]]:
        _find_server(asking.servers, patience)
        return score_on_ray(parts, asking, workers, ray_address)

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    try:
        source = open_source(recording, part_clips)
        earlier = None
        if before is not None:
            earlier = {row.id: row.action for row in read_output(before) if row.action}
        with bar:
            show = partial(_show, bar, bar.add_task("clips", total=source.clips))
            summary = run_backfill(
                source,
                Output(output, source, part_clips),
                score,
                before=earlier,
                retry_errors=retry_errors,
                on_progress=show,
            )
    except (BackfillFailed, ModerationError) as error:
        raise click.ClickException(str(error)) from None
    _print_summary(summary)
    click.echo(f"Written: {output}", err=True)
    if summary.failed and not allow_errors:
        raise click.ClickException(
            f"{summary.failed} of {summary.clips} clips failed; --retry-errors asks for them "
            "again, --allow-errors accepts it"
        )


def _show(bar: Progress, task: object, done: int, _all: int) -> None:
    bar.update(task, completed=done)  # type: ignore[arg-type]  # its own id


def _find_server(servers: tuple[str, ...], patience: float) -> None:
    """Find out that a server is there, before a cluster is asked for anything."""
    from livewarden_client.client import Client

    with Client(servers) as client:
        client.wait_for_ready(patience)


def _print_summary(summary: Summary) -> None:
    table = Table(title=f"{summary.clips} clips")
    table.add_column("before")
    table.add_column("now")
    table.add_column("clips", justify="right")
    compared = sum(summary.moves.values())
    for (before, now), count in sorted(summary.moves.items()):
        table.add_row(before, now if now != before else f"{now} (the same)", str(count))
    if not compared:
        for now, count in sorted(summary.actions.items()):
            table.add_row("–", now, str(count))
    for kind, count in sorted(summary.errors.items()):
        table.add_row("–", f"failed: {kind}", str(count))
    Console().print(table)
    if compared:
        click.echo(f"{summary.changed} of {compared} actions changed.")
    if summary.degraded:
        click.echo(f"{summary.degraded} clips were not fully seen.")
    click.echo(
        f"This run: {summary.scored} clips in {summary.seconds:.1f} s, "
        f"{summary.clips_per_second:.1f} clips/s."
    )
    for maker, count in sorted(summary.made_by.items()):
        click.echo(f"{count} by {maker}.")
    if len(summary.made_by) > 1:
        click.echo(
            "Warning: bundle or policy changed between clips; for one answer, score all of them "
            "into a new folder.",
            err=True,
        )

"""The command `livewarden perf baselines`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import click

_REPOSITORY: Final = Path("model_repository")
# The table's names, so that --help need not load the table.
_NAMES: Final = (
    "fastapi-onnxruntime",
    "fastapi-openvino",
    "litserve",
    "bentoml",
    "triton-ensemble",
)


@click.command()
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the models.  [default: model_repository]",
)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Policy file.  [default: policies/default.yaml beside the repository]",
)
@click.option(
    "--only",
    type=click.Choice(_NAMES),
    multiple=True,
    help="Compare with this one; can be given several times.  [default: all]",
)
@click.option(
    "--callers",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Callers at the same time, each waiting for its answer.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=8.0,
    show_default=True,
    help="Length of a window, after a warm-up.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Windows of each server, in turn.",
)
@click.option(
    "--tune-seconds",
    type=click.FloatRange(min=1),
    default=3.0,
    show_default=True,
    help="Length of the trial of each way to set up a baseline.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for baselines.md and baselines.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def baselines(
    *,
    repository: Path | None,
    policy: Path | None,
    only: tuple[str, ...],
    callers: int,
    seconds: float,
    rounds: int,
    tune_seconds: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Compare with servers that one would build otherwise, on the same models and clips.

    They are installed into the user's cache folder the first time. Each must give the same scores;
    each is tuned, and the best setting counts. The table is the README's.

    \b
    Example:
      livewarden perf baselines
      livewarden perf baselines --only litserve --seconds 20
      livewarden perf baselines --output reports/baselines
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_client.wire import MODERATION
    from livewarden_ensemble.bundle import load_bundle
    from livewarden_perf.baseline.comparison import Load, compare_servers
    from livewarden_perf.baseline.contestant import BASELINES, Site, read_versions
    from livewarden_perf.baseline.environment import prepare_python
    from livewarden_perf.baseline.table import Hardware, describe_comparison, render_comparison
    from livewarden_perf.cli_option import show_progress

    home = repository or _REPOSITORY
    chosen = [one for one in BASELINES if not only or one.name in only]
    with show_progress() as announce:
        bundle = load_bundle(home / MODERATION.name)
        python = prepare_python(announce=announce)
        site = Site(python, bundle.folder, len(os.sched_getaffinity(0)))
        load = Load(callers, seconds, rounds, tune_seconds)
        comparison = compare_servers(home, policy, chosen, site, load, announce)
        versions = read_versions(python)
    hardware = Hardware.read()
    text = render_comparison(comparison, hardware, versions)
    data = json.dumps(describe_comparison(comparison, hardware, versions), indent=2)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "baselines.md").write_text(text, encoding="utf-8")
        (output / "baselines.json").write_text(f"{data}\n", encoding="utf-8")
    click.echo(data if as_json else text, nl=as_json)

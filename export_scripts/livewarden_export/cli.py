"""`livewarden export`: sources to a proven bundle, live in the model repository.

Each command imports what it needs when it runs: `--help` and an export with nothing to do must not
wait for torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console

if TYPE_CHECKING:
    from livewarden_export.bundle import Bundle
    from livewarden_export.leaf_work import Report
    from livewarden_export.recipe import Models
    from livewarden_export.stamp import Stamp


@click.command()
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Triton's model repository, where the bundle goes live.",
)
@click.option(
    "--bundles",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bundles"),
    show_default=True,
    help="Where bundles are kept.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "f32", "bf16"]),
    default="auto",
    show_default=True,
    help="Fastest precision to prove and serve; auto is bf16 where this CPU computes it.",
)
@click.option(
    "--models",
    "models_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("models.yaml"),
    show_default=True,
    help="Which models to export, as data.",
)
@click.option(
    "--target",
    type=click.Choice(["openvino", "tensorrt", "tensorrt-rtx-check"]),
    default="openvino",
    show_default=True,
    help="tensorrt adds plans for this machine's GPU; tensorrt-rtx-check only builds, needs no GPU "
    "and publishes nothing.",
)
@click.option("--search", is_flag=True, help="Find each leaf's fastest precision in the budget.")
@click.option("--server-version", default="2.51.0", show_default=True, help="For --check-configs.")
@click.option("--check-configs", is_flag=True, help="Only check that the configs are up to date.")
@click.option("--write-configs", is_flag=True, help="Only write the generated configs.")
def export(
    *,
    repository: Path,
    bundles: Path,
    precision: Literal["auto", "f32", "bf16"],
    models_file: Path,
    target: Literal["openvino", "tensorrt", "tensorrt-rtx-check"],
    search: bool,
    server_version: str,
    check_configs: bool,
    write_configs: bool,
) -> None:
    """Export the models of a models.yaml and put them live.

    Every artefact is compared with its source on real data before the bundle counts; a difference
    above its bound ends the export with a table and exit code 1, and nothing goes live. Sources,
    code and tools that did not change are not exported again.

    \b
    Example:
      livewarden export
      livewarden export --precision f32 --bundles /var/lib/livewarden/bundles
      livewarden export --search
      livewarden export --models examples/other-models/models.yaml --bundles /tmp/bundles
      livewarden export --target tensorrt-rtx-check
      livewarden export --check-configs --server-version 2.73.0
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    if check_configs and write_configs:
        raise click.UsageError("--check-configs and --write-configs exclude each other")
    if search and (precision != "auto" or target != "openvino"):
        raise click.UsageError("--search chooses precisions of the target openvino by itself")
    from livewarden_ensemble.errors import LivewardenError
    from livewarden_export.errors import ExportFailed

    try:
        if check_configs:
            _check_configs(repository, server_version)
        elif write_configs:
            _write_configs(repository)
        elif target == "tensorrt-rtx-check":
            _check_plans(models_file)
        else:
            _export_live(repository, bundles, models_file, precision, target, search=search)
    except (ExportFailed, LivewardenError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _check_configs(repository: Path, server_version: str) -> None:
    from livewarden_export.check import check_repository, measure_shared_memory
    from livewarden_export.triton_config import find_stale_configs

    stale = find_stale_configs(repository)
    if stale:
        names = ", ".join(str(path) for path in stale)
        raise click.ClickException(
            f"not what is generated now: {names}; run: livewarden export --write-configs"
        )
    check_repository(repository, server_version)
    needed = measure_shared_memory() / 2**20
    click.echo(
        f"{repository}: configs are up to date and fit together on Triton {server_version}; "
        f"shared memory needed (/dev/shm): {needed:.0f} MiB",
        err=True,
    )


def _write_configs(repository: Path) -> None:
    from livewarden_export.triton_config import write_configs

    for path in write_configs(repository):
        click.echo(str(path))


def _check_plans(models_file: Path) -> None:
    with show_progress() as report:
        report("load torch, tensorrt_rtx")
        from livewarden_export.model_file import load_models
        from livewarden_export.rtx_check import check_plans, format_builds

        builds = check_plans(load_models(models_file), report)
    click.echo(format_builds(builds))


def _export_live(
    repository: Path,
    bundles: Path,
    models_file: Path,
    precision: Literal["auto", "f32", "bf16"],
    target: Literal["openvino", "tensorrt"],
    *,
    search: bool,
) -> None:
    from livewarden_ensemble.leaf import supports_bf16
    from livewarden_export.bundle import find_bundle
    from livewarden_export.model_file import load_models
    from livewarden_export.publish import put_live
    from livewarden_export.stamp import read_stamp

    native = supports_bf16()
    if precision == "bf16" and not native:
        raise click.UsageError("--precision bf16: this CPU has no bf16 to prove it with; use auto")
    targets = ("openvino",) if target == "openvino" else ("openvino", target)
    models = load_models(models_file)
    stamp = read_stamp(
        models, bf16=native, slowest=precision == "f32", search=search, targets=targets
    )
    bundle = find_bundle(bundles, stamp.key)
    fresh = bundle is None
    if bundle is None:
        bundle = _export_fresh(models, bundles, stamp)
    elif search:
        _show_search(bundle)
    with show_progress() as report:
        put_live(bundle, repository, report)
    state = "exported" if fresh else "unchanged"
    click.echo(f"bundle {bundle.id} {state}, live in {repository}")


def _export_fresh(models: Models, bundles: Path, stamp: Stamp) -> Bundle:
    with show_progress() as report:
        report("load torch, openvino")
        from livewarden_export.export import export_bundle
        from livewarden_export.parity import Parity, format_table

        bundle = export_bundle(models, bundles, stamp, report)
    click.echo(format_table(Parity(**row) for row in bundle.manifest["parity"]))
    moved = bundle.manifest["decisions"]
    click.echo(
        f"decisions: {moved['flips']} of {moved['clips']} evaluation clips flip, largest score "
        f"change {moved['largest_shift']:.4f}, least slack {moved['least_slack']:+.4f}"
    )
    if stamp.search:
        _show_search(bundle)
    return bundle


def _show_search(bundle: Bundle) -> None:
    import json

    from livewarden_export.search import SEARCH_FILE, Trial, format_trials

    found = json.loads((bundle.folder / SEARCH_FILE).read_bytes())
    click.echo(format_trials((Trial(**row) for row in found["trials"]), found["chosen"]))


@contextlib.contextmanager
def show_progress() -> Iterator[Report]:
    """A spinner with the current step on a terminal; elsewhere, one line per step.

    Steps that count up ("... 40%") are for terminals: a log would fill with them.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: None if step.endswith("%") else console.print(step, highlight=False)
        return
    with console.status("export") as status:
        yield status.update

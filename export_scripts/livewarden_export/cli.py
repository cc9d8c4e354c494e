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
    from livewarden_export.export import Report
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
@click.option("--check-configs", is_flag=True, help="Only check that the configs are up to date.")
@click.option("--write-configs", is_flag=True, help="Only write the generated configs.")
def export(
    *,
    repository: Path,
    bundles: Path,
    precision: Literal["auto", "f32", "bf16"],
    check_configs: bool,
    write_configs: bool,
) -> None:
    """Export the reference models and put them live.

    Every artefact is compared with its source on real data before the bundle counts; a difference
    above its bound ends the export with a table and exit code 1, and nothing goes live. Sources,
    code and tools that did not change are not exported again.

    \b
    Example:
      livewarden export
      livewarden export --precision f32 --bundles /var/lib/livewarden/bundles
      livewarden export --check-configs
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    if check_configs and write_configs:
        raise click.UsageError("--check-configs and --write-configs exclude each other")
    if check_configs:
        _check_configs(repository)
    elif write_configs:
        _write_configs(repository)
    else:
        _export_live(repository, bundles, precision)


def _check_configs(repository: Path) -> None:
    from livewarden_export.triton_config import find_stale_configs

    stale = find_stale_configs(repository)
    if stale:
        names = ", ".join(str(path) for path in stale)
        raise click.ClickException(
            f"not what is generated now: {names}; run: livewarden export --write-configs"
        )
    click.echo(f"{repository}: configs are up to date", err=True)


def _write_configs(repository: Path) -> None:
    from livewarden_export.triton_config import write_configs

    for path in write_configs(repository):
        click.echo(str(path))


def _export_live(
    repository: Path, bundles: Path, precision: Literal["auto", "f32", "bf16"]
) -> None:
    from livewarden_ensemble.errors import LivewardenError
    from livewarden_ensemble.leaf import supports_bf16
    from livewarden_export.bundle import find_bundle
    from livewarden_export.errors import ExportFailed
    from livewarden_export.publish import put_live
    from livewarden_export.stamp import read_stamp

    native = supports_bf16()
    if precision == "bf16" and not native:
        raise click.UsageError("--precision bf16: this CPU has no bf16 to prove it with; use auto")
    try:
        stamp = read_stamp(bf16=native and precision != "f32")
        bundle = find_bundle(bundles, stamp.key)
        fresh = bundle is None
        if bundle is None:
            bundle = _export_fresh(bundles, stamp)
        with show_progress() as report:
            put_live(bundle, repository, report)
    except (ExportFailed, LivewardenError, OSError) as error:
        raise click.ClickException(str(error)) from None
    state = "exported" if fresh else "unchanged"
    click.echo(f"bundle {bundle.id} {state}, live in {repository}")


def _export_fresh(bundles: Path, stamp: Stamp) -> Bundle:
    with show_progress() as report:
        report("load torch, openvino")
        from livewarden_export.export import export_bundle
        from livewarden_export.parity import Parity, format_table

        bundle = export_bundle(bundles, stamp, report)
    click.echo(format_table(Parity(**row) for row in bundle.manifest["parity"]))
    return bundle


@contextlib.contextmanager
def show_progress() -> Iterator[Report]:
    """A spinner with the current step on a terminal; elsewhere, one line per step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: console.print(step, highlight=False)
        return
    with console.status("export") as status:
        yield status.update

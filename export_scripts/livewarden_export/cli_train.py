"""`livewarden train`: the fusion head on labelled clips, and the data set of the reference head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_DATA = click.Path(file_okay=False, path_type=Path)


@click.group()
def train() -> None:
    """Train the fusion head, or write the data that the reference head was trained on.

    \b
    Example:
      livewarden train fusion --data my-clips --out runs/mine
      livewarden train reference --out reference-clips
    """  # noqa: D301 - the \b is click's mark for "do not wrap"


@train.command()
@click.option("--out", type=_DATA, required=True, help="Folder to write the data set into.")
@click.option("--seed", type=int, default=20, show_default=True, help="Decides every draw.")
def reference(*, out: Path, seed: int) -> None:
    """Write the reference data set: clips.jsonl and harmless pictures.

    Needs the packages of livewarden[reference].

    \b
    Example:
      livewarden train reference --out data/reference
      livewarden train fusion --data data/reference --out runs/reference
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from importlib.metadata import PackageNotFoundError

    try:
        from livewarden_export.fusion.reference import write_reference

        count = write_reference(out, seed)
    except (PackageNotFoundError, ModuleNotFoundError) as error:
        raise click.ClickException(
            f"the package {error.name!r} is not installed; "
            "run: pip install 'livewarden[export,reference]'"
        ) from None
    except OSError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{count} clips in {out}")


@train.command()
@click.option("--data", type=_DATA, required=True, help="Folder with clips.jsonl and media.")
@click.option(
    "--out", type=_DATA, default=Path("runs/fusion"), show_default=True, help="Weights and plots."
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Bundle whose encoders read the clips.  [default: the live one of model_repository]",
)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--patience", type=click.IntRange(1), default=3, show_default=True, help="Epochs without gain."
)
def fusion(
    *, data: Path, out: Path, bundle: Path | None, seed: int, epochs: int, patience: int
) -> None:
    """Train and calibrate a fusion head on labelled clips.

    The data is a folder with clips.jsonl and the media that it names; docs/model-card.md explains
    the format. Encoder answers are kept beside the data and a checkpoint in the output folder: the
    same command again goes on where it was stopped. The head serves once models.yaml names it as
    the checkpoint of its fusion_classifier.

    \b
    Example:
      livewarden train fusion --data my-clips --out runs/mine
      livewarden train fusion --data data/reference --bundle bundles/0123456789abcdef
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_export.fusion.dataset import DatasetInvalid, load_dataset

    try:
        dataset = load_dataset(data)
    except DatasetInvalid as error:
        raise click.ClickException(str(error)) from None
    from livewarden_ensemble.bundle import load_bundle
    from livewarden_ensemble.errors import LivewardenError
    from livewarden_export.fusion.run import train_dataset

    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    try:
        with bars:
            lines = train_dataset(
                dataset,
                out,
                bundle=bundle or load_bundle(Path("model_repository/moderation")).folder,
                seed=seed,
                epochs=epochs,
                patience=patience,
                progress=_show_bars(bars),
            )
    except (ValueError, OSError, LivewardenError) as error:
        raise click.ClickException(str(error)) from None
    click.echo("\n".join(lines))


def _show_bars(bars: Progress) -> Callable[[str, int, int], None]:
    tasks: dict[str, object] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]  # its own id

    return show

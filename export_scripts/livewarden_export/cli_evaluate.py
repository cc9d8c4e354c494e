"""`livewarden evaluate`: what a bundle is good and bad at, on labelled clips."""

from __future__ import annotations

from pathlib import Path

import click

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--bundle",
    type=_FOLDER,
    help="The bundle to measure.  [default: the live one of model_repository]",
)
@click.option("--data", type=_FOLDER, required=True, help="Folder with clips.jsonl and media.")
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("policies/default.yaml"),
    show_default=True,
    help="Whose thresholds recall and false positives are counted at.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/evaluation"),
    show_default=True,
    help="Where evaluation.md, .html and .json go.",
)
def evaluate(*, bundle: Path | None, data: Path, policy: Path, out: Path) -> None:
    """Measure a bundle on the test split of a data set.

    Exit code 1 where a clip that was not fully seen was allowed (a fail-safe violation).

    \b
    Example:
      livewarden evaluate --data data/reference
      livewarden evaluate --bundle bundles/0123456789abcdef --data my-clips --out runs/mine
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    from livewarden_ensemble.bundle import load_bundle
    from livewarden_ensemble.errors import LivewardenError
    from livewarden_ensemble.policy import load_policy
    from livewarden_export.bundle import read_bundle
    from livewarden_export.errors import ExportFailed
    from livewarden_export.fusion.dataset import DatasetInvalid, load_dataset

    try:
        dataset, rules = load_dataset(data), load_policy(policy)
        live = bundle or load_bundle(Path("model_repository/moderation")).folder
        opened = read_bundle(live)
        from livewarden_export.fusion.evaluate import evaluate_bundle
        from livewarden_export.fusion.report import format_summary, write_evaluation

        evaluation = evaluate_bundle(
            opened, dataset, rules, data / ".cache", lambda step: click.echo(step, err=True)
        )
        paths = write_evaluation(evaluation, out)
    except (DatasetInvalid, ExportFailed, LivewardenError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(format_summary(evaluation))
    click.echo("written: " + ", ".join(map(str, paths)), err=True)
    if evaluation.fail_safe_violations:
        raise click.ClickException(
            f"fail-safe violated: {', '.join(evaluation.fail_safe_violations)}"
        )

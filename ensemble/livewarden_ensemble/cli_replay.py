"""Commands of `livewarden policy` that look at recorded clips: replay, diff, tune, invent."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from livewarden_client.wire import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from livewarden_ensemble.tune import Interval, Proposal

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, writable=True, path_type=Path)
# Not in the extra [server]: a server needs neither.
_NEEDS: Final = {"jinja2": "--html", "scipy": "tune"}


def _check_extra(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise click.UsageError(
            f"{_NEEDS[module]} needs the module {module!r}. Run: pip install 'livewarden[policy]'"
        )


@contextmanager
def _tell_faults() -> Iterator[None]:
    """Turn what is wrong with a file into one message and exit code 1."""
    from livewarden_ensemble.errors import (
        PolicyInvalid,
        RecordsInvalid,
    )

    try:
        yield
    except (PolicyInvalid, RecordsInvalid) as error:
        raise click.ClickException(str(error)) from None


def _replay_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `replay` and `diff` share."""
    options = (
        click.option("--html", type=_OUTPUT, metavar="FILE", help="Write a page with plots."),
        click.option(
            "--changed",
            type=_OUTPUT,
            metavar="FILE",
            help="Write every changed verdict, one JSON object per line.",
        ),
        click.option(
            "--examples",
            type=click.IntRange(0, 1000),
            default=3,
            show_default=True,
            help="How many to show of each change of action.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1, 256),
            help="Processes that share the streams; one per core if left out.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("records", type=_FILE)
@click.option("--policy", "new", type=_FILE, required=True, help="The policy to replay under.")
@_replay_options
def replay(records: Path, new: Path, **output: Any) -> None:
    """Replay RECORDS under a policy, and compare with what was decided live.

    A record says what a clip's scores and coverage were, and nothing of its content. Streams keep
    their memory under the new policy, as they would have live.

    \b
    Example:
      livewarden policy replay records.jsonl --policy new.yaml
      livewarden policy replay records.jsonl --policy new.yaml --html replay.html
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    _compare(records, new, None, **output)


@click.command()
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.option("--records", type=_FILE, required=True, help="Recorded clips, one per line.")
@_replay_options
def diff(old: Path, new: Path, records: Path, **output: Any) -> None:
    """Show which verdicts on recorded clips the policy NEW decides otherwise than OLD.

    \b
    Example:
      livewarden policy diff old.yaml new.yaml --records records.jsonl
      livewarden policy diff old.yaml new.yaml --records records.jsonl --html diff.html
      livewarden policy diff old.yaml new.yaml --records records.jsonl --changed changed.jsonl
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    _compare(records, new, old, **output)


def _compare(
    records: Path,
    new: Path,
    old: Path | None,
    *,
    html: Path | None,
    changed: Path | None,
    examples: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Replay, and put the result wherever the options ask for it."""
    if html is not None:
        _check_extra("jinja2")
    # Here and not above, so that --help answers at once.
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from livewarden_ensemble.policy import load_policy
    from livewarden_ensemble.replay import keep_examples
    from livewarden_ensemble.replay_file import replay_file
    from livewarden_ensemble.replay_render import render_replay
    from livewarden_ensemble.replay_summary import Title, summarise_replay

    errors = Console(stderr=True)
    with _tell_faults():
        title = Title(
            old=load_policy(old).ref if old else "as decided live",
            new=load_policy(new).ref,
            records=records.name,
        )
        with Progress(console=errors, transient=True) as progress:
            task = progress.add_task("Replaying", total=1.0)
            tally = replay_file(
                records,
                new,
                old,
                keep=None if changed else examples,
                workers=workers,
                on_progress=lambda share: progress.update(task, completed=share),
            )
    if changed is not None:
        changed.write_bytes(
            b"".join(msgspec.json.encode(change) + b"\n" for change in tally.changes)
        )
        errors.print(f"{changed}: {len(tally.changes):,} changed verdicts", highlight=False)
        tally = keep_examples(tally, examples)
    summary = summarise_replay(tally, title)
    if html is not None:
        from livewarden_ensemble.replay_page import render_page

        html.write_text(render_page(summary), "utf-8")
        errors.print(f"{html}: written", highlight=False)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(summary), indent=2).decode())
    else:
        Console().print(render_replay(summary))


@click.command()
@click.option("--label", type=click.Choice(LABELS), required=True, help="The label to tune.")
@click.option(
    "--target-precision",
    type=click.FloatRange(0.5, 1, max_open=True),
    required=True,
    help="Share of clips at or over the threshold that must really show the label.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="How sure the intervals are.",
)
@click.option("--records", type=_FILE, required=True, help="Recorded clips with their truth.")
@click.option("--json", "as_json", is_flag=True, help="Print the proposal as JSON.")
def tune(
    label: str, target_precision: float, confidence: float, records: Path, *, as_json: bool
) -> None:
    """Propose the lowest threshold at which a label is right often enough.

    Each record needs `truth`, such as {"hate": true}. The lower bound of precision must reach the
    target; it counts streams, because clips of one stream resemble each other. Exit code 1 where
    no threshold does.

    \b
    Example:
      livewarden policy tune --label hate --target-precision 0.95 --records labelled.jsonl
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    _check_extra("scipy")
    # Here and not above, so that --help answers at once.
    import msgspec
    from rich.console import Console

    from livewarden_ensemble.recording import read_recordings
    from livewarden_ensemble.tune import propose_threshold

    with _tell_faults(), Console(stderr=True).status("Reading records"):
        proposal = propose_threshold(
            (recording for _, recording in read_recordings(records)),
            label,
            target_precision,
            confidence,
        )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(proposal), indent=2).decode())
    else:
        for line in _describe_proposal(proposal):
            Console().print(line, markup=False, highlight=False, soft_wrap=True)
    if proposal.threshold is None:
        raise SystemExit(1)


def _describe_proposal(proposal: Proposal) -> Iterator[str]:
    sample = proposal.sample
    yield (
        f"{proposal.label}: {sample.clips:,} judged clips of {sample.streams:,} streams, "
        f"{sample.positives:,} of them show it ({sample.skipped:,} records left out)"
    )
    if proposal.threshold is None:
        yield (
            f"No threshold is sure enough: at {proposal.confidence:.0%} confidence the best lower "
            f"bound of precision is {proposal.best_low:.3f}, and {proposal.target:.3f} was asked "
            "for. Judge more streams, or ask for less."
        )
        return
    yield f"proposed threshold   {proposal.threshold:.2f}"
    yield f"precision            {_describe_interval(proposal.precision)}"
    expected = _describe_interval(proposal.expected_precision)
    yield f"on clips not used    {expected}"
    yield f"recall               {_describe_interval(proposal.recall)}"
    yield f"clips at or over it  {proposal.reached or 0:.3%}"
    folds = ", ".join("none" if at is None else f"{at:.2f}" for at in proposal.fold_thresholds)
    yield f"without each fifth   {folds}"
    if proposal.expected_precision is None or proposal.expected_precision.value < proposal.target:
        yield "Careful: clips that had no part in the choice do not confirm it."


def _describe_interval(interval: Interval | None) -> str:
    if interval is None:
        return "unknown"
    return f"{interval.value:.3f}   [{interval.low:.3f}, {interval.high:.3f}]"


@click.command()
@click.argument("output", type=_OUTPUT)
@click.option("--clips", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--streams", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same records.")
def invent(output: Path, clips: int, streams: int, seed: int) -> None:
    """Invent records with truths, to try policies on without anybody's data.

    \b
    Example:
      livewarden policy invent records.jsonl --clips 100000
      livewarden policy diff old.yaml new.yaml --records records.jsonl
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from rich.console import Console
    from rich.progress import track

    from livewarden_ensemble.recording import write_recording
    from livewarden_ensemble.synthetic_record import invent_recordings

    recordings = invent_recordings(clips, streams=streams, seed=seed)
    with output.open("wb") as file:
        for recording in track(
            recordings, "Inventing", clips, console=Console(stderr=True), transient=True
        ):
            file.write(write_recording(recording))

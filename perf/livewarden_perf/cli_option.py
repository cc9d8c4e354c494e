"""What the commands of `livewarden perf` have in common: options, progress, and giving results."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from rich.console import Console
from rich.text import Text

from livewarden_ensemble.errors import LivewardenError
from livewarden_perf.errors import PerfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from livewarden_perf.section import Section
    from livewarden_perf.session import Session

_FILE_WIDTH: Final = 120
REPOSITORY: Final = Path("model_repository")

_Command = TypeVar("_Command", bound="Callable[..., Any]")

repository_option = click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the models.  [default: model_repository]",
)
policy_option = click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Policy file.  [default: policies/default.yaml beside the repository]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
output_option = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write report.md, report.json and report.html into this folder.",
)
url_option = click.option(
    "--url",
    metavar="HOST:PORT",
    help="gRPC address of a server that is up already; else one is started.",
)
mix_option = click.option(
    "--mix",
    default="standard",
    show_default=True,
    metavar="SHAPE[:SHARE],...",
    help="Clips to send: standard, one-frame, many-frames, text-only, static-scene.",
)
distinct_option = click.option(
    "--distinct",
    type=click.IntRange(1, 128),
    default=32,
    show_default=True,
    help="Clips made of each shape before the run; when used again, they are varied.",
)
callers_option = click.option(
    "--callers",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Callers that keep the server busy.",
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds that a caller gives each clip; the server knows them as its deadline.",
)


def seconds_option(default: float, help_text: str) -> Callable[[_Command], _Command]:
    """Make the option --seconds."""
    return click.option(
        "--seconds",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=True,
        help=help_text,
    )


def rate_option(default: float) -> Callable[[_Command], _Command]:
    """Make the option --rate."""
    return click.option(
        "--rate",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=True,
        help="Clips due per second, on average.",
    )


def session_options(command: _Command) -> _Command:
    """Add the options of every command that loads a server."""
    for option in (output_option, json_option, distinct_option, policy_option, repository_option):
        command = option(command)
    return url_option(command)


class Milliseconds(click.ParamType[float]):
    """A time such as 150ms, 0.5s or 150, as milliseconds."""

    name = "time"
    _FORM: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s)?")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the time."""
        if isinstance(value, float):
            return value
        found = self._FORM.fullmatch(str(value).strip())
        if not found or not float(found[1]):
            self.fail(f"{value!r} is no time above 0; accepted: 150ms, 0.15s or 150", param, ctx)
        return float(found[1]) * (1000 if found[2] == "s" else 1)


@contextmanager
def show_progress() -> Iterator[Callable[[str], None]]:
    """Show on stderr what is being done, and turn every error of ours into one line."""
    console = Console(stderr=True)
    try:
        with console.status("") as status:

            def announce(line: str) -> None:
                status.update(Text(line))
                if not console.is_terminal:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)

            yield announce
    except (LivewardenError, PerfError) as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def open_cli_session(
    options: Mapping[str, Any], announce: Callable[[str], None], canary_every_s: float = 1.0
) -> Iterator[Session]:
    """Open the session that the options of `session_options` ask for."""
    from livewarden_perf.session import open_session

    url, repository, policy = (options[name] for name in ("url", "repository", "policy"))
    if url is not None and (repository is not None or policy is not None):
        raise click.UsageError("--url names a running server; --repository and --policy start one")
    with open_session(
        url,
        repository or REPOSITORY,
        policy,
        announce,
        distinct=options["distinct"],
        canary_every_s=canary_every_s,
    ) as session:
        yield session


def open_console() -> Console:
    """Open stdout; tables that go into a file are not squeezed into 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_WIDTH)


def give_result(
    section: Section, machine: Mapping[str, str], *, as_json: bool, output: Path | None
) -> None:
    """Print a section, to be read by people or as JSON, and write the report if one was asked."""
    from livewarden_perf.report_file import Report, describe_report, write_report
    from livewarden_perf.section import render_section

    report = Report(f"livewarden perf {section.name}", machine, (section,))
    for warning in section.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(describe_report(report), indent=2, allow_nan=False))
    else:
        console = open_console()
        for table in render_section(section):
            console.print(table)
        for line in (section.headline, *section.notes):
            console.print(Text(line))
    if output is not None:
        for path in write_report(report, output):
            click.echo(f"Written: {path}", err=True)

"""The command group `livewarden audit`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from livewarden_ensemble.audit_segment import Mark, Segment
    from livewarden_ensemble.audit_verify import AuditReport

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def audit() -> None:
    """Check the audit log, which keeps one sealed record of every verdict.

    \b
    Example:
      livewarden audit verify /var/lib/livewarden/audit --keys audit.keys
    """  # noqa: D301 - the \b is click's mark for "do not wrap"


@audit.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--keys",
    "key_file",
    type=_FILE,
    required=True,
    envvar="LIVEWARDEN_AUDIT_KEYS_FILE",
    show_envvar=True,
    help="File of the log's keys, one `id:hex` per line.",
)
@click.option(
    "--since",
    type=_FILE,
    metavar="REPORT",
    help="Report of an earlier run (--json): the log must still hold all that it held then.",
)
@click.option(
    "--pruned", is_flag=True, help="The oldest segments of a writer may have been deleted."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(
    folder: Path, key_file: Path, since: Path | None, *, pruned: bool, as_json: bool
) -> None:
    """Find any gap or change in the audit log in FOLDER.

    Reads every line and writes nothing; servers may go on writing meanwhile. Keep the report
    elsewhere and give it to --since next time: then not even the log's end can be cut off unseen.

    Exit codes: 0 intact; 1 something is missing or changed; 2 wrong usage.

    \b
    Example:
      livewarden audit verify audit --keys audit.keys
      livewarden audit verify audit --keys audit.keys --json > monday.json
      livewarden audit verify audit --keys audit.keys --since monday.json
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    import msgspec
    from rich.console import Console

    from livewarden_ensemble.audit_key import load_keys
    from livewarden_ensemble.audit_verify import verify_log
    from livewarden_ensemble.errors import AuditInvalid

    console = Console(stderr=True)
    try:
        keys = load_keys(key_file)
    except AuditInvalid as error:
        raise click.UsageError(str(error)) from None
    known = _read_marks(since)
    with console.status("Reading") as status:

        def tell(segment: Segment) -> None:
            status.update(f"Reading {segment.path.name}")

        report = verify_log(folder, keys, known=known, is_pruned=pruned, on_segment=tell)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        _print_report(report, Console())
    if not report.intact:
        raise SystemExit(1)


def _read_marks(since: Path | None) -> Mapping[str, Mark]:
    """Read where each chain stood in an earlier report."""
    import msgspec

    from livewarden_ensemble.audit_verify import AuditReport

    if since is None:
        return {}
    try:
        report = msgspec.json.decode(since.read_bytes(), type=AuditReport)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{since}: is no report of `audit verify --json`: {error}") from None
    return {writer: chain.mark for writer, chain in report.chains.items()}


def _print_report(report: AuditReport, console: Console) -> None:
    from rich.table import Table

    table = Table("writer", box=None, pad_edge=False)
    for name in ("segments", "records", "first (UTC)", "last (UTC)"):
        table.add_column(name, justify="right")
    for writer, chain in report.chains.items():
        times = (_format_time(chain.first_ms), _format_time(chain.last_ms))
        table.add_row(writer, f"{chain.segments:,}", f"{chain.records:,}", *times)
    console.print(table)
    for finding in report.findings:
        where = finding.file if finding.line is None else f"{finding.file}, line {finding.line}"
        style = "bold red" if finding.kind == "fault" else "dim"
        line = f"{finding.kind}: {where}: {finding.message}"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    faults = sum(finding.kind == "fault" for finding in report.findings)
    if report.intact:
        console.print("intact", style="bold green")
    else:
        console.print(f"NOT INTACT: {faults} faults", style="bold red", highlight=False)


def _format_time(unix_ms: int | None) -> str:
    if unix_ms is None:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1e3, UTC).strftime("%Y-%m-%d %H:%M:%S")

"""The command `livewarden doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from livewarden_ensemble.doctor import Finding

SCHEMA: Final = "livewarden.doctor/v1"

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(dir_okay=False, path_type=Path)
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default="model_repository",
    show_default=True,
    help="Directory of the models.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True)
@click.option("--http-port", type=_PORT, default=8000, show_default=True)
@click.option("--metrics-port", type=_PORT, default=8002, show_default=True)
@click.option("--policy", type=_FILE, help="Policy file; the models' default where absent.")
@click.option("--replicas", is_flag=True, help="Replicas are wanted: Envoy must be there.")
@click.option(
    "--tritonserver",
    type=_FILE,
    envvar="LIVEWARDEN_TRITONSERVER",
    show_envvar=True,
    help="Another tritonserver than the one in nvidia-pytriton.",
)
@click.option(
    "--constraints",
    type=_FILE,
    default="constraints.txt",
    show_default=True,
    help="Pinned versions to compare with, if the file exists.",
)
@click.option(
    "--models",
    type=_FILE,
    default="models.yaml",
    show_default=True,
    help="What the bundle should be made from, if the file exists.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    *,
    repository: Path,
    host: str,
    grpc_port: int,
    http_port: int,
    metrics_port: int,
    policy: Path | None,
    replicas: bool,
    tritonserver: Path | None,
    constraints: Path,
    models: Path,
    as_json: bool,
) -> None:
    """Look whether a server can be started here, and what to mend.

    Checks processor, memory, /dev/shm, ports, versions, tritonserver, Envoy, GPU, disk, limits,
    clock, models, bundle and policy. Changes nothing. Exit codes: 0 fit, whatever the warnings; 1
    something failed; 2 wrong usage.

    \b
    Example:
      livewarden doctor
      livewarden doctor --replicas --host 0.0.0.0 --policy my-policy.yaml
      livewarden doctor --json | jq '.findings[] | select(.state != "ok")'
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from livewarden_ensemble.doctor import examine, is_fit
    from livewarden_ensemble.probe import Wish, gather_facts

    wish = Wish(
        repository=repository,
        host=host,
        ports={
            "--grpc-port": grpc_port,
            "--http-port": http_port,
            "--metrics-port": metrics_port,
        },
        policy=policy,
        tritonserver=tritonserver,
        replicas=replicas,
        constraints=constraints,
        models=models,
    )
    findings = examine(gather_facts(wish))
    fit = is_fit(findings.values())
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "fit": fit, "findings": _to_rows(findings)}))
    else:
        _print(findings)
    if not fit:
        raise SystemExit(1)


def _to_rows(findings: Mapping[str, Finding]) -> list[dict[str, str]]:
    return [
        {"check": name, "state": found.state, "detail": found.detail, "remedy": found.remedy}
        for name, found in findings.items()
    ]


def _print(findings: Mapping[str, Finding]) -> None:
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(_render(findings))
    else:
        click.echo("\n".join(_list_lines(findings)))


def _list_lines(findings: Mapping[str, Finding]) -> list[str]:
    """One line per finding, and one more for its remedy: for logs and grep."""
    lines = []
    for name, found in findings.items():
        lines.append(f"{found.state:<4} {name}: {found.detail}")
        if found.remedy:
            lines.append(f"     -> {found.remedy}")
    return [*lines, _sum_up(findings)]


def _render(findings: Mapping[str, Finding]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("state", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("finding, and what to do")
    for name, found in findings.items():
        told = Text(found.detail)
        if found.remedy:
            told.append(f"\n{found.remedy}", style="bold")
        table.add_row(Text(found.state, style=_STYLES[found.state]), name, told)
    return Group(table, Text(_sum_up(findings)))


def _sum_up(findings: Mapping[str, Finding]) -> str:
    states = [found.state for found in findings.values()]
    failed, warned = states.count("fail"), states.count("warn")  # type: ignore[arg-type] # a StrEnum
    if failed:
        return f"Not fit to serve: {failed} failed, {warned} to know about."
    return f"Fit to serve; {warned} to know about." if warned else "Fit to serve."

"""The command group `livewarden policy`, and its commands that look at policies alone."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from livewarden_client.wire import LABELS
from livewarden_ensemble.cli_dsa import dsa
from livewarden_ensemble.cli_replay import diff, invent, replay, tune
from livewarden_ensemble.cli_sign import sign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from livewarden_ensemble.golden_case import CaseResult
    from livewarden_ensemble.policy import EffectivePolicy, Setting

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FAULT: Final = re.compile(r"(?P<file>.*?):(?P<line>\d+):(?P<column>\d+): (?P<message>.*)")
_SEVERITIES: Final = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.group()
def policy() -> None:
    """Check policies, try them on recorded clips, and say what they decide.

    \b
    Example:
      livewarden policy check policies/default.yaml
      livewarden policy show --region DE --surface kids
      livewarden policy test policies/default.cases.yaml
      livewarden policy sign policies/default.yaml --key policy.key
      livewarden policy diff old.yaml new.yaml --records records.jsonl --html diff.html
    """  # noqa: D301 - the \b is click's mark for "do not wrap"


for _command in (sign, replay, diff, tune, invent, dsa):
    policy.add_command(_command)


@policy.command()
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Model repository: also find labels that its models do not score.",
)
@click.option("--public-key", type=_FILE, help="Also check the signature by this key (PEM).")
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(
    files: tuple[Path, ...],
    repository: Path | None,
    public_key: Path | None,
    *,
    strict: bool,
    as_json: bool,
) -> None:
    """Check policy FILEs against the schema, and for what looks wrong.

    Every finding has its file, line and column. Exit codes: 0 no errors; 1 errors; 2 wrong usage.

    \b
    Example:
      livewarden policy check policies/*.yaml
      livewarden policy check new.yaml --strict --repository model_repository
      livewarden policy check policies/default.yaml --public-key policy.pub
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from rich.console import Console

    unsupported = _list_unsupported(repository)
    found = {file: _find_faults(file, unsupported, public_key) for file in files}
    if as_json:
        click.echo(json.dumps({str(file): findings for file, findings in found.items()}, indent=2))
    else:
        _print_findings(found, Console())
    failing = {"error", "warning"} if strict else {"error"}
    if any(finding["severity"] in failing for findings in found.values() for finding in findings):
        raise SystemExit(1)


def _list_unsupported(repository: Path | None) -> tuple[str, ...]:
    """List the labels that the models of `repository` do not score."""
    from livewarden_client.wire import MODERATION
    from livewarden_ensemble.bundle import load_bundle
    from livewarden_ensemble.errors import BundleInvalid

    if repository is None:
        return ()
    try:
        return load_bundle(repository / MODERATION.name).list_unsupported()
    except BundleInvalid as error:
        raise click.UsageError(str(error)) from None


def _find_faults(
    file: Path, unsupported: Sequence[str], public_key: Path | None
) -> list[dict[str, Any]]:
    """Find what is wrong with one file: that it cannot be used, or what lint says of it."""
    from livewarden_ensemble.errors import PolicyInvalid
    from livewarden_ensemble.policy import lint, load_policy
    from livewarden_ensemble.signature import verify_policy_signature

    try:
        loaded = load_policy(file)
        if public_key is not None:
            verify_policy_signature(loaded, public_key)
    except PolicyInvalid as error:
        return [_read_fault(line, file) for line in str(error).splitlines()]
    now_ms = round(time.time() * 1e3)
    return [
        {
            "severity": finding.severity,
            "code": finding.code,
            "file": str(file),
            "line": finding.line,
            "column": finding.column,
            "message": f"{finding.path}: {finding.message}",
        }
        for finding in lint(loaded, unsupported=unsupported, now_ms=now_ms)
    ]


def _read_fault(line: str, file: Path) -> dict[str, Any]:
    fault = _FAULT.fullmatch(line)
    return {
        "severity": "error",
        "code": "invalid",
        "file": fault["file"] if fault else str(file),
        "line": int(fault["line"]) if fault else 1,
        "column": int(fault["column"]) if fault else 1,
        "message": fault["message"] if fault else line,
    }


def _print_findings(found: dict[Path, list[dict[str, Any]]], console: Console) -> None:
    for file, findings in found.items():
        for one in findings:
            place = f"{one['file']}:{one['line']}:{one['column']}"
            console.print(
                f"{place}: {one['severity']}: {one['message']} [{one['code']}]",
                style=_SEVERITIES[one["severity"]],
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        counts = {name: sum(f["severity"] == name for f in findings) for name in _SEVERITIES}
        told = ", ".join(f"{count} {name}s" for name, count in counts.items() if count)
        console.print(f"{file}: {told or 'ok'}", markup=False, highlight=False, soft_wrap=True)


@policy.command()
@click.option(
    "--policy",
    "policy_file",
    type=_FILE,
    envvar="LIVEWARDEN_POLICY",
    show_envvar=True,
    default="policies/default.yaml",
    show_default=True,
    help="The policy to show.",
)
@click.option("--region", default="", help="Where the clip is shown, for example DE.")
@click.option("--surface", default="", help="Where in the product, for example kids.")
@click.option("--audience", default="", help="Who watches, for example teen.")
@click.option("--room", default="", help="The room or channel.")
@click.option("--label", type=click.Choice(LABELS), help="Every setting of this label.")
@click.option("--all", "show_all", is_flag=True, help="Every setting there is.")
@click.option("--json", "as_json", is_flag=True, help="Print every setting as JSON.")
def show(
    *,
    policy_file: Path,
    region: str,
    surface: str,
    audience: str,
    room: str,
    label: str | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Show the policy as it applies in one place, and where each value comes from.

    Without --label or --all: the thresholds of every label, and what overrides changed.

    \b
    Example:
      livewarden policy show --region DE --surface kids
      livewarden policy show --policy new.yaml --surface kids --label hate
      livewarden policy show --region DE --json | jq '.settings["review.random"]'
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from rich.console import Console

    from livewarden_ensemble.errors import PolicyInvalid
    from livewarden_ensemble.policy import effective, load_policy

    try:
        loaded = load_policy(policy_file)
    except PolicyInvalid as error:
        raise click.ClickException(str(error)) from None
    merged = effective(loaded, region, surface, audience, room)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "policy": loaded.ref,
                    "digest": loaded.digest,
                    "overrides": merged.overrides,
                    "settings": {
                        path: {
                            "value": setting.value,
                            "layer": setting.layer,
                            "line": setting.line or None,
                        }
                        for path, setting in merged.settings.items()
                    },
                },
                indent=2,
            )
        )
        return
    console = Console()
    layers = ", ".join(merged.overrides) or "none"
    console.print(f"{loaded.ref}   {policy_file}", style="bold", markup=False, highlight=False)
    console.print(f"overrides: {layers}", markup=False, highlight=False)
    if show_all or label:
        start = f"labels.{label}." if label else ""
        chosen = {
            path.removeprefix(start): setting
            for path, setting in merged.settings.items()
            if path.startswith(start)
        }
        _print_settings(chosen, console)
        return
    _print_overview(merged, console)
    changed = {
        path: setting
        for path, setting in merged.settings.items()
        if setting.layer not in {"built-in", "base"} and ".thresholds." not in path
    }
    if changed:
        _print_settings(changed, console)


def _print_overview(merged: EffectivePolicy, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("label", "enter at", "leave under", "from"):
        table.add_column(name, no_wrap=True)
    for rule in merged.labels:
        enter, leave = (
            f"{one.review:.2f}/{one.restrict:.2f}/{one.block:.2f}"
            for one in (rule.enter, rule.exit)
        )
        source = merged.settings[f"labels.{rule.id}.thresholds.review.enter"]
        mode = "" if rule.mode == "enforce" else f" ({rule.mode})"
        table.add_row(
            rule.id + mode, enter, leave if leave != enter else "", Text(_name_source(source))
        )
    console.print(table)
    console.print("Scores for review/restrict/block.\n", style="dim")


def _print_settings(settings: dict[str, Setting], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("setting", "value", "from", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.no_wrap, column.overflow = column.header != "value", "fold"
    for path, setting in settings.items():
        value = json.dumps(setting.value, ensure_ascii=False)
        style = "dim" if setting.layer == "built-in" else ""
        table.add_row(Text(path), Text(value), Text(_name_source(setting)), style=style)
    console.print(table)


def _name_source(setting: Setting) -> str:
    return f"{setting.layer}, line {setting.line}" if setting.line else setting.layer


@policy.command()
@click.argument("cases", type=_FILE)
@click.option(
    "--policy",
    "policy_file",
    type=_FILE,
    help="The policy to test; the one that the file of cases names otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def test(cases: Path, policy_file: Path | None, *, as_json: bool) -> None:
    """Test a policy on the golden cases in the file CASES.

    Exit codes: 0 every case as expected; 1 some are not, or a file is wrong; 2 wrong usage.

    \b
    Example:
      livewarden policy test policies/default.cases.yaml
      livewarden policy test policies/default.cases.yaml --policy new.yaml
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    import msgspec
    from rich.console import Console

    from livewarden_ensemble.errors import PolicyInvalid
    from livewarden_ensemble.golden_case import run_cases

    try:
        results = run_cases(cases, policy_file)
    except PolicyInvalid as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
    else:
        _print_results(results, cases, Console())
    if any(result.faults for result in results):
        raise SystemExit(1)


def _print_results(results: list[CaseResult], cases: Path, console: Console) -> None:
    for result in results:
        word, style = ("FAILED", "bold red") if result.faults else ("ok", "green")
        line = f"{word:7}{result.name}"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        for fault in result.faults:
            said = f"       {cases}:{result.line}: {fault}"
            console.print(said, markup=False, highlight=False, soft_wrap=True)
    failed = sum(bool(result.faults) for result in results)
    clips = sum(result.clips for result in results)
    told = f"{len(results)} cases with {clips} clips: {failed or 'none'} failed"
    console.print(told, style="bold red" if failed else "bold green", highlight=False)

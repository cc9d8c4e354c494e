"""`livewarden bundle`: look at bundles, sign them, and move them in and out of service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from livewarden_export.bundle import Bundle

_Command = TypeVar("_Command", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PERCENT = click.FloatRange(0, 100)


def _takes_repository(command: _Command) -> _Command:
    return click.option(
        "--repository",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default="model_repository",
        show_default=True,
        help="Triton's model repository.",
    )(command)


def _takes_bundles(command: _Command) -> _Command:
    return click.option(
        "--bundles",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("bundles"),
        show_default=True,
        help="Where bundles are kept.",
    )(command)


@click.group()
def bundle() -> None:
    """Look at bundles, sign them, publish them and take them back.

    A BUNDLE is the folder of one, or the first digits of its name.

    \b
    Example:
      livewarden bundle list
      livewarden bundle publish 60f26
      livewarden bundle rollback
    """  # noqa: D301 - the \b is click's mark for "do not wrap"


@bundle.command("list")
@_takes_bundles
@_takes_repository
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def list_command(*, bundles: Path, repository: Path, as_json: bool) -> None:
    """List the bundles, oldest first, and what each of them does.

    \b
    Example:
      livewarden bundle list
      livewarden bundle list --json
    """  # noqa: D301 - see above
    with _one_line():
        from livewarden_export.status import describe_bundles

        rows = describe_bundles(bundles, repository)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo(f"{bundles}: no bundles; run: livewarden export", err=True)
    for row in rows:
        roles = ", ".join(row["roles"]) or "-"
        signed = "signed" if row["signed"] else "not signed"
        click.echo(f"{row['bundle']}  {row['mib']:7.1f} MiB  {signed:10}  {roles}")


@bundle.command()
@click.argument("name", metavar="BUNDLE")
@_takes_bundles
@click.option("--public-key", type=_FILE, help="Also check the signature by this key (PEM).")
def verify(*, name: str, bundles: Path, public_key: Path | None) -> None:
    """Check every hash, the wire contract with the label order, and the signature.

    \b
    Example:
      livewarden bundle verify 60f26
      livewarden bundle verify bundles/60f268658ce47a24 --public-key keys/release.pub
    """  # noqa: D301 - see above
    with _one_line():
        from livewarden_ensemble.integrity import check_bundle

        folder = _resolve(name, bundles).folder
        manifest = check_bundle(folder, public_key)
    signed = f", signed by {public_key}" if public_key else ""
    click.echo(f"{folder}: {len(manifest['files'])} files as sealed, contract fits{signed}")


@bundle.command()
@click.argument("name", metavar="BUNDLE")
@_takes_bundles
@click.option("--key", type=_FILE, required=True, help="EC private key (PEM): P-256, 384 or 521.")
@click.option(
    "--password",
    envvar="LIVEWARDEN_KEY_PASSWORD",
    show_envvar=True,
    help="Password of the key; better given in the environment.",
)
def sign(*, name: str, bundles: Path, key: Path, password: str | None) -> None:
    """Sign a bundle with a key of yours, in the format of OpenSSF model signing.

    \b
    Example:
      openssl ecparam -name prime256v1 -genkey -noout -out release.key
      openssl ec -in release.key -pubout -out release.pub
      livewarden bundle sign 60f26 --key release.key
    """  # noqa: D301 - see above
    with _one_line():
        from livewarden_ensemble.integrity import check_bundle
        from livewarden_ensemble.signature import sign_bundle

        folder = _resolve(name, bundles).folder
        check_bundle(folder)
        path = sign_bundle(folder, key, password)
    click.echo(str(path))


@bundle.command()
@click.argument("name", metavar="BUNDLE")
@_takes_bundles
@_takes_repository
def publish(*, name: str, bundles: Path, repository: Path) -> None:
    """Make a bundle live: staged, checked, loaded beside the live one, tried, then switched to.

    Servers that run on the repository answer all the while; the bundle that was live stays loaded.

    \b
    Example:
      livewarden bundle publish 60f26
      livewarden bundle publish bundles/60f268658ce47a24 --repository /srv/models
    """  # noqa: D301 - see above
    with _one_line(), _show_progress() as report:
        from livewarden_export.publish import put_live

        chosen = _resolve(name, bundles)
        put_live(chosen, repository, report)
    click.echo(f"bundle {chosen.id} is live in {repository}")


@bundle.command()
@_takes_repository
def rollback(*, repository: Path) -> None:
    """Make the bundle that was live before live again, at once.

    \b
    Example:
      livewarden bundle rollback
    """  # noqa: D301 - see above
    with _one_line():
        from livewarden_export.publish import roll_back

        pointer = roll_back(repository)
    click.echo(f"bundle {pointer.bundle} is live in {repository}")


@bundle.command()
@click.argument("name", metavar="BUNDLE")
@_takes_bundles
@_takes_repository
@click.option("--percent", type=_PERCENT, required=True, help="Part of the streams; 0 ends it.")
def canary(*, name: str, bundles: Path, repository: Path, percent: float) -> None:
    """Let a bundle answer for a part of the streams, chosen by a hash of their ids.

    \b
    Example:
      livewarden bundle canary 60f26 --percent 5
      livewarden bundle canary 60f26 --percent 0
    """  # noqa: D301 - see above
    _share(name, bundles, repository, "canary", percent)


@bundle.command()
@click.argument("name", metavar="BUNDLE")
@_takes_bundles
@_takes_repository
@click.option(
    "--percent",
    type=_PERCENT,
    default=100,
    show_default=True,
    help="Part of the streams; 0 ends it.",
)
def shadow(*, name: str, bundles: Path, repository: Path, percent: float) -> None:
    """Have a bundle judge clips without acting, and count where it differs.

    Every shadowed clip costs the server one clip more, after its verdict has left.

    \b
    Example:
      livewarden bundle shadow 60f26 --percent 20
      livewarden bundle status
      livewarden bundle shadow 60f26 --percent 0
    """  # noqa: D301 - see above
    _share(name, bundles, repository, "shadow", percent)


@bundle.command()
@_takes_repository
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def status(*, repository: Path, as_json: bool) -> None:
    """Show which bundles serve, in which role, on which servers, and what a shadow found.

    \b
    Example:
      livewarden bundle status
      livewarden bundle status --json
    """  # noqa: D301 - see above
    with _one_line():
        from livewarden_export.status import describe_service, format_service

        report = describe_service(repository)
    click.echo(json.dumps(report, indent=2) if as_json else format_service(report))


def _share(name: str, bundles: Path, repository: Path, role: str, percent: float) -> None:
    with _one_line(), _show_progress() as report:
        from livewarden_export.publish import share_streams

        chosen = _resolve(name, bundles)
        share_streams(chosen, repository, role, percent, report)
    done = f"{percent:g} % of the streams" if percent else "ended"
    click.echo(f"{role} {chosen.id} in {repository}: {done}")


def _resolve(name: str, bundles: Path) -> Bundle:
    """The bundle that a person means: a folder, or the first digits of a name in `bundles`."""
    from livewarden_export.bundle import list_bundles, read_bundle

    if Path(name).is_dir():
        return read_bundle(Path(name).resolve())
    known = list_bundles(bundles)
    fitting = [bundle for bundle in known if bundle.folder.name.startswith(name)]
    if len(fitting) != 1:
        problem = "fits several" if fitting else "is none"
        names = ", ".join(bundle.folder.name for bundle in fitting or known) or "none"
        raise click.UsageError(f"{name!r} {problem} of the bundles in {bundles}: {names}")
    return fitting[0]


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn what is expected to go wrong into one line and exit code 1."""
    from livewarden_ensemble.errors import LivewardenError
    from livewarden_export.errors import ExportFailed

    try:
        yield
    except (ExportFailed, LivewardenError, OSError) as error:
        raise click.ClickException(str(error)) from None


@contextlib.contextmanager
def _show_progress() -> Iterator[Callable[[str], None]]:
    from livewarden_export.cli import show_progress

    with show_progress() as report:
        yield report

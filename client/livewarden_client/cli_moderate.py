"""The command `livewarden moderate`: one clip from files and options, its verdict on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from rich.console import Console

from livewarden_client.client import Client
from livewarden_client.clip import Clip, Text
from livewarden_client.connect import DEFAULT_TIMEOUT, DEFAULT_URL
from livewarden_client.errors import FarSideFailed, Misuse, Unavailable
from livewarden_client.render import render_verdict
from livewarden_client.verdict_json import verdict_to_json
from livewarden_client.wire import TEXT_KINDS, TextKind

_SEVERAL: Final = frozenset({"--frames", "--text"})


class _ModerateCommand(click.Command):
    """Lets one `--frames` or `--text` take several values, as shells expand `*.jpg`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, repeat_options(args))


def repeat_options(args: list[str]) -> list[str]:
    """Write `--frames a b` as `--frames a --frames b`, which is what click reads."""
    repeated: list[str] = []
    option = ""
    for arg in args:
        if arg.startswith("-"):
            option = arg if arg in _SEVERAL else ""
        elif option and repeated[-1] != option:
            repeated.append(option)
        repeated.append(arg)
    return repeated


def _parse_texts(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[Text, ...]:
    return tuple(_parse_text(value) for value in values)


def _parse_text(value: str) -> Text:
    kind, colon, text = value.partition(":")
    known: dict[str, TextKind] = {name: name for name in TEXT_KINDS}
    if not colon or kind not in known:
        # The value is not repeated: it may be a stream's text.
        raise click.BadParameter(f"expected KIND:TEXT, where KIND is {', '.join(TEXT_KINDS)}")
    try:
        return Text(known[kind], text)
    except Misuse as error:
        raise click.BadParameter(str(error)) from error


class _Refused(click.ClickException):
    """A request that this side or the server refuses: the caller must change it."""

    exit_code = 2


@click.command(cls=_ModerateCommand)
@click.option(
    "--frames",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE...",
    help="JPEG, PNG or WebP files, in time order.",
)
@click.option(
    "--text",
    "texts",
    multiple=True,
    callback=_parse_texts,
    metavar="KIND:TEXT...",
    help=f"Texts; KIND is {', '.join(TEXT_KINDS)}.",
)
@click.option("--title", help="The stream's title; short for --text title:...")
@click.option("--region", default="", help="Where it is shown, for example DE.")
@click.option("--surface", default="", help="Where in the product, for example live.")
@click.option("--audience", default="", help="Who watches, for example teen.")
@click.option("--room", default="", help="Which room or channel, for example kids.")
@click.option("--policy", default="", help="Policy to judge by; the server's default otherwise.")
@click.option("--stream-id", default="", help="The stream that the clip belongs to.")
@click.option("--clip-seq", default=0, show_default=True, help="The clip's place in the stream.")
@click.option("--url", default=DEFAULT_URL, show_default=True, metavar="HOST:PORT")
@click.option(
    "--timeout", default=DEFAULT_TIMEOUT, show_default=True, metavar="S", help="Seconds to wait."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def moderate(
    *,
    frames: tuple[Path, ...],
    texts: tuple[Text, ...],
    title: str | None,
    region: str,
    surface: str,
    audience: str,
    room: str,
    policy: str,
    stream_id: str,
    clip_seq: int,
    url: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask a running server for the verdict on one clip.

    Exit codes: 0 a verdict was given, whatever its action; 1 the server failed; 2 wrong usage.

    \b
    Example:
      livewarden moderate --frames a.jpg b.png --text "chat:hello" --region DE
      livewarden moderate --title "My stream" --json | jq .action
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    if not (frames or texts or title):
        raise click.UsageError("There is nothing to moderate: give --frames, --text or --title.")
    try:
        titles = () if title is None else (Text("title", title),)
        clip = Clip(
            frames=[path.read_bytes() for path in frames],
            texts=(*titles, *texts),
            region=region,
            surface=surface,
            audience=audience,
            room=room,
            policy=policy,
            stream_id=stream_id,
            clip_seq=clip_seq,
        )
        with Client(url, timeout=timeout, on_failure="raise") as client:
            verdict = client.moderate(clip)
    except Misuse as error:
        raise _Refused(str(error)) from error
    except FarSideFailed as error:
        remedy = " Start one here: livewarden serve" if isinstance(error, Unavailable) else ""
        raise click.ClickException(f"{url}: {error}{remedy}") from error
    if as_json:
        click.echo(verdict_to_json(verdict, indent=2))
    else:
        Console().print(render_verdict(verdict))

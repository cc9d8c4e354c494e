"""The command `livewarden watch`: a recorded stream through a server, live and as a report."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

    from livewarden_ensemble.watch.moment import Moment
    from livewarden_ensemble.watch.report import Side
    from livewarden_ensemble.watch.session import Judge, Rehearsal

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, writable=True, path_type=Path)
# What the command needs beyond the extra [server].
_MODULES: Final = ("av", "jinja2", "pysubs2")
_MAX_EVERY_MS: Final = 60_000
_READY_SECONDS: Final = 5.0


class _Refused(click.ClickException):
    """What was given cannot be used: the caller must change it."""

    exit_code = 2


def _read_every(_ctx: click.Context, _param: click.Parameter, value: str) -> int:
    from livewarden_ensemble.policy.value import read_duration

    try:
        every_ms = read_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 0 < every_ms <= _MAX_EVERY_MS:
        raise click.BadParameter("accepted: more than 0 and at most 1m")
    return every_ms


@click.command()
@click.argument("video", type=_FILE)
@click.option("--chat", type=_FILE, help="Its chat: one JSON object with `t` and `text` a line.")
@click.option("--srt", type=_FILE, help="What is said in it: subtitles.")
@click.option("--title", default="", help="The stream's title, sent with every clip.")
@click.option(
    "--every",
    "every_ms",
    default="2s",
    show_default=True,
    callback=_read_every,
    metavar="DURATION",
    help="How much of the video one clip stands for.",
)
@click.option(
    "--frames",
    default=8,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Frames of a clip, evenly spread.",
)
@click.option("--report", type=_OUTPUT, metavar="FILE", help="Write the report, one HTML file.")
@click.option("--policy", type=_FILE, help="Policy file; the repository's default where absent.")
@click.option("--compare-policy", type=_FILE, help="Judge by this policy too, side by side.")
@click.option(
    "--compare-bundle", metavar="BUNDLE", help="Judge with this bundle too: its folder, or digits."
)
@click.option("--server", metavar="HOST:PORT", help="A server that runs; else one is started.")
@click.option("--repository", type=_FOLDER, default="model_repository", show_default=True)
@click.option(
    "--bundles",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bundles"),
    show_default=True,
    help="Where --compare-bundle looks.",
)
@click.option("--region", default="", help="Where it is shown, for example DE.")
@click.option("--surface", default="", help="Where in the product, for example live.")
@click.option("--audience", default="", help="Who watches, for example teen.")
@click.option("--room", default="", help="Which room or channel, for example kids.")
def watch(
    *,
    video: Path,
    chat: Path | None,
    srt: Path | None,
    title: str,
    every_ms: int,
    frames: int,
    report: Path | None,
    policy: Path | None,
    compare_policy: Path | None,
    compare_bundle: str | None,
    server: str | None,
    repository: Path,
    bundles: Path,
    **place: str,
) -> None:
    """Watch a recorded stream: what would have been decided, when and why.

    Cuts VIDEO into clips, sends them in order as one stream, and shows each verdict as it comes.
    The report is one HTML file that loads nothing.

    \b
    Example:
      livewarden watch stream.mp4 --chat chat.jsonl --srt speech.srt --report out.html
      livewarden watch stream.mp4 --policy old.yaml --compare-policy new.yaml --report out.html
      livewarden watch stream.mp4 --compare-bundle 60f26 --report out.html
      livewarden watch stream.mp4 --server 127.0.0.1:8001 --every 5s
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    missing = [module for module in _MODULES if importlib.util.find_spec(module) is None]
    if missing:
        raise click.UsageError(
            f"needs the module {missing[0]!r}. Run: pip install 'livewarden[watch]'"
        )
    if server and (policy or compare_policy or compare_bundle):
        raise click.UsageError(
            "--server answers by the policy and the bundle that it runs; to try others, leave it "
            "out: a server is then started here"
        )
    # Here and not above, so that --help answers at once.
    from livewarden_client.errors import FarSideFailed, Misuse
    from livewarden_ensemble.errors import LivewardenError, ScriptInvalid
    from livewarden_ensemble.policy import locate_policy
    from livewarden_ensemble.watch.cut import share_out
    from livewarden_ensemble.watch.script import read_chat, read_speech
    from livewarden_ensemble.watch.session import Judge, Rehearsal, tell_time
    from livewarden_ensemble.watch.stage import find_bundle

    try:
        texts = (*(read_chat(chat) if chat else ()), *(read_speech(srt) if srt else ()))
        shared = share_out(texts, every_ms, title)
        rehearsal = Rehearsal(video, shared, every_ms, frames, place, tell_time())
        if server:
            sides = _watch_server(rehearsal, server)
        else:
            judges = [Judge(policy or locate_policy(repository))]
            if compare_policy or compare_bundle:
                bundle = find_bundle(compare_bundle, bundles) if compare_bundle else None
                judges.append(Judge(compare_policy or judges[0].policy, bundle))
            sides = _watch_here(rehearsal, repository, judges)
    except (Misuse, ScriptInvalid) as error:
        raise _Refused(str(error)) from None
    except (FarSideFailed, LivewardenError) as error:
        raise click.ClickException(str(error)) from None
    _conclude(rehearsal, sides, report)


def _watch_server(rehearsal: Rehearsal, url: str) -> list[Side]:
    from rich.console import Console

    from livewarden_client.client import Client
    from livewarden_ensemble.watch.report import Side
    from livewarden_ensemble.watch.timeline import build_timeline

    with Client(url, timeout=_READY_SECONDS) as client:
        client.wait_for_ready(_READY_SECONDS)
    moments = _show(Console(), "", rehearsal, rehearsal.watch(url))
    return [Side("", build_timeline(moments), "sent")]


def _watch_here(rehearsal: Rehearsal, repository: Path, judges: list[Judge]) -> list[Side]:
    from rich.console import Console

    from livewarden_ensemble.watch.report import Side
    from livewarden_ensemble.watch.session import watch_sides
    from livewarden_ensemble.watch.timeline import build_timeline

    console, errors = Console(), Console(stderr=True)
    names = ["A", "B"] if len(judges) > 1 else [""]

    def show_as(name: str) -> Any:
        def show(moments: Iterable[Moment]) -> tuple[Moment, ...]:
            status.stop()
            seen = _show(console, name, rehearsal, moments)
            status.update("ending tritonserver")
            status.start()
            return seen

        return show

    with errors.status("starting tritonserver, and a canary clip through every stage") as status:
        sides = watch_sides(rehearsal, repository, judges, [show_as(name) for name in names])
    return [
        Side(name, build_timeline(moments), way)
        for name, (moments, way) in zip(names, sides, strict=True)
    ]


def _show(
    console: Console, name: str, rehearsal: Rehearsal, moments: Iterable[Moment]
) -> tuple[Moment, ...]:
    """Show the moments as they come, and keep them."""
    from livewarden_ensemble.watch.cut import estimate_windows
    from livewarden_ensemble.watch.terminal import View

    seen = []
    if name and not console.is_terminal:
        console.print(f"side {name}")
    total = estimate_windows(rehearsal.video, rehearsal.every_ms)
    with View(console, f"{name} clips".strip(), total) as view:
        for moment in moments:
            seen.append(moment)
            view.show(moment)
    return tuple(seen)


def _conclude(rehearsal: Rehearsal, sides: list[Side], file: Path | None) -> None:
    """Say how it went, and write the report where one is asked for."""
    from rich.console import Console

    from livewarden_ensemble.watch.difference import find_difference
    from livewarden_ensemble.watch.page import render_page
    from livewarden_ensemble.watch.report import Report
    from livewarden_ensemble.watch.terminal import render_difference, render_side

    console, errors = Console(), Console(stderr=True)
    for side in sides:
        console.print(render_side(side.describe(), side.timeline))
    difference = None
    if len(sides) > 1:
        difference = find_difference(sides[0].timeline, sides[1].timeline)
        console.print(render_difference(difference, len(sides[0].timeline.moments)))
    windows = len(sides[0].timeline.moments)
    late = (said for index, said in rehearsal.texts.items() if index >= windows)
    unsent = sum(text.ts_ms is not None for said in late for text in said)  # not the title
    if unsent:
        errors.print(f"{unsent} texts are later than the video's end and were not sent")
    if file is None:
        return
    report = Report(
        video=rehearsal.video.name,
        every_ms=rehearsal.every_ms,
        frames=rehearsal.frames,
        began_ms=rehearsal.began_ms,
        place=rehearsal.place,
        unsent=unsent,
        sides=tuple(sides),
        difference=difference,
    )
    try:
        file.write_text(render_page(report), encoding="utf-8", errors="replace")
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be written: {error.strerror}") from None
    errors.print(f"report: {file}", soft_wrap=True, markup=False, highlight=False)

"""The terminal: a run as it goes, live where there is a terminal, and line by line elsewhere."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Self

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from livewarden_client.render import STYLES
from livewarden_client.wire import ACTIONS
from livewarden_ensemble.watch.sign import SIGNS, format_clock

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

    from livewarden_client.verdict import LabelVerdict, Verdict
    from livewarden_client.wire import Action
    from livewarden_ensemble.watch.difference import Difference
    from livewarden_ensemble.watch.moment import Moment
    from livewarden_ensemble.watch.timeline import Span, Timeline

_TOP: Final = 5
_LINE_TOP: Final = 2
_BAR: Final = 30
_RIBBON: Final = 60


class View:
    """Shows the moments of one side as they come; `total` is how many, None where unknown."""

    def __init__(self, console: Console, name: str, total: int | None) -> None:
        self._console = console
        self._name = name
        self._total = total
        self._seen: deque[Action] = deque(maxlen=_RIBBON)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(name, total=total)
        self._live = Live(self._progress, console=console, transient=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the live view away; lines stay."""
        if self._console.is_terminal:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """Show one moment."""
        if not self._console.is_terminal:
            self._console.print(render_line(moment, self._total), soft_wrap=True, highlight=False)
            return
        self._seen.append(moment.verdict.action)
        self._progress.update(self._task, completed=moment.number)
        self._live.update(Group(*_render_moment(moment), self._render_ribbon(), self._progress))

    def _render_ribbon(self) -> RenderableType:
        ribbon = Text("last clips  ", style="dim")
        for action in self._seen:
            ribbon.append(SIGNS[action], style=STYLES[action])
        return ribbon


def render_line(moment: Moment, total: int | None) -> Text:
    """One moment as one line: time, clip, action, the loudest labels, latency."""
    verdict = moment.verdict
    of = f"/{total}" if total else ""
    line = Text(f"{format_clock(moment.start_ms):>8}  clip {moment.number}{of}  ")
    line.append(f"{SIGNS[verdict.action]} {verdict.action:<8}", style=STYLES[verdict.action])
    top = rank_labels(verdict)[:_LINE_TOP]
    line.append("  " + ", ".join(f"{label.id} {label.score:.2f}" for label in top))
    return line.append(f"  {_say_latency(moment)}".rstrip(), style="dim")


def rank_labels(verdict: Verdict) -> list[LabelVerdict]:
    """The labels that were scored; those that ask for most first, then the loudest."""
    scored = [label for label in verdict.labels if label.supported]
    return sorted(scored, key=lambda one: (-ACTIONS.index(one.action), -one.score))


def render_side(name: str, timeline: Timeline) -> RenderableType:
    """One side when it is over: what each span of the stream got, gaps and latency."""
    table = Table(box=box.SIMPLE_HEAD, title=name, title_justify="left", pad_edge=False)
    for column in ("from", "to", "clips"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("label", no_wrap=True)
    table.add_column("peak", justify="right", no_wrap=True)
    for span in timeline.spans:
        table.add_row(
            format_clock(span.start_ms),
            format_clock(span.end_ms),
            str(span.count),
            _sign(span.action),
            _name_cause(span),
            "" if span.score is None else f"{span.score:.2f}",
        )
    gaps = sum(gap.last - gap.first + 1 for gap in timeline.gaps)
    told = f"not fully seen: {gaps} of {len(timeline.moments)} clips"
    if latency := timeline.latency:
        told += (
            f"; latency {latency.p50:.0f} ms (median), {latency.p95:.0f} ms (p95), "
            f"{latency.most:.0f} ms (longest)"
        )
    return Group(table, Text(told))


def render_difference(difference: Difference, clips: int) -> RenderableType:
    """Where two sides part, in a few lines."""
    if not difference.partings:
        return Text(f"A and B take the same action on all {clips} clips.")
    first = difference.partings[0]
    line = Text(
        f"A and B differ on {len(difference.places)} of {clips} clips: B is stricter on "
        f"{difference.stricter}, milder on {difference.milder}. First at "
        f"{format_clock(first.start_ms)} (clip {first.first + 1}): "
    )
    return line.append_text(_sign(first.a.action)).append(" → ").append_text(_sign(first.b.action))


def _render_moment(moment: Moment) -> list[RenderableType]:
    verdict = moment.verdict
    head = Text(f"{format_clock(moment.start_ms)}  clip {moment.number}   ", style="bold")
    head.append_text(_sign(verdict.action))
    head.append(f"   {verdict.label or ''}   {_say_latency(moment)}")
    if verdict.coverage.degraded:
        head.append("   not fully seen", style=STYLES["review"])
    table = Table.grid(padding=(0, 1))
    for label in rank_labels(verdict)[:_TOP]:
        filled = round(label.score * _BAR)
        style = STYLES[label.action] if label.action != ACTIONS[0] else "dim"
        bar = Text("█" * filled + "·" * (_BAR - filled), style=style)
        table.add_row(label.id, bar, f"{label.score:.2f}", Text(label.action, style=style))
    return [head, table]


def _say_latency(moment: Moment) -> str:
    return "" if moment.latency_ms is None else f"{moment.latency_ms:.0f} ms"


def _sign(action: Action) -> Text:
    return Text(f"{SIGNS[action]} {action}", style=STYLES[action])


def _name_cause(span: Span) -> str:
    if span.label is not None or not span.reasons:
        return span.label or ""
    return span.reasons[0].code

"""A report as one HTML page that needs nothing else: plots and pictures inline, light and dark."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import jinja2
from markupsafe import Markup

from livewarden_client.wire import ACTIONS
from livewarden_ensemble.watch.drawing import draw_ticks, draw_track, draw_verdicts
from livewarden_ensemble.watch.sign import SIGNS, format_clock
from livewarden_ensemble.watch.terminal import rank_labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from livewarden_ensemble.watch.moment import Moment, Thumbnail
    from livewarden_ensemble.watch.report import Report, Side
    from livewarden_ensemble.watch.timeline import Counted, Span, Track

_TEMPLATE: Final = "watch/page.html.j2"
_SCRIPT: Final = "page.js"
_STRIP: Final = 8
_TOP: Final = 4


def render_page(report: Report) -> str:
    """Render `report` as HTML. Whatever the recording and its script hold is shown as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("livewarden_ensemble", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        actions=ACTIONS,
        signs=SIGNS,
        clock=format_clock,
        embed=_embed,
        quote=_quote,
        group=_group,
        runs=draw_verdicts,
        plot=lambda side, track: draw_track(side.timeline, track),
    )
    script = importlib.resources.files(__package__).joinpath(_SCRIPT).read_text(encoding="utf-8")
    first = report.sides[0].timeline
    loud, quiet = _sort_labels(report)
    return environment.get_template(_TEMPLATE).render(
        report=report,
        script=Markup(script),  # noqa: S704 - our own file, as it stands in the package
        # Only the script with this hash runs: one that came in with a text would not.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        moments=first.moments,
        end_ms=first.end_ms,
        ticks=draw_ticks(first.end_ms),
        strip=_choose_strip(report),
        loud=loud,
        quiet=quiet,
        clips=[[_sum_up(moment) for moment in side.timeline.moments] for side in report.sides],
        scenes=[(side, _list_scenes(side)) for side in report.sides],
        differs=sorted(report.difference.places) if report.difference else [],
        began=datetime.fromtimestamp(report.began_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def _embed(thumbnail: Thumbnail) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail.jpeg).decode()


def _quote(counted: Counted) -> Markup:
    """The text with its span marked, everything else of it escaped."""
    if counted.span is None:
        return Markup.escape(counted.text)
    start, end = counted.span
    before, hit, after = counted.text[:start], counted.text[start:end], counted.text[end:]
    return Markup("{}<mark>{}</mark>{}").format(before, hit, after)


def _group(texts: Iterable[Counted]) -> list[list[Counted]]:
    """What one text counted for, together; the texts in time order, as they come."""
    groups: dict[tuple[object, ...], list[Counted]] = {}
    for one in texts:
        groups.setdefault((one.index, one.at_ms, one.kind, one.text, one.span), []).append(one)
    return list(groups.values())


def _sort_labels(report: Report) -> tuple[list[list[Track]], list[list[Track]]]:
    """Each label's tracks, one per side: those that came to a threshold of a side, and the rest."""
    sides = [{track.label: track for track in side.timeline.tracks} for side in report.sides]
    names = dict.fromkeys(track.label for side in report.sides for track in side.timeline.tracks)
    rows = [[side[name] for side in sides if name in side] for name in names]
    loud = [row for row in rows if any(map(_is_loud, row))]
    return loud, [row for row in rows if row not in loud]


def _is_loud(track: Track) -> bool:
    """Whether the label asked for something, or its score came to where an action can hold."""
    return track.asks != "allow" or any(
        one.score >= (one.exit or one.thresholds).review
        for one in track.points
        if one and one.supported
    )


def _is_sensitive(moments: list[Moment]) -> bool:
    """Whether a picture starts blurred: unless every side saw all of its clip and allowed it."""
    return any(
        moment.verdict.action != "allow" or moment.verdict.coverage.degraded for moment in moments
    )


def _choose_strip(report: Report) -> list[tuple[Moment, bool]]:
    """At most _STRIP moments, evenly spread, and whether their pictures start blurred."""
    sides = [side.timeline.moments for side in report.sides]
    count = min(_STRIP, len(sides[0]))
    places = [(2 * number + 1) * len(sides[0]) // (2 * count) for number in range(count)]
    return [(sides[0][place], _is_sensitive([one[place] for one in sides])) for place in places]


def _list_scenes(side: Side) -> list[dict[str, Any]]:
    """Every span that is not allowed: its decisive pictures, and the texts that counted in it."""
    return [
        {
            "span": span,
            "moments": _pick_decisive(side, span),
            "texts": _group(
                one for one in side.timeline.counted if span.first <= one.index <= span.last
            ),
            "degraded": any(
                one.verdict.coverage.degraded
                for one in side.timeline.moments[span.first : span.last + 1]
            ),
        }
        for span in side.timeline.spans
        if span.action != "allow"
    ]


def _pick_decisive(side: Side, span: Span) -> list[Moment]:
    """The moment that began the span and the loudest one; none where an earlier span decided."""
    if span.is_held:
        return []
    places = dict.fromkeys((span.first, span.loudest))
    return [side.timeline.moments[place] for place in places]


def _sum_up(moment: Moment) -> dict[str, Any]:
    """One clip as the page's script shows it."""
    verdict = moment.verdict
    return {
        "clip": moment.number,
        "clock": format_clock(moment.start_ms),
        "action": verdict.action,
        "label": verdict.label or "",
        "top": [[one.id, f"{one.score:.2f}", one.action] for one in rank_labels(verdict)[:_TOP]],
        "ms": "" if moment.latency_ms is None else f"{moment.latency_ms:.0f} ms",
        "unseen": verdict.coverage.degraded,
    }

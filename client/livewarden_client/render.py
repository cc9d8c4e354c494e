"""The verdict for people: a rich renderable, readable at 80 columns and without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from livewarden_client.wire import ACTIONS, Action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from livewarden_client.verdict import (
        Coverage,
        Evidence,
        LabelVerdict,
        ModalityCoverage,
        Thresholds,
        Verdict,
    )

STYLES: Final[dict[Action, str]] = {
    "allow": "bold green",
    "review": "bold yellow",
    "restrict": "bold dark_orange",
    "block": "bold red",
}

_PANEL_WIDTH: Final = 78


def render_verdict(verdict: Verdict) -> RenderableType:
    """Render `verdict`: action, labels, reasons, remarks, coverage, provenance, timings.

    A label's thresholds are those for review, restrict and block. Times are those in the stream.
    Nothing from the verdict is read as markup, and control characters are shown as `·`.
    """
    return Group(
        _render_action(verdict),
        _render_labels(verdict),
        "",
        *(_line("reason", text, STYLES[action]) for action, text in _list_reasons(verdict)),
        *(_line(name, ", ".join(items)) for name, items in _list_remarks(verdict) if items),
        *(_line("coverage", text) for text in _list_coverage(verdict.coverage)),
        _line("made by", _describe_provenance(verdict)),
        _line("timings", _describe_timings(verdict)),
    )


def _render_action(verdict: Verdict) -> RenderableType:
    style = STYLES[verdict.action]
    headline = Text(" ".join(verdict.action.upper()), style=style)
    if verdict.label is not None:
        headline.append(f"   {_clean(verdict.label)}")
    if verdict.coverage.degraded:
        headline.append("   (not everything that was sent was scored)")
    where = f"stream {verdict.stream_id}, clip {verdict.clip_seq}" if verdict.stream_id else ""
    return Panel(
        headline,
        title=Text(f"request {_clean(verdict.request_id)}"),
        subtitle=Text(_clean(where)) if where else None,
        border_style=style,
        width=_PANEL_WIDTH,
    )


def _render_labels(verdict: Verdict) -> RenderableType:
    # The widest row, with `terrorism_extremism` and `frames[63] 7200.0s`, has 78 columns.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("label", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("thresholds", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("strongest", no_wrap=True)
    table.add_column("where", overflow="fold")
    for label in sorted(verdict.labels, key=_rank_label, reverse=True):
        modality, where = _find_strongest(label, verdict.evidence)
        table.add_row(
            Text(_clean(label.id)),
            f"{label.score:.3f}" if label.supported else "-",
            _describe_thresholds(label.thresholds),
            Text(label.action if label.supported else "no model", style=_label_style(label)),
            Text(_clean(modality)),
            Text(_clean(where)),
        )
    return table


def _rank_label(label: LabelVerdict) -> tuple[bool, int, float]:
    return label.supported, ACTIONS.index(label.action), label.score


def _label_style(label: LabelVerdict) -> str:
    return "dim" if label.action == "allow" or not label.supported else STYLES[label.action]


def _describe_thresholds(thresholds: Thresholds) -> str:
    return f"{thresholds.review:.2f}/{thresholds.restrict:.2f}/{thresholds.block:.2f}"


def _find_strongest(label: LabelVerdict, evidence: tuple[Evidence, ...]) -> tuple[str, str]:
    """Find the modality with the highest score of its own, and the frame or text it points at."""
    if not label.supported or not label.per_modality:
        return "-", "-"
    modality = max(label.per_modality, key=lambda name: label.per_modality[name])
    own = [item for item in evidence if (item.label, item.modality) == (label.id, modality)]
    if not own:
        return modality, "-"
    best = max(own, key=lambda item: item.score)
    return modality, best.ref if best.ts_ms is None else f"{best.ref} {best.ts_ms / 1000:.1f}s"


def _list_reasons(verdict: Verdict) -> Iterator[tuple[Action, str]]:
    for reason in verdict.reasons:
        yield reason.action, f"{reason.action}: {reason.message} [{reason.code}]"


def _list_remarks(verdict: Verdict) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "shown as", verdict.visibility
    yield "review", verdict.review
    yield "flags", verdict.flags


def _list_coverage(coverage: Coverage) -> Iterator[str]:
    yield "; ".join(
        _describe_modality(name, modality)
        for name, modality in (("frames", coverage.frames), ("texts", coverage.texts))
    )
    if coverage.missing:
        yield f"not sent: {', '.join(coverage.missing)}"
    for stage, cause in coverage.failed.items():
        yield f"failed: {stage} ({cause})"
    if coverage.unsupported_labels:
        yield f"no model for: {', '.join(coverage.unsupported_labels)}"


def _describe_modality(name: str, modality: ModalityCoverage) -> str:
    counts = f"{name} {modality.sent} sent, {modality.decoded} decoded, {modality.scored} scored"
    states = "".join(
        f", {state}: {' '.join(str(index) for index in indices)}"
        for state, indices in modality.states.items()
    )
    return counts + states


def _describe_provenance(verdict: Verdict) -> str:
    made = verdict.provenance
    policy = made.policy
    overrides = f" ({', '.join(policy.overrides)})" if policy.overrides else ""
    return (
        f"policy {policy.id} v{policy.version}{overrides}, bundle {_shorten(made.bundle)}, "
        f"calibration {made.calibration}, taxonomy {made.taxonomy}, server {made.server}"
    )


def _shorten(digest: str) -> str:
    """Shorten `sha256:<64 digits>` to what people compare by eye."""
    return digest.removeprefix("sha256:")[:12]


def _describe_timings(verdict: Verdict) -> str:
    return ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in verdict.timings_ms.items()) or "none"


def _line(name: str, text: str, style: str = "") -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=8, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(name, Text(_clean(text), style=style))
    return grid


def _clean(text: str) -> str:
    """Take away control characters, so that no request id can drive the terminal."""
    return "".join(c if c.isprintable() else "·" for c in text)

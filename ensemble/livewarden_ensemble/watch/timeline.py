"""The timeline: what a recording's verdicts say when they are laid side by side. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from livewarden_client.wire import ACTIONS, Action
from livewarden_ensemble.coverage import WHOLE_FRAME, WHOLE_TEXT
from livewarden_ensemble.normalise import normalise_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livewarden_client.verdict import (
        Coverage,
        Evidence,
        LabelVerdict,
        ModalityCoverage,
        Reason,
        Verdict,
    )
    from livewarden_ensemble.watch.moment import Moment

# States of an item that was seen as a whole.
_WHOLE: Final = {"frames": WHOLE_FRAME, "texts": WHOLE_TEXT}
_REF: Final = re.compile(r"texts\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Track:
    """One label along the recording: its verdict in each moment, None where there was none."""

    label: str
    points: tuple[LabelVerdict | None, ...]

    @property
    def peak(self) -> float:
        """The highest joint score; 0 where the label was never scored."""
        return max((one.score for one in self.points if one and one.supported), default=0.0)

    @property
    def asks(self) -> Action:
        """The strongest action that the label asked for."""
        return max((one.action for one in self.points if one), key=ACTIONS.index, default="allow")


@dataclass(frozen=True, slots=True)
class Span:
    """Moments in a row, `first` to `last` by index, that got the same action for the same label.

    `loudest` is the index of the one with the label's highest score, `score` that score, None where
    no label decided. `reasons` are those of the first moment. `is_held`: none of them asked for the
    action by itself, an earlier clip did.
    """

    first: int
    last: int
    start_ms: int
    end_ms: int
    action: Action
    label: str | None
    loudest: int
    score: float | None
    reasons: tuple[Reason, ...]
    is_held: bool

    @property
    def count(self) -> int:
        """How many clips it has."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, repr=False)
class Counted:
    """A text that counted: it spoke loudest for a label that asked for something, or was listed.

    `text` is what was sent; where a span of the normalised text is marked, it is that text.
    `at_ms` is None for a text without a time, as a title. `source` names the list, if any.
    """

    index: int
    kind: str
    at_ms: int | None
    text: str
    label: str
    score: float
    action: Action
    span: tuple[int, int] | None = None
    normalised: bool = False
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Moments in a row of which the same was not seen, by index; `what` says it for people."""

    first: int
    last: int
    start_ms: int
    end_ms: int
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from call to verdict, and the mean of what the server says of each stage."""

    values: tuple[float, ...]
    p50: float
    p95: float
    most: float
    stages: Mapping[str, float]


@dataclass(frozen=True, slots=True, repr=False)
class Timeline:
    """One side of a report: a recording as one policy and one bundle judged it.

    `latency` is None where verdicts came without a call.
    """

    moments: tuple[Moment, ...]
    tracks: tuple[Track, ...]
    spans: tuple[Span, ...]
    counted: tuple[Counted, ...]
    gaps: tuple[Gap, ...]
    latency: Latency | None
    actions: Mapping[Action, int]

    @property
    def end_ms(self) -> int:
        """When the last window ends."""
        return self.moments[-1].end_ms

    @property
    def strongest(self) -> Span:
        """The first span with the strongest action."""
        return max(self.spans, key=lambda span: ACTIONS.index(span.action))


def build_timeline(moments: Sequence[Moment]) -> Timeline:
    """Lay out `moments`, at least one, in their order."""
    verdicts = [moment.verdict for moment in moments]
    counts = Counter(verdict.action for verdict in verdicts)
    return Timeline(
        moments=tuple(moments),
        tracks=_build_tracks(verdicts),
        spans=tuple(_find_spans(moments)),
        counted=tuple(text for index, one in enumerate(moments) for text in _count(index, one)),
        gaps=tuple(_find_gaps(moments)),
        latency=_measure(moments),
        actions={action: counts[action] for action in ACTIONS},
    )


def find_label(verdict: Verdict, label: str | None) -> LabelVerdict | None:
    """What the verdict says of `label`; None where it says nothing."""
    return next((one for one in verdict.labels if one.id == label), None)


def is_held(verdict: Verdict) -> bool:
    """Whether the action is left from an earlier clip: its label is in cooldown."""
    own = find_label(verdict, verdict.label)
    return own is not None and own.state == "cooldown"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(math.ceil(share * len(ranked)), 1) - 1]


def _build_tracks(verdicts: Sequence[Verdict]) -> tuple[Track, ...]:
    """Every label, those that asked for most first, then those with the highest score."""
    names = dict.fromkeys(label.id for verdict in verdicts for label in verdict.labels)
    tracks = (Track(name, tuple(find_label(one, name) for one in verdicts)) for name in names)
    return tuple(sorted(tracks, key=lambda one: (-ACTIONS.index(one.asks), -one.peak)))


def _find_spans(moments: Sequence[Moment]) -> Iterator[Span]:
    def tell(index: int) -> tuple[Action, str | None]:
        return moments[index].verdict.action, moments[index].verdict.label

    def score(index: int) -> float:
        own = find_label(moments[index].verdict, moments[index].verdict.label)
        return -1.0 if own is None else own.score

    for (action, label), group in groupby(range(len(moments)), tell):
        members = list(group)
        loudest = max(members, key=score)
        yield Span(
            first=members[0],
            last=members[-1],
            start_ms=moments[members[0]].start_ms,
            end_ms=moments[members[-1]].end_ms,
            action=action,
            label=label,
            loudest=loudest,
            score=None if score(loudest) < 0 else score(loudest),
            reasons=moments[members[0]].verdict.reasons,
            is_held=all(is_held(moments[index].verdict) for index in members),
        )


def _count(index: int, moment: Moment) -> Iterator[Counted]:
    """The texts of one moment that counted, loudest first."""
    asked = {label.id: label.action for label in moment.verdict.labels}
    for item in sorted(moment.verdict.evidence, key=lambda item: -item.score):
        place = _REF.fullmatch(item.ref)
        action = asked.get(item.label, "allow")
        if place and (action != "allow" or item.kind == "list"):
            yield _quote(index, moment, int(place[1]), item, action)


def _quote(index: int, moment: Moment, place: int, item: Evidence, action: Action) -> Counted:
    sent = moment.texts[place]
    marks_normalised = item.normalised and item.span is not None
    raw = sent.encode()
    return Counted(
        index=index,
        kind=sent.kind,
        at_ms=sent.ts_ms,
        text=normalise_text(raw).text if marks_normalised else raw.decode("utf-8", "replace"),
        label=item.label,
        score=item.score,
        action=action,
        span=item.span,
        normalised=marks_normalised,
        source=item.source,
    )


def _find_gaps(moments: Sequence[Moment]) -> Iterator[Gap]:
    def tell(index: int) -> tuple[str, ...]:
        return tuple(_describe_gaps(moments[index].verdict.coverage))

    for what, group in groupby(range(len(moments)), tell):
        members = list(group)
        if what:
            first, last = members[0], members[-1]
            yield Gap(first, last, moments[first].start_ms, moments[last].end_ms, what)


def _describe_gaps(coverage: Coverage) -> Iterator[str]:
    """What of one clip was not seen. What was never sent, as a chat that is silent, is no gap."""
    for stage, cause in coverage.failed.items():
        yield f"{stage} failed ({cause})"
    yield from _describe_states("frames", coverage.frames)
    yield from _describe_states("texts", coverage.texts)
    if not coverage.frames.sent:
        yield "no frames"


def _describe_states(name: str, modality: ModalityCoverage) -> Iterator[str]:
    """Counts and not indices, so that clips in a row have the same and are told as one."""
    unseen = {
        state: places for state, places in modality.states.items() if state not in _WHOLE[name]
    }
    yield from (f"{name}: {len(places)} {state}" for state, places in unseen.items())
    if not modality.states and modality.scored < modality.sent:
        yield f"{name}: {modality.sent - modality.scored} of {modality.sent} not scored"


def _measure(moments: Sequence[Moment]) -> Latency | None:
    values = tuple(moment.latency_ms for moment in moments if moment.latency_ms is not None)
    if len(values) < len(moments):
        return None
    sums: Counter[str] = Counter()
    for moment in moments:
        sums.update(moment.verdict.timings_ms)
    return Latency(
        values=values,
        p50=quantile(values, 0.5),
        p95=quantile(values, 0.95),
        most=max(values),
        stages={stage: total / len(moments) for stage, total in sums.items()},
    )

"""Golden cases: what a policy must say of clips that are written down with it.

    policy: default.yaml
    cases:
      - name: one loud clip waits for a second
        clips:
          - { scores: { hate: 0.85 }, expect: review }
          - { at: 5s, scores: { hate: 0.85 }, expect: { action: restrict, label: hate } }

A clip is whole unless it says otherwise: four frames and one blank text of each kind, all scored.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from livewarden_client.wire import Action
from livewarden_ensemble.context import Context, TextInfo
from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.golden_clip import (
    Expectation,
    GivenClip,
    check_clip,
    cover_clip,
    score_clip,
)
from livewarden_ensemble.policy import decide, load_policy
from livewarden_ensemble.policy.check import check_document
from livewarden_ensemble.policy.document import Instant, Part
from livewarden_ensemble.policy.fault import Faults
from livewarden_ensemble.policy.search import search_clip
from livewarden_ensemble.policy.source import read_source
from livewarden_ensemble.policy.value import read_duration, read_instant
from livewarden_ensemble.stream_state import FRESH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livewarden_ensemble.policy import Decision, Policy
    from livewarden_ensemble.policy.fault import Path as KeyPath

_STEP_MS: Final = 5_000


class Case(GivenClip, frozen=True, kw_only=True):
    """One case: a stream of `clips`, or one clip written in the case itself."""

    name: str
    region: str = ""
    surface: str = ""
    audience: str = ""
    room: str = ""
    clips: tuple[GivenClip, ...] = ()


class CaseFile(Part, frozen=True):
    """A file of cases for one policy; `start` is when their first clips were captured."""

    cases: Annotated[tuple[Case, ...], msgspec.Meta(min_length=1)]
    policy: str | None = None
    start: Instant = "2026-01-01"


class CaseResult(msgspec.Struct, frozen=True):
    """How one case went: `faults` says what came out otherwise, and is empty where nothing did."""

    name: str
    line: int
    clips: int
    faults: tuple[str, ...]


def run_cases(path: Path, policy: Path | None = None) -> list[CaseResult]:
    """Run the cases in the file at `path`, under `policy` or the one that the file names.

    Raises PolicyInvalid, with file, line and key, where the file or the policy cannot be used.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyInvalid(f"{path}: cannot be read: {error.strerror}") from None
    source = read_source(raw, str(path))
    faults = Faults(str(path), source.places)
    file = check_document(source.data, CaseFile, faults)
    if file is not None:
        _check_cases(file, faults)
        if policy is None and file.policy is None:
            faults.add((), "names no policy, and none was given")
    faults.check()
    if file is None:
        raise PolicyInvalid(f"{path}: is no file of cases")
    named = path.parent / (file.policy or "")
    loaded = load_policy(policy or named)
    start_ms = read_instant(file.start)
    return [
        CaseResult(
            case.name,
            faults.find_place(("cases", index)).line,
            len(case.clips or (case,)),
            tuple(_run_case(case, loaded, start_ms)),
        )
        for index, case in enumerate(file.cases)
    ]


def _check_cases(file: CaseFile, faults: Faults) -> None:
    """Check what the types cannot say."""
    try:
        read_instant(file.start)
    except ValueError as error:
        faults.add(("start",), str(error))
    for index, case in enumerate(file.cases):
        path: KeyPath = ("cases", index)
        if bool(case.clips) is (case.expect is not None):
            faults.add(path, "needs either `clips` or `expect`")
        check_clip(case, path, faults)
        for place, clip in enumerate(case.clips):
            here = (*path, "clips", place)
            check_clip(clip, here, faults)
            if clip.expect is None:
                faults.add(here, "lacks the key 'expect'")


def _run_case(case: Case, policy: Policy, start_ms: int) -> Iterator[str]:
    state, now_ms = FRESH, start_ms - _STEP_MS
    clips = case.clips or (case,)
    for number, clip in enumerate(clips):
        now_ms = now_ms + _STEP_MS if clip.at is None else start_ms + read_duration(clip.at)
        context = Context(
            request_id=f"case-{number}",
            stream_id="case",
            clip_seq=number,
            texts=tuple(TextInfo(text.kind, lang=text.lang) for text in clip.texts),
            region=case.region,
            surface=case.surface,
            audience=case.audience,
            room=case.room,
        )
        coverage = cover_clip(clip)
        hits = search_clip(policy, [t.text.encode() for t in clip.texts], context.texts, (), ())
        decision, state = decide(
            score_clip(clip, coverage), coverage, context, state, policy, now_ms, hits
        )
        where = f"clip {number}: " if len(clips) > 1 else ""
        for fault in _compare(clip.expect, decision):
            yield f"{where}{fault}"


def _compare(expect: Action | Expectation | None, decision: Decision) -> Iterator[str]:
    """Say what came out otherwise than expected."""
    wanted = Expectation(expect) if isinstance(expect, str) else expect
    if wanted is None:
        return
    codes = [reason.code for reason in decision.reasons]
    because = f" (reasons: {', '.join(codes) or 'none'})"
    if decision.action != wanted.action:
        yield f"the action is {decision.action}, not {wanted.action}{because}"
    if wanted.label is not msgspec.UNSET and decision.label != wanted.label:
        yield f"the label is {decision.label}, not {wanted.label}"
    for code in wanted.reasons:
        if code not in codes:
            yield f"the reason {code} is missing{because}"
    for code in wanted.absent:
        if code in codes:
            yield f"the reason {code} is there"
    if wanted.review not in {None, bool(decision.review)}:
        yield f"a person is {'' if decision.review else 'not '}asked to look"
    if wanted.visibility is not None and set(decision.visibility) != set(wanted.visibility):
        yield (
            f"the visibility is {', '.join(decision.visibility) or 'not limited'}, "
            f"not {', '.join(wanted.visibility) or 'unlimited'}"
        )

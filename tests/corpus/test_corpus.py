from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache

import measure
import pytest
from bad_image import GROUPS, bombs, costly, make_images
from bad_text import make_texts
from case import Case

from livewarden_client.verdict import Verdict
from livewarden_client.wire import MAX_TEXTS
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.coverage import FrameState
from livewarden_ensemble.decode import decode_frame

images = cache(make_images)
texts = cache(make_texts)


@pytest.fixture
def cover(make_pipeline):
    """Send items through the whole pipeline; gives the state of each, as coverage tells it."""
    pipeline = make_pipeline()

    def run(field: str, cases: list[Case]) -> list[str]:
        context = {"texts": [{"kind": "chat"}] * len(cases) if field == "texts" else []}
        data = [case.data for case in cases]
        [outcome] = pipeline.moderate([RawClip(json.dumps(context).encode(), **{field: data})])
        verdict = outcome.verdict
        assert isinstance(verdict, Verdict)
        coverage = getattr(verdict.coverage, field)
        states = ["ok"] * len(cases)
        for state, places in coverage.states.items():
            for place in places:
                # Files of one picture hardly differ: the later ones have the scores of the first.
                states[place] = "ok" if state == "reused" else state
        assert coverage.sent == len(cases)
        whole = {"ok", "empty"} if field == "texts" else {"ok"}
        assert verdict.coverage.degraded is not whole.issuperset(states)
        assert verdict.action != "allow" or not verdict.coverage.degraded
        return states

    return run


def test_corpora_are_as_large_as_promised():
    """At least 500 images and 300 texts, no two of one name, and none empty but where said."""
    assert len(images()) >= 500
    assert len(texts()) >= 300
    assert Counter(str(case) for case in [*images(), *texts()]).most_common(1)[0][1] == 1
    assert [case.name for case in images() if not case.data] == ["no byte"]


def test_corpora_are_the_same_every_time():
    """What failed once can be made again: nothing in the corpora is drawn without a seed."""
    assert [case.data for case in make_texts()] == [case.data for case in texts()]
    data = {str(case): case.data for case in images()}
    cheap = [group for group in GROUPS if group not in (bombs, costly)]
    assert all(data[str(case)] == case.data for group in cheap for case in group())


def test_every_image_ends_as_it_must():
    """Whole pictures are seen, broken ones are never `ok`, and nothing raises."""
    wrong = []
    for case in images():
        decoded = decode_frame(case.data)
        seen = decoded.state in {FrameState.OK, FrameState.ANIMATED}
        if decoded.state not in case.states or bool(decoded.views) != seen:
            wrong.append((str(case), decoded.state))
    assert wrong == []


def test_every_image_counts_in_coverage_as_it_ended(cover):
    """The verdict names each frame's state, and is no `allow` where one was not seen."""
    cheap = [case for case in images() if case.group not in {"at the limit", "bomb"}]
    for start in range(0, len(cheap), 32):
        part = cheap[start : start + 32]
        for case, state in zip(part, cover("frames", part), strict=True):
            assert state in case.states, str(case)


def test_every_text_counts_in_coverage_as_it_ended(cover):
    """No text raises, each is in the state that it must be in, and the verdict says so."""
    for start in range(0, len(texts()), MAX_TEXTS):
        part = texts()[start : start + MAX_TEXTS]
        for case, state in zip(part, cover("texts", part), strict=True):
            assert state in case.states, str(case)


CASE = Case("group", "name", b"x", frozenset({"ok"}))


@pytest.mark.parametrize(
    ("judge", "state"),
    [
        (lambda _: "ok", "ok"),
        (lambda _: 1 / 0, "raised ZeroDivisionError"),
        (lambda _: os.kill(os.getpid(), 9), "killed by signal 9"),
        (lambda _: os._exit(3), "exited with 3"),
    ],
)
def test_measurement_sees_what_goes_wrong(judge, state):
    """A crash, an exception and an exit of the child are each told from a good end."""
    outcome = measure.run(CASE, judge)
    assert outcome.state == state
    assert outcome.wrong is (state != "ok")


def test_measurement_sees_memory():
    """Memory that the item took, and gave back, is counted in the child."""
    assert measure.run(CASE, lambda _: (b"x" * (64 << 20))[:0].decode() or "ok").extra_mib >= 50

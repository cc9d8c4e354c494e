from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from livewarden_client.wire import LABELS
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.fuse import ClipScores
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import Policy
from livewarden_ensemble.record import RECORD_SCHEMA, Record, Scores, decide_record
from livewarden_ensemble.state_token import open_state, parse_keys, seal_state
from livewarden_ensemble.stream_state import FRESH, StreamState

KEYS = parse_keys("a:" + "11" * 32)
NOON_MS = 1_700_000_000_000
SECRET = "Zebra crossing"


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline], leaves: Any) -> Pipeline:
    return make_pipeline(infer=leaves, keys=KEYS, now_ms=lambda: NOON_MS)


def play(pipeline: Pipeline, paint: Callable[..., bytes], count: int) -> list[Any]:
    """A stream of `count` clips, each with the state of the one before."""
    rng = random.Random(5)
    state, outcomes = None, []
    for seq in range(count):
        red = rng.choice([20, 120, 200, 255])
        context = {
            "stream_id": "s",
            "clip_seq": seq,
            "captured_at_ms": NOON_MS + 2_000 * seq,
            "state": state,
            "nonce": "n",
            "pass_through": {"user": SECRET},
            "texts": [{"kind": "chat", "author_ref": SECRET}],
        }
        text = rng.choice(["hello", "attack", SECRET]).encode()
        clip = RawClip(json.dumps(context).encode(), [paint(red, 0, 0)], [text])
        (outcome,) = pipeline.moderate([clip])
        assert outcome.verdict is not None
        state = outcome.verdict.state
        outcomes.append(outcome)
    return outcomes


def test_replaying_a_stream_gives_its_verdicts_again(
    pipeline: Pipeline, policy: Policy, paint: Any
) -> None:
    """Records through JSON, in their order, each from the state that the last one left."""
    outcomes = play(pipeline, paint, 30)
    assert len({outcome.verdict.action for outcome in outcomes}) >= 3
    state = FRESH
    for outcome in outcomes:
        record = msgspec.json.decode(msgspec.json.encode(outcome.record), type=Record)
        assert record == outcome.record
        decision, state = decide_record(record, state, policy)
        verdict = outcome.verdict
        assert decision.action == verdict.action
        assert decision.reasons == verdict.reasons
        assert decision.labels == verdict.labels
        assert (decision.review, decision.flags) == (verdict.review, verdict.flags)


def test_streams_that_are_mixed_replay_alike(
    pipeline: Pipeline, policy: Policy, paint: Any
) -> None:
    """The state between two clips may go through a token, or none: 1,000 mixed runs agree."""
    records = [outcome.record for outcome in play(pipeline, paint, 6)]
    expected = None
    rng = random.Random(11)
    for _ in range(1_000):
        states: dict[str, StreamState] = {}
        actions: dict[str, list[str]] = {}
        # Three streams take turns; each keeps its own order, and restarts lose what is in memory.
        turns = [name for name in "abc" for _ in records]
        rng.shuffle(turns)
        for name in turns:
            record = records[len(actions.setdefault(name, []))]
            state = states.get(name, FRESH)
            if state is not FRESH and rng.random() < 0.5:
                state = open_state(seal_state(state, name, KEYS), name, KEYS)
            decision, states[name] = decide_record(record, state, policy)
            actions[name].append(repr(decision))
        expected = expected or actions["a"]
        assert actions["a"] == actions["b"] == actions["c"] == expected


def test_a_record_holds_no_content(pipeline: Pipeline, paint: Any) -> None:
    """No text, no author, nothing passed through, no token, no pixels."""
    for outcome in play(pipeline, paint, 8):
        raw = msgspec.json.encode(outcome.record)
        assert SECRET.encode() not in raw
        data = json.loads(raw)
        assert data["context"]["pass_through"] is data["context"]["state"] is None
        assert set(data) <= {"now_ms", "context", "coverage", "scores", "hits", "start", "schema"}
        assert len(raw) < 8_000
    assert outcome.record.schema == RECORD_SCHEMA


def test_a_refused_token_is_replayed_as_refused(
    pipeline: Pipeline, policy: Policy, make_clip: Any
) -> None:
    """What the live server refused is refused again, whatever state the replay is in."""
    clip = make_clip([], ["hello"], stream_id="s", clip_seq=3, state="forged")
    (outcome,) = pipeline.moderate([clip])
    assert outcome.record.start == "malformed"
    decision, _ = decide_record(outcome.record, StreamState(seq=2, ms=NOON_MS), policy)
    assert decision.reasons == outcome.verdict.reasons
    assert "state.refused" in [reason.code for reason in decision.reasons]


def test_scores_keep_every_bit() -> None:
    """Scores of 32 bits go through JSON and come back equal."""
    rng = np.random.default_rng(1)
    empty = np.zeros((0, len(LABELS)), np.float32)
    for _ in range(50):
        joint = rng.random(len(LABELS), dtype=np.float32)
        modality = rng.random((5, len(LABELS)), dtype=np.float32)
        scores = Scores.from_clip(ClipScores(joint, modality, empty, empty, (True,) * 5))
        again = msgspec.json.decode(msgspec.json.encode(scores), type=Scores).to_clip()
        assert np.array_equal(again.joint, joint)
        assert np.array_equal(again.modality, modality)


def test_a_clip_without_a_time_is_judged_by_its_arrival(pipeline: Pipeline, make_clip: Any) -> None:
    """`captured_at_ms` is the clip's time; without it the time of arrival is, and is recorded."""
    given = make_clip([], ["hi"], captured_at_ms=NOON_MS - 5_000)
    bare = make_clip([], ["hi"])
    times = [outcome.record.now_ms for outcome in pipeline.moderate([given, bare])]
    assert times == [NOON_MS - 5_000, NOON_MS]


def test_without_keys_nothing_is_remembered(make_pipeline: Any, make_clip: Any) -> None:
    """A pipeline without keys gives no state, and reads none."""
    clip = make_clip([], ["attack"], stream_id="s", state="whatever")
    (outcome,) = make_pipeline().moderate([clip])
    assert outcome.verdict.state is None
    assert outcome.record.start == "none"

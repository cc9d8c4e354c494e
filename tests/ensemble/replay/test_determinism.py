from __future__ import annotations

import random
from pathlib import Path

import pytest

from livewarden_ensemble.policy import Policy, load_policy
from livewarden_ensemble.record import Record, decide_record
from livewarden_ensemble.state_token import open_state, parse_keys, seal_state
from livewarden_ensemble.stream_state import FRESH, StreamState
from livewarden_ensemble.synthetic_record import invent_recordings

POLICY = Path(__file__).parents[3] / "policies/default.yaml"
KEYS = parse_keys("a:" + "11" * 32)
RUNS = 1_000
CLIPS = 12


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(POLICY)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """One recorded stream, by number; its actions rise and fall."""
    return sorted(invent_recordings(CLIPS, streams=1, seed=203), key=number_of)


def number_of(record: Record) -> int:
    return record.context.clip_seq


def replay(
    records: list[Record], policy: Policy, resumed_at: int | None = None
) -> tuple[list[str], StreamState]:
    """Decide in the order given; at `resumed_at` only the token of the state goes on."""
    state, decisions = FRESH, []
    for place, record in enumerate(records):
        if place == resumed_at:
            name = record.context.stream_id
            token = seal_state(state, name, KEYS)
            assert token is not None
            state = open_state(token, name, KEYS)
            assert state.fault is None
        decision, state = decide_record(record, state, policy)
        decisions.append(repr(decision))
    return decisions, state


def test_a_thousand_shuffled_arrivals_replay_alike(records: list[Record], policy: Policy) -> None:
    """Put back in order by `clip_seq`, clips give the same decisions and state, however they came.

    Every second run is interrupted half way and goes on from the token.
    """
    expected = replay(records, policy)
    rng = random.Random(17)
    for run in range(RUNS):
        arrived = rng.sample(records, len(records))
        restored = sorted(arrived, key=number_of)
        assert replay(restored, policy, len(records) // 2 if run % 2 else None) == expected


def test_the_order_and_the_memory_matter(records: list[Record], policy: Policy) -> None:
    """Clips in another order, or without what went before, give other decisions."""
    decisions, state = replay(records, policy)
    assert len({decision.split(",")[0] for decision in decisions}) == 4
    backwards, last = replay(records[::-1], policy)
    assert backwards[::-1] != decisions
    assert last != state
    half = len(records) // 2
    assert replay(records[half:], policy)[0] != decisions[half:]

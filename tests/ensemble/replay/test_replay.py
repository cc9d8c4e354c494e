from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from livewarden_client.wire import ACTIONS, LABELS
from livewarden_ensemble.errors import PolicyInvalid, RecordsInvalid
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.record import decide_record
from livewarden_ensemble.recording import Decided, read_recordings, sum_up_decision
from livewarden_ensemble.replay import UNKNOWN, Replayer, Tally, keep_examples, merge_tallies
from livewarden_ensemble.replay_file import replay_file
from livewarden_ensemble.stream_state import FRESH

Write = Callable[..., Path]


def decide_plainly(records: Path, policy: Path) -> list[Decided]:
    """Decide on every record in the order of the file; slow and plain."""
    loaded = load_policy(policy)
    states: dict[str, Any] = {}
    decided = []
    for _, recording in read_recordings(records):
        name = recording.context.stream_id
        decision, states[name] = decide_record(recording, states.get(name, FRESH), loaded)
        decided.append(sum_up_decision(decision))
    return decided


def test_counts_are_those_of_a_plain_loop(write_policy: Write, write_records: Write) -> None:
    """All counts of a replay are what deciding on every record, one by one, gives."""
    old, new, records = write_policy(), write_policy("2", 0.2, 0.1), write_records()
    before, after = decide_plainly(records, old), decide_plainly(records, new)
    tally = replay_file(records, new, old, keep=None)
    pairs = list(zip(before, after, strict=True))
    assert (tally.records, tally.streams) == (1200, 20)
    assert tally.actions == Counter((b.action, a.action) for b, a in pairs)
    assert tally.labels == Counter(
        (label, b.labels.get(label, "allow"), a.labels.get(label, "allow"))
        for b, a in pairs
        for label in LABELS
        if label in b.labels or label in a.labels
    )
    assert tally.codes == Counter(
        (side, code) for b, a in pairs for side, d in (("old", b), ("new", a)) for code in d.codes
    )
    assert [change.line for change in tally.changes] == [
        line for line, (b, a) in enumerate(pairs, 1) if b.action != a.action
    ]
    assert tally.changed == len(tally.changes) > 0
    assert tally.stricter == sum(
        ACTIONS.index(b.action) < ACTIONS.index(a.action) for b, a in pairs
    )


def test_switches_count_changes_within_streams(write_policy: Write, write_records: Write) -> None:
    """Changes of action are counted along each stream, and not from one stream to the next."""
    policy, records = write_policy(), write_records()
    last: dict[str, str] = {}
    switches = 0
    for (_, recording), decided in zip(
        read_recordings(records), decide_plainly(records, policy), strict=True
    ):
        name = recording.context.stream_id
        switches += last.get(name, decided.action) != decided.action
        last[name] = decided.action
    tally = replay_file(records, policy, policy)
    assert tally.switches == {"old": switches, "new": switches}
    assert switches > 0


@pytest.mark.parametrize("keep", [None, 2])
def test_number_of_processes_makes_no_difference(
    write_policy: Write, write_records: Write, keep: int | None
) -> None:
    """One process or several: the same counts and the same examples."""
    old, new, records = write_policy(), write_policy("2", 0.2), write_records()
    alone = replay_file(records, new, old, keep=keep, workers=1)
    assert asdict(replay_file(records, new, old, keep=keep, workers=3)) == asdict(alone)


def test_same_policy_changes_nothing(write_policy: Write, write_records: Write) -> None:
    """A policy compared with itself has no change."""
    tally = replay_file(write_records(), write_policy(), write_policy())
    assert (tally.changed, tally.changes) == (0, [])
    assert all(tally.count_moves(label) == (0, 0) for label in LABELS)


def test_live_decisions_are_the_old_side(write_policy: Write, write_records: Write) -> None:
    """Without an old policy, a replay compares with what the recordings say was decided."""
    old, new = write_policy(), write_policy("2", 0.2)
    records = write_records()
    decided = decide_plainly(records, old)
    recordings = [recording for _, recording in read_recordings(records)]
    live = write_records(
        msgspec.structs.replace(recording, decided=one)
        for recording, one in zip(recordings, decided, strict=True)
    )
    assert asdict(replay_file(live, new)) == asdict(replay_file(live, new, old))


def test_unknown_decisions_are_no_changes(write_policy: Write, write_records: Write) -> None:
    """Where a recording does not say what was decided, nothing counts as changed."""
    tally = replay_file(write_records(), write_policy())
    assert tally.changed == tally.stricter == 0
    assert {old for old, _ in tally.actions} == {UNKNOWN}
    assert sum(tally.count_action(action, "new") for action in ACTIONS) == 1200
    assert tally.switches["old"] == 0


def test_examples_are_the_first_of_each_change(write_policy: Write, write_records: Write) -> None:
    """A bound on examples keeps the first of each pair of actions, as if all had been kept."""
    old, new, records = write_policy(), write_policy("2", 0.2, 0.1), write_records()
    everything = replay_file(records, new, old, keep=None)
    some = replay_file(records, new, old, keep=2)
    assert some.changes == keep_examples(everything, 2).changes
    assert len(some.changes) < len(everything.changes)
    assert some.actions == everything.actions
    assert max(Counter((c.old, c.new) for c in some.changes).values()) == 2


def test_clips_without_a_stream_have_no_memory(write_policy: Write, write_records: Write) -> None:
    """Clips that name no stream are each decided on their own, and are no stream."""
    policy = load_policy(write_policy("1", 0.6, 0.3))
    replayer = Replayer(policy, policy)
    for line, recording in read_recordings(write_records()):
        alone = msgspec.structs.replace(recording.context, stream_id="")
        replayer.take(line, msgspec.structs.replace(recording, context=alone))
    assert replayer.tally.streams == 0
    assert replayer.tally.switches == {"old": 0, "new": 0}


def test_label_counts_add_up(write_policy: Write, write_records: Write) -> None:
    """Per label, what it asks for on a side, and how often less or more, fit each other."""
    tally = replay_file(write_records(), write_policy("2", 0.2), write_policy())
    for label in LABELS:
        old = sum(tally.count_label(label, action, "old") for action in ACTIONS[1:])
        new = sum(tally.count_label(label, action, "new") for action in ACTIONS[1:])
        milder, stricter = tally.count_moves(label)
        assert milder == 0
        assert new - old <= stricter


def test_progress_reaches_the_end(write_policy: Write, write_records: Write) -> None:
    """Progress never goes back, and stays within 0 and 1."""
    records = write_records(count=3000)
    heard: list[float] = []
    replay_file(records, write_policy(), workers=2, on_progress=heard.append)
    assert heard == sorted(heard)
    assert 0 <= heard[0] <= heard[-1] <= 1


def test_merging_nothing_is_nothing() -> None:
    """No parts make an empty tally."""
    assert asdict(merge_tallies([], 3)) == asdict(Tally(3))


@pytest.mark.parametrize("workers", [1, 2])
def test_faults_of_files_are_told(write_policy: Write, write_records: Write, workers: int) -> None:
    """A bad policy and a bad record are told by file and line, from other processes too."""
    records, policy = write_records(), write_policy()
    bad = write_policy("bad")
    bad.write_text("policy: {}\n")
    with pytest.raises(PolicyInvalid, match=r"policy-bad\.yaml:1:"):
        replay_file(records, bad, workers=workers)
    records.write_bytes(records.read_bytes() + b"{\n")
    with pytest.raises(RecordsInvalid, match=r"records\.jsonl:1201: is no record"):
        replay_file(records, policy, workers=workers)

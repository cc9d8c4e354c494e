from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import msgspec
import pytest

from livewarden_client.wire import LABELS
from livewarden_ensemble.errors import RecordsInvalid
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.record import Record, decide_record
from livewarden_ensemble.recording import (
    Decided,
    Recording,
    read_recordings,
    record_outcome,
    write_recording,
)
from livewarden_ensemble.stream_state import FRESH
from livewarden_ensemble.synthetic_record import invent_recordings

Write = Callable[..., Path]


def test_recordings_are_read_as_they_were_written(write_records: Write) -> None:
    """What was written is read back, with the numbers of its lines."""
    given = [
        msgspec.structs.replace(recording, decided=Decided("review", "hate", {"hate": "review"}))
        for recording in invent_recordings(9, streams=2)
    ]
    assert list(read_recordings(write_records(given))) == list(enumerate(given, 1))


def test_recording_is_a_record_with_more(write_records: Write) -> None:
    """A plain record is a recording of which nothing more is known, and the other way round."""
    (recording,) = invent_recordings(1)
    plain = msgspec.convert(msgspec.to_builtins(recording), Record)
    path = write_records()
    path.write_bytes(msgspec.json.encode(plain) + b"\n\n")
    ((number, read),) = read_recordings(path)
    assert (number, read.decided, read.truth) == (1, None, {})
    assert read.scores == recording.scores


def test_outcome_is_recorded_with_its_decision(write_policy: Write) -> None:
    """A record and what was decided on it are one recording, which replays to the same."""
    (recording,) = invent_recordings(1)
    plain = msgspec.convert(msgspec.to_builtins(recording), Record)
    decision, _ = decide_record(plain, FRESH, load_policy(write_policy("1", 0.0)))
    recorded = record_outcome(plain, decision)
    assert recorded.decided is not None
    assert recorded.decided.action == "review"
    assert recorded.decided.labels == dict.fromkeys(LABELS, "review")
    assert recorded.decided.codes == tuple(reason.code for reason in decision.reasons)
    assert msgspec.convert(msgspec.to_builtins(recorded), Record) == plain


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_hold_every_line_once_and_streams_whole(write_records: Write, shards: int) -> None:
    """Every line is in one shard, in its order; no stream is in two shards."""
    path = write_records()
    parts = [list(read_recordings(path, shard=n, shards=shards)) for n in range(shards)]
    numbers = [[number for number, _ in part] for part in parts]
    assert sorted(chain(*numbers)) == list(range(1, 1201))
    assert all(part == sorted(part) for part in numbers)
    names = [{recording.context.stream_id for _, recording in part} for part in parts]
    assert sum(map(len, names)) == 20


def test_clips_without_a_stream_are_spread(write_records: Write) -> None:
    """Clips that belong to no stream do not all fall to one shard."""
    (one,) = invent_recordings(1)
    alone = msgspec.structs.replace(one, context=msgspec.structs.replace(one.context, stream_id=""))
    path = write_records([alone] * 10)
    assert len(list(read_recordings(path, shard=1, shards=2))) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "is no record"),
        (b"\xff\xff", "is no record"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `now_ms`"),
        (b'{"now_ms": "soon"}', "Expected `int`, got `str`"),
    ],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_bad_line_is_named(write_records: Write, line: bytes, said: str, shards: int) -> None:
    """A line that is no record is refused with file and line, in one of the shards at least."""
    path = write_records(count=2)
    path.write_bytes(path.read_bytes() + line + b"\n")
    told = []
    for shard in range(shards):
        try:
            list(read_recordings(path, shard=shard, shards=shards))
        except RecordsInvalid as error:
            told.append(str(error))
    assert any(said in message and "records.jsonl:3: " in message for message in told)


def test_other_schema_is_refused(write_records: Write) -> None:
    """A record of a newer schema is refused, and not half understood."""
    path = write_records(count=1)
    data = json.loads(path.read_bytes()) | {"schema": "livewarden.record/v9"}
    path.write_text(json.dumps(data))
    with pytest.raises(RecordsInvalid, match=r"records\.jsonl:1: the schema is not"):
        list(read_recordings(path))


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is refused with its name."""
    with pytest.raises(RecordsInvalid, match=r"none\.jsonl: cannot be read: No such file"):
        list(read_recordings(tmp_path / "none.jsonl"))


def test_invented_records_depend_on_the_seed_alone() -> None:
    """The same seed gives the same bytes, another one others; all of them are records."""
    first, again, other = (
        [write_recording(r) for r in invent_recordings(50, streams=3, seed=seed)]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert (
        len({msgspec.json.decode(line, type=Recording).context.request_id for line in first}) == 50
    )

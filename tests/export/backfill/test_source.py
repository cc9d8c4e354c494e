import json

import numpy as np
import pytest
from backfill_case import SECRET, judge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livewarden_client import Client, Clip, Text
from livewarden_client.errors import InvalidRequest
from livewarden_client.testing import FakeTransport, RecordingTransport
from livewarden_export.backfill.errors import BackfillFailed
from livewarden_export.backfill.source import open_source, read_part


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(part_clips=st.integers(1, 40), blanks=st.lists(st.integers(0, 22), max_size=5))
def test_parts_hold_every_clip_once(clips, part_clips, blanks):
    """However the file is cut, and wherever blank lines are: every clip, in order, no other."""
    file = clips / "clips.jsonl"
    lines = [line for line in file.read_text().splitlines() if line]
    for place in blanks:
        lines.insert(place, "")
    file.write_text("\n".join(lines) + "\n")
    source = open_source(clips, part_clips)
    read = [[clip.id for clip in read_part(part)] for part in source.parts]
    assert [identity for part in read for identity in part] == [f"clip {n}" for n in range(23)]
    assert [len(part) for part in read] == [part.clips for part in source.parts]
    assert source.clips == 23


def test_labelled_clips_come_with_their_media(clips):
    """Texts and frames as the format of `livewarden evaluate` says; nothing was decided before."""
    (part,) = open_source(clips, 100).parts
    first = next(read_part(part))
    clip = first.load()
    assert (first.id, first.before) == ("clip 0", None)
    assert list(clip.frames) == [b"a picture"]
    assert list(clip.texts) == [Text("chat", f"{SECRET} 0")]


def test_recorded_exchanges_come_back_as_they_were_sent(exchanges):
    """Everything but the stream's memory, which is the old server's; with the action of then."""
    (part,) = open_source(exchanges, 100).parts
    read = list(read_part(part))
    assert [clip.id for clip in read] == [f"exchange-{n}" for n in range(1, 12)]
    clip = read[3].load()
    assert list(clip.frames) == [b"frame"]
    assert list(clip.texts) == [Text("chat", f"{SECRET} 3".encode(), ts_ms=3, author_ref="a")]
    assert (clip.stream_id, clip.clip_seq, clip.region, clip.state) == ("s", 3, "DE", None)
    assert read[3].before in {"allow", "review", "restrict", "block"}


def test_decoded_frames_come_back(tmp_path):
    """Pixels keep their shape; broken UTF-8 of a text is the same bytes again."""
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    recorder = RecordingTransport(FakeTransport(judge), tmp_path / "kept")
    with Client(transport=recorder) as client:
        client.moderate(Clip(frames_rgb=pixels, texts=[Text("chat", b"\xff\xfe")]))
    (part,) = open_source(tmp_path / "kept", 1).parts
    clip = next(read_part(part)).load()
    assert (clip.frames_rgb == pixels).all()
    assert clip.texts[0].encode() == b"\xff\xfe"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no clips"),
        ('{"id": "a"}\n{"id": "a"}', ":2: an earlier clip has the same id"),
        ('{"id": 3}', ":1: must be an object"),
        ("{", ":1: is not JSON"),
    ],
)
def test_what_is_no_recording_says_where(tmp_path, content, message):
    """Before anything is scored, with file and line."""
    (tmp_path / "clips.jsonl").write_text(content)
    with pytest.raises(BackfillFailed, match=message):
        open_source(tmp_path, 10)


def test_a_folder_needs_one_file_of_clips(tmp_path, clips):
    """Neither or both of the two formats: the message names them."""
    with pytest.raises(BackfillFailed, match=r"neither of clips\.jsonl and exchanges\.jsonl"):
        open_source(tmp_path, 10)
    (clips / "exchanges.jsonl").touch()
    with pytest.raises(BackfillFailed, match="both of"):
        open_source(clips, 10)
    assert open_source(clips / "clips.jsonl", 10).clips == 23


@pytest.mark.parametrize(
    "line",
    [
        {"id": "a", "texts": [{"kind": "shout", "text": SECRET}]},
        {"id": "a", "frames": ["../outside.jpg"]},
        {"id": "a", SECRET: 1},
    ],
)
def test_a_clip_that_is_none_says_nothing_of_its_content(tmp_path, line):
    """It can be read as a recorded clip; loading it fails, without a word of its line."""
    (tmp_path / "clips.jsonl").write_text(json.dumps(line))
    (part,) = open_source(tmp_path, 10).parts
    with pytest.raises(InvalidRequest) as caught:
        next(read_part(part)).load()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": ["../../outside"]},
        {"context": {"texts": [{"kind": SECRET}]}},
        {"context": {"texts": []}},
        {"context": {SECRET: 1}},
        {"texts": [3]},
    ],
)
def test_an_exchange_that_is_none_says_nothing_of_its_content(exchanges, change):
    """A file outside of the recording is not read; unknown and wrong fields are refused."""
    file = exchanges / "exchanges.jsonl"
    exchange = json.loads(file.read_text().splitlines()[0])
    exchange["request"] |= change
    file.write_text(json.dumps(exchange))
    (part,) = open_source(exchanges, 10).parts
    with pytest.raises(InvalidRequest) as caught:
        next(read_part(part)).load()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"request": None},
        {"request": {}},
        {"request": {"context": {}}},
        {"request": {"context": {}, "texts": [], "frames": []}},
        {"request": {"context": []}},
    ],
)
def test_an_exchange_without_a_request_is_one_clip_that_fails(exchanges, change):
    """Valid JSON that lacks what an exchange has is refused like any other bad clip."""
    file = exchanges / "exchanges.jsonl"
    exchange = json.loads(file.read_text().splitlines()[0])
    exchange |= change
    if exchange["request"] is None:
        del exchange["request"]
    file.write_text(json.dumps(exchange))
    (part,) = open_source(exchanges, 10).parts
    with pytest.raises(InvalidRequest):
        next(read_part(part)).load()

from pathlib import Path

import pytest
from backfill_case import SECRET, judge, write_clips

from livewarden_client import Client, Clip, Text
from livewarden_client.testing import FakeTransport, RecordingTransport


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with 23 labelled clips."""
    return write_clips(tmp_path / "clips", 23)


@pytest.fixture
def exchanges(tmp_path: Path) -> Path:
    """What the client's recorder kept of 11 clips, judged by bundle b0."""
    folder = tmp_path / "exchanges"
    recorder = RecordingTransport(FakeTransport(lambda request: judge(request, "b0")), folder)
    with Client(transport=recorder) as client:
        for number in range(11):
            texts = [Text("chat", f"{SECRET} {number}", ts_ms=number, author_ref="a")]
            client.moderate(
                Clip([b"frame"], texts, stream_id="s", clip_seq=number, region="DE", state="old")
            )
    return folder

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.clip import Text
from livewarden_ensemble.errors import ScriptInvalid
from livewarden_ensemble.watch.script import read_chat, read_speech

SECRET = "sehr geheim"
SRT = """1
00:00:02,500 --> 00:00:04,000
<i>second</i>
line

2
00:00:01,000 --> 00:00:01,500
first
"""


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "script.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_chat_is_read_in_time_order_in_either_unit(tmp_path: Path) -> None:
    """Lines come in the order of their times, `t` in seconds and `t_ms` in milliseconds."""
    path = write(
        tmp_path,
        '{"t_ms": 2500, "text": "b", "author": "x", "kind": "ocr", "lang": "de"}\n\n'
        '{"t": 1.25, "text": "a", "colour": "#f00"}\n',
    )
    assert read_chat(path) == (
        Text("chat", "a", 1250),
        Text("ocr", "b", 2500, "x", "de"),
    )


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"text": SECRET}),
        json.dumps({"text": SECRET, "t": 1, "t_ms": 1}),
        json.dumps({"text": SECRET, "t": -1}),
        json.dumps({"text": SECRET, "t": "1"}),
        json.dumps({"text": SECRET, "t": 1, "kind": "whisper"}),
        json.dumps({"text": "x", "t": 1, "kind": SECRET}),
        json.dumps({"text": "x", "t": 1, "kind": f"{SECRET} - at `$.kind`"}),
        json.dumps({"text": SECRET * 9000, "t": 1}),
        json.dumps([SECRET]),
        SECRET,
    ],
)
def test_a_line_that_is_no_chat_is_refused_without_its_words(tmp_path: Path, line: str) -> None:
    """The error names file and line, and never what the line says."""
    path = write(tmp_path, '{"t": 0, "text": "fine"}\n' + line)
    with pytest.raises(ScriptInvalid) as caught:
        read_chat(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert SECRET not in str(caught.value)


def test_speech_is_read_without_markup_in_time_order(tmp_path: Path) -> None:
    """Each cue is one text of kind asr, timed by its beginning, its markup and breaks gone."""
    assert read_speech(write(tmp_path, "\ufeff" + SRT)) == (
        Text("asr", "first", 1000),
        Text("asr", "second line", 2500),
    )


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", SECRET.encode(), b"\x00" * 50])
def test_what_is_no_subtitle_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file without a cue is an error that names the file, and nothing that stands in it."""
    path = write(tmp_path, content)
    with pytest.raises(ScriptInvalid, match=r"script\.txt") as caught:
        read_speech(path)
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that cannot be read is an error of its own kind, with the reason."""
    with pytest.raises(ScriptInvalid, match="No such file"):
        read_chat(tmp_path / "none")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Neither reader ever ends in another error than ScriptInvalid."""
    path = write(tmp_path_factory.mktemp("any"), content)
    for read in (read_chat, read_speech):
        try:
            read(path)
        except ScriptInvalid:
            continue

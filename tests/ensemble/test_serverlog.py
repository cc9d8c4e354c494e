from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pytest

from livewarden_ensemble import server, serverlog
from livewarden_ensemble.serverlog import ServerLog, explain_failure

SUM = "error: creating server: Internal - failed to load all models"
HEAD = "E1123 04:04:04.782811 5964 "
NOISE = HEAD + 'server.cc:241] "CudaDriverHelper has not been initialized."'


RAISED = HEAD + (
    "model_lifecycle.cc:642] \"failed to load 'leaf' version 1: Internal: "
    'ValueError: no weights\\n\\nAt:\\n  /x/model.py(5): <module>\\n"'
)
PARSE = "[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format: 7:9: no."
POLL = HEAD + (
    "model_repository_manager.cc:1460] \"Poll failed for model directory 'leaf': "
    'failed to read text proto from /r/leaf/config.pbtxt"'
)
VERSION = HEAD + (
    "model_repository_manager.cc:724] \"failed to load model 'leaf': "
    'at least one version must be available"'
)
LIBRARY = "/b/stub: error while loading shared libraries: libpython3.so: no such file"
STAT = "error: creating server: Internal - failed to stat file /r"
POLL_SAID = "model 'leaf': failed to read text proto from /r/leaf/config.pbtxt"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([NOISE, RAISED, SUM], "model 'leaf': Internal: ValueError: no weights"),
        ([PARSE, POLL, SUM], f"{POLL_SAID}; Error parsing text-format: 7:9: no."),
        ([VERSION, SUM], "model 'leaf': at least one version must be available"),
        ([LIBRARY, SUM], "libpython3.so: no such file"),
        ([STAT], "Internal - failed to stat file /r"),
        ([NOISE, SUM], f"{NOISE} | {SUM}"),
        ([str(number) for number in range(9)], "4 | 5 | 6 | 7 | 8"),
        ([], "its log is empty"),
    ],
)
def test_reasons_are_found(lines: list[str], said: str):
    """Lines that Triton 2.51 writes give the model and the reason; else its last lines stand."""
    assert explain_failure(lines) == said


def test_log_is_kept_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Memory holds the last lines, files their size; even a line without an end is cut."""
    monkeypatch.setattr(serverlog, "FILE_BYTES", 10_000)
    log = ServerLog(tmp_path / "log")
    end, start = os.pipe()
    log.follow(os.fdopen(end, "rb"))
    with os.fdopen(start, "wb") as stream:
        stream.write(b"x" * 100_000 + b"\n")
        stream.writelines(b"line %d\n" % number for number in range(1000))
    log.close()
    assert len(log.lines) == serverlog.LINES
    assert log.lines[-1] == "line 999"
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 10_000


def test_each_start_has_its_own_lines(tmp_path: Path):
    """What an earlier start wrote does not explain a later one."""
    log = ServerLog(tmp_path / "log")
    for text in (b"first\n", b"second\n"):
        end, start = os.pipe()
        os.write(start, text)
        os.close(start)
        log.follow(os.fdopen(end, "rb"))
        log.finish()
    assert log.lines == ("second",)
    log.close()
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_full_disk_does_not_stop_the_reading(capfd: pytest.CaptureFixture[str]):
    """A log file that cannot be written loses lines, nothing else."""
    log = ServerLog(Path("/dev/full"))
    end, start = os.pipe()
    log.follow(os.fdopen(end, "rb"))
    with os.fdopen(start, "wb") as stream:
        stream.writelines(b"line %d\n" % number for number in range(100))
    log.close()
    assert log.lines[-1] == "line 99"
    assert capfd.readouterr().err == ""


def test_the_rest_of_a_cut_line_is_no_line(tmp_path: Path):
    """Who can make a line long cannot have its end read as a line of Triton's own."""
    forged = b"F1123 10:00:00 1 x] forged"
    echoed: list[str] = []
    log = ServerLog(tmp_path / "log", echo=echoed.append)
    end, start = os.pipe()
    log.follow(os.fdopen(end, "rb"))
    with os.fdopen(start, "wb") as stream:
        stream.write(b"x" * 4096 + forged + b"y" * 9000 + forged + b"\nnext\n" + b"z" * 5000)
    log.close()
    assert log.lines == ("x" * 4096, "next", "z" * 4096)
    assert tuple(echoed) == log.lines


@pytest.mark.parametrize("closed", [False, True])
def test_a_broken_stderr_does_not_stop_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, closed: bool
):
    """Who collects the lines may go; tritonserver's pipe must be read to its end."""
    away, broken = os.pipe()
    os.close(away)
    stderr = os.fdopen(broken, "w", buffering=1)
    if closed:
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    log = ServerLog(tmp_path / "log", echo=server._write_line)
    end, start = os.pipe()
    log.follow(os.fdopen(end, "rb"))
    with os.fdopen(start, "wb") as stream:
        stream.writelines(b"line %d\n" % number for number in range(100))
    log.close()
    monkeypatch.undo()
    with contextlib.suppress(BrokenPipeError):
        stderr.close()
    assert log.lines[-1] == "line 99"

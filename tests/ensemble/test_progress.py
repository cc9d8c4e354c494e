from __future__ import annotations

import os
from pathlib import Path

import pytest

from livewarden_ensemble.progress import Doing, Progress, Work
from livewarden_ensemble.stub import CLOSED, STUBS_VARIABLE, announce_stub, dismiss_stub, is_closed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "7"


def test_file_tells_what_the_stub_is_at(path: Path):
    """Each change is in the file at once: working, waiting within it, working again, idle."""
    progress, seen = Progress(path), []

    def look() -> None:
        seen.append(Work.read(path))

    look()
    with progress.work(3):
        look()
        with progress.wait():
            look()
        look()
        progress.step()
        look()
    look()
    progress.close()
    assert [work.doing for work in seen] == [
        Doing.IDLE,
        Doing.WORKING,
        Doing.WAITING,
        Doing.WORKING,
        Doing.WORKING,
        Doing.IDLE,
    ]
    assert [work.steps for work in seen] == [0, 1, 2, 3, 4, 5]
    assert [(work.taken, work.ended) for work in seen] == [(0, 0)] + [(3, 0)] * 4 + [(3, 3)]


def test_execution_that_raises_has_ended(path: Path):
    """An exception leaves neither a request in flight nor a stub that seems to work."""
    progress = Progress(path)
    with pytest.raises(KeyError), progress.work(2), progress.wait():
        raise KeyError
    assert Work.read(path) == Work(Doing.IDLE, 4, taken=2, ended=2)
    progress.close()


def test_foreign_reply_is_told(path: Path):
    """Crossed replies are counted."""
    progress = Progress(path)
    progress.note_crossed()
    assert Work.read(path).crossed == 1
    progress.close()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40, b"\0" * 41])
def test_file_that_says_nothing_is_no_work(path: Path, content: bytes):
    """A file that is empty, torn or of another kind says nothing, and so does none."""
    path.write_bytes(content)
    assert Work.read(path) is None
    path.unlink()
    assert Work.read(path) is None


def test_full_disk_fails_no_request(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the report cannot be written, the work goes on."""
    progress = Progress(path)

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with progress.work(1):
        pass
    progress.close()


def test_stub_is_on_record_from_announcement_to_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The file has the process id for a name, and is gone when the stub takes its leave."""
    monkeypatch.setenv(STUBS_VARIABLE, str(tmp_path))
    progress = announce_stub()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]
    dismiss_stub(progress)
    assert not list(tmp_path.iterdir())


def test_closed_server_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The supervisor's file closes the server; without a supervisor it is never closed."""
    monkeypatch.setenv(STUBS_VARIABLE, str(tmp_path))
    assert not is_closed()
    (tmp_path / CLOSED).touch()
    assert is_closed()
    monkeypatch.delenv(STUBS_VARIABLE)
    assert not is_closed()
    dismiss_stub(announce_stub())

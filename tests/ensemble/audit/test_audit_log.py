from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from livewarden_ensemble import audit_log
from livewarden_ensemble.audit_key import AuditKeys
from livewarden_ensemble.audit_log import AuditLog, name_writer
from livewarden_ensemble.audit_record import AuditRecord
from livewarden_ensemble.audit_verify import verify_log
from livewarden_ensemble.errors import AuditInvalid, AuditUnavailable

Make = Callable[[int], AuditRecord]
Write = Callable[..., Path]
CRASHES = Path(__file__).with_name("crash_writer.py")


def read_seqs(folder: Path) -> list[int]:
    """Read the clip numbers of all records, in order of segments and lines."""
    lines = [
        json.loads(line)["record"]
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    return [record["clip_seq"] for record in lines if record["kind"] == "verdict"]


def test_batch_is_one_sync(
    tmp_path: Path, keys: AuditKeys, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many records a batch has, it is written and synced once, before append returns."""
    log = AuditLog.open(tmp_path, keys, "w")
    log.append([make_record(0)])
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda _fd: synced.append(read_seqs(tmp_path)))
    log.append([make_record(seq) for seq in range(1, 9)])
    assert synced == [list(range(9))]


def test_nothing_to_append_writes_nothing(tmp_path: Path, keys: AuditKeys) -> None:
    """An empty batch costs no segment."""
    log = AuditLog.open(tmp_path, keys, "w")
    log.append([])
    assert list(tmp_path.glob("*.jsonl")) == []


def test_segments_are_bounded(tmp_path: Path, keys: AuditKeys, make_record: Make) -> None:
    """A segment takes no batch once it is full; the chain goes on in the next one."""
    log = AuditLog.open(tmp_path, keys, "w", segment_bytes=2000)
    for seq in range(12):
        log.append([make_record(seq)])
    sizes = [path.stat().st_size for path in tmp_path.glob("*.jsonl")]
    assert len(sizes) > 3
    assert max(sizes) < 2000 + 1000
    assert read_seqs(tmp_path) == list(range(12))
    assert verify_log(tmp_path, keys).findings == ()


def test_chain_goes_on_after_a_restart(write_log: Write, keys: AuditKeys) -> None:
    """The next process of the same writer goes on where the last one ended."""
    folder = write_log(2, 0, 1, 3)
    report = verify_log(folder, keys)
    assert report.findings == ()
    assert (report.chains["w"].segments, report.chains["w"].records) == (3, 6)
    assert report.chains["w"].mark.seq == 6 + 3


def test_one_process_per_writer(tmp_path: Path, keys: AuditKeys, make_record: Make) -> None:
    """A writer id that is in use is refused, until its holder closes or dies."""
    log = AuditLog.open(tmp_path, keys, "w")
    with pytest.raises(AuditInvalid, match="another process writes as 'w'"):
        AuditLog.open(tmp_path, keys, "w")
    AuditLog.open(tmp_path, keys, "v").append([make_record(0)])
    log.close()
    AuditLog.open(tmp_path, keys, "w").append([make_record(0)])


def test_writers_share_a_folder(tmp_path: Path, keys: AuditKeys, make_record: Make) -> None:
    """Writers of one folder, and threads of one writer, do not disturb each other."""
    logs = [AuditLog.open(tmp_path, keys, f"w{n}", segment_bytes=4000) for n in range(3)]
    threads = [
        threading.Thread(
            target=lambda log=log: [log.append([make_record(i)] * 2) for i in range(9)]
        )
        for log in [*logs, *logs]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = verify_log(tmp_path, keys)
    assert report.findings == ()
    assert [chain.records for chain in report.chains.values()] == [36, 36, 36]


def test_torn_tail_is_cut_off_and_kept_aside(
    write_log: Write, keys: AuditKeys, make_record: Make
) -> None:
    """Half a line, left by a crash, is moved aside at the restart; the chain goes on before it."""
    folder = write_log(2)
    path = folder / "w.00000000.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"chain":"12')
    log = AuditLog.open(folder, keys, "w")
    assert log.damage is None
    log.append([make_record(2)])
    assert path.read_bytes() == whole
    assert (folder / "w.00000000.torn").read_bytes() == b'{"chain":"12'
    report = verify_log(folder, keys)
    assert report.intact
    assert [f.message for f in report.findings] == [
        "12 bytes of an unfinished write before it were cut off"
    ]


def test_whole_lines_of_an_unfinished_write_stay(
    write_log: Write, keys: AuditKeys, make_record: Make
) -> None:
    """A line that reached the disk without being acknowledged stays: too many, never too few."""
    folder = write_log(3)
    path, head = folder / "w.00000000.jsonl", folder / "w.head"
    early = head.read_bytes()
    write_log(0)
    log = AuditLog.open(folder, keys, "w")
    log.close()
    head.write_bytes(early)
    lines = path.read_bytes()
    AuditLog.open(folder, keys, "w").append([make_record(9)])
    assert path.read_bytes() == lines
    assert verify_log(folder, keys).findings == ()


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "w.00000001.jsonl").unlink(),
        lambda folder: [path.unlink() for path in folder.glob("*.jsonl")],
        lambda folder: (folder / "w.head").unlink(),
        lambda folder: (folder / "w.head").write_bytes(b"x" * 512),
        lambda folder: os.truncate(folder / "w.00000001.jsonl", 700),
        lambda folder: (folder / "w.00000001.jsonl").write_bytes(b"{}\n"),
        lambda folder: (
            [p.unlink() for p in folder.glob("*.jsonl")] and (folder / "w.head").write_bytes(b"")
        ),
    ],
    ids=["last segment", "segments", "head", "bad head", "cut", "header", "everything"],
)
def test_damage_is_told_kept_and_survived(
    write_log: Write, keys: AuditKeys, make_record: Make, harm: Callable[[Path], object]
) -> None:
    """Where acknowledged lines are gone, the writer says so, in the log too, and goes on."""
    folder = write_log(2, 2)
    harm(folder)
    before = {path: path.read_bytes() for path in folder.glob("*.jsonl")}
    log = AuditLog.open(folder, keys, "w")
    assert log.damage is not None
    log.append([make_record(9)])
    assert log.damage is not None
    log.append([make_record(10)])
    assert {path: path.read_bytes() for path in before} == before
    (new,) = (path for path in folder.glob("*.jsonl") if path not in before)
    assert new.read_bytes().count(b'"kind":"verdict"') == 2
    report = verify_log(folder, keys)
    assert not report.intact
    assert any(f.message.startswith("its writer found: ") for f in report.findings)


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int, name: str = "pwrite") -> None:
    """Let all writes together take `room` more bytes, the last one in part, as a disk does."""
    left = [room]
    real = getattr(os, name)

    def write(descriptor: int, data: bytes, offset: int) -> int:
        taken = min(len(data), left[0])
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= taken
        return real(descriptor, data[:taken], offset)

    monkeypatch.setattr(audit_log.os, name, write)


@pytest.mark.parametrize("room", [0, 1, 300, 700, 1500])
@pytest.mark.parametrize("rows", [0, 1])
def test_full_disk_holds_verdicts_back_until_there_is_space(
    tmp_path: Path,
    keys: AuditKeys,
    make_record: Make,
    monkeypatch: pytest.MonkeyPatch,
    *,
    room: int,
    rows: int,
) -> None:
    """On a full disk append raises, again and again, and leaves no trace; then it goes on."""
    log = AuditLog.open(tmp_path, keys, "w")
    for seq in range(rows):
        log.append([make_record(seq)])
    with monkeypatch.context() as patch:
        fill_disk(patch, room)
        for _ in range(3):
            with pytest.raises(AuditUnavailable, match="No space left on device"):
                log.append([make_record(seq) for seq in range(50, 60)])
        assert read_seqs(tmp_path) == list(range(rows))
    log.append([make_record(rows)])
    assert read_seqs(tmp_path) == list(range(rows + 1))
    assert verify_log(tmp_path, keys).findings == ()


def test_failed_sync_starts_a_new_segment(
    tmp_path: Path, keys: AuditKeys, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sync that failed, the file is not trusted again: what it reports may be a lie."""
    log = AuditLog.open(tmp_path, keys, "w")
    log.append([make_record(0)])

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(audit_log.os, "fdatasync", fail)
        for _ in range(2):
            with pytest.raises(AuditUnavailable):
                log.append([make_record(1)])
    log.append([make_record(2)])
    assert read_seqs(tmp_path) == [0, 2]
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert verify_log(tmp_path, keys).findings == ()


def test_lines_that_could_not_be_taken_back_are_told_apart(
    tmp_path: Path, keys: AuditKeys, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of a failed write that stay on disk are no gap: the chain goes on before them."""
    log = AuditLog.open(tmp_path, keys, "w")
    log.append([make_record(0)])

    def fail(*_args: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(audit_log.os, "fdatasync", fail)
        patch.setattr(audit_log.os, "ftruncate", fail)
        with pytest.raises(AuditUnavailable):
            log.append([make_record(1), make_record(2)])
    log.append([make_record(3)])
    report = verify_log(tmp_path, keys)
    assert report.intact
    assert [f.message for f in report.findings] == ["2 lines before it were never acknowledged"]


def test_disk_that_is_full_at_the_start_is_waited_for(
    write_log: Write, keys: AuditKeys, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server starts on a full disk, even with a torn tail to mend, and refuses until it can."""
    folder = write_log(1)
    with (folder / "w.00000000.jsonl").open("ab") as file:
        file.write(b"torn")

    def fail(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("livewarden_ensemble.audit_ending.os.fsync", fail)
        log = AuditLog.open(folder, keys, "w")
        with pytest.raises(AuditUnavailable):
            log.append([make_record(1)])
    log.append([make_record(1)])
    assert read_seqs(folder) == [0, 1]
    assert verify_log(folder, keys).intact


def test_file_size_limit_of_the_kernel(tmp_path: Path) -> None:
    """With the kernel refusing writes in the middle of a line, nothing unacknowledged remains."""
    done = subprocess.run(
        [sys.executable, str(CRASHES), "limit", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["refused"] == 5
    assert result["read"] == result["acknowledged"]
    assert len(result["read"]) > 2
    assert result["findings"] == []


def test_hundred_kills_lose_no_acknowledged_record(tmp_path: Path) -> None:
    """Kill -9 at any moment, a hundred times: every acknowledged record is there, none twice."""
    done = subprocess.run(
        [sys.executable, str(CRASHES), "kill", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["rounds"] == 100
    assert result["acknowledged"] > 100
    assert result["lost"] == []
    assert result["doubled"] == []
    assert result["faults"] == []


@pytest.mark.parametrize("writer", ["", "a/b", "..", "a.b", "x" * 65, "a\n"])
def test_writer_id_is_checked(tmp_path: Path, keys: AuditKeys, writer: str) -> None:
    """A writer id that could leave the folder or hide in it is refused."""
    with pytest.raises(AuditInvalid, match="is no writer id"):
        AuditLog.open(tmp_path, keys, writer)


def test_writer_ids_are_made_of_any_names(tmp_path: Path, keys: AuditKeys) -> None:
    """Whatever host and instance are called, the id made of them is accepted."""
    for parts in (("host.example.org", "moderation_0_0"), ("x" * 99, "y"), ("ä b",)):
        AuditLog.open(tmp_path, keys, name_writer(*parts))


def test_unusable_folder_is_refused(tmp_path: Path, keys: AuditKeys) -> None:
    """A folder that is a file is a mistake to mend, not a thing to wait for."""
    (tmp_path / "file").touch()
    with pytest.raises(AuditInvalid, match=r"Not a directory|File exists"):
        AuditLog.open(tmp_path / "file", keys, "w")


def test_no_content_in_messages(
    tmp_path: Path, keys: AuditKeys, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message of a refusal, which reaches the caller, names the folder and the cause alone."""
    log = AuditLog.open(tmp_path, keys, "w")
    fill_disk(monkeypatch, 0)
    with pytest.raises(AuditUnavailable) as caught:
        log.append([make_record(7)])
    assert "hate" not in str(caught.value)
    assert caught.value.__cause__ is None

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from livewarden_ensemble.audit_key import AuditKeys, derive_key, gather_keys
from livewarden_ensemble.audit_log import AuditLog
from livewarden_ensemble.audit_record import AuditRecord
from livewarden_ensemble.audit_verify import AuditReport, verify_log

Write = Callable[..., Path]


def faults(report: AuditReport) -> list[str]:
    assert report.intact is not any(finding.kind == "fault" for finding in report.findings)
    return [f"{f.file}: {f.message}" for f in report.findings if f.kind == "fault"]


def test_whole_log_is_intact(write_log: Write, keys: AuditKeys) -> None:
    """An untouched log has no findings; its records and times are counted."""
    report = verify_log(write_log(3, 2), keys)
    assert report.intact
    assert report.findings == ()
    (chain,) = report.chains.values()
    assert (chain.segments, chain.records) == (2, 5)
    assert (chain.first_ms, chain.last_ms) == (1_750_000_000_000, 1_750_000_000_004)


def test_empty_folder_is_intact(tmp_path: Path, keys: AuditKeys) -> None:
    """A folder that nobody has written to holds no chain and no fault."""
    assert verify_log(tmp_path, keys) == AuditReport(intact=True, chains={}, findings=())


def test_every_changed_byte_is_found(write_log: Write, keys: AuditKeys) -> None:
    """One bit changed anywhere, in any segment or head, is a fault."""
    folder = write_log(2, 2)
    for path in [*folder.glob("*.jsonl"), *folder.glob("*.head")]:
        whole = path.read_bytes()
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            assert faults(verify_log(folder, keys)), f"{path.name}, byte {place}"
        path.write_bytes(whole)
    assert faults(verify_log(folder, keys)) == []


def test_every_cut_is_found(write_log: Write, keys: AuditKeys) -> None:
    """A file cut short at any byte is a fault: all that it held had been acknowledged."""
    folder = write_log(2, 2)
    for path in [*folder.glob("*.jsonl"), *folder.glob("*.head")]:
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert faults(verify_log(folder, keys)), f"{path.name}, cut to {length}"
        path.write_bytes(whole)


@pytest.mark.parametrize("segment", [0, 1])
@pytest.mark.parametrize("line", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "edit",
    [
        lambda lines, at: lines.pop(at),
        lambda lines, at: lines.insert(0, lines[at]),
        lambda lines, at: lines.insert(at, lines.pop((at + 1) % len(lines))),
        lambda lines, at: lines.insert(at, b"\n"),
    ],
    ids=["removed", "doubled", "swapped", "inserted"],
)
def test_edited_lines_are_found(
    write_log: Write, keys: AuditKeys, segment: int, line: int, edit: Callable[..., object]
) -> None:
    """A line that is removed, doubled, moved or added is a fault, in every place."""
    folder = write_log(3, 3)
    path = folder / f"w.{segment:08d}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    edit(lines, line)
    path.write_bytes(b"".join(lines))
    assert faults(verify_log(folder, keys))


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_missing_segment_is_found(write_log: Write, keys: AuditKeys, gone: int) -> None:
    """A segment deleted at the beginning, in the middle or at the end is a fault."""
    folder = write_log(2, 2, 2)
    (folder / f"w.{gone:08d}.jsonl").unlink()
    assert faults(verify_log(folder, keys))


def test_pruning_the_oldest_is_allowed_on_request(write_log: Write, keys: AuditKeys) -> None:
    """Oldest segments may go where the caller says so; a gap behind them may not."""
    folder = write_log(2, 2, 2, 2)
    (folder / "w.00000000.jsonl").unlink()
    report = verify_log(folder, keys, is_pruned=True)
    assert faults(report) == []
    assert [f.message for f in report.findings] == ["segments 0 to 0 before it are missing"]
    (folder / "w.00000002.jsonl").unlink()
    assert faults(verify_log(folder, keys, is_pruned=True))


def test_swapped_segments_are_found(write_log: Write, keys: AuditKeys) -> None:
    """A segment under another one's name is a fault."""
    folder = write_log(2, 2)
    first, second = sorted(folder.glob("*.jsonl"))
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)
    assert "it is segment 1 of w, under another name" in faults(verify_log(folder, keys))[0]


def test_segment_of_another_log_is_found(write_log: Write, keys: AuditKeys) -> None:
    """A good segment of the same writer and place, but of another log, is a fault."""
    folder = write_log(2, 2)
    other = write_log(3, 2, folder="other")
    shutil.copy(other / "w.00000001.jsonl", folder)
    assert any(
        "does not go on from the segment before" in f for f in faults(verify_log(folder, keys))
    )


def test_missing_head_is_found(write_log: Write, keys: AuditKeys) -> None:
    """A chain with records and without a head is a fault."""
    folder = write_log(2)
    (folder / "w.head").unlink()
    assert faults(verify_log(folder, keys)) == ["w.head: is missing or not good"]


def test_cut_tail_with_an_old_head_is_found_by_an_earlier_report(
    write_log: Write, keys: AuditKeys
) -> None:
    """Who puts the whole folder back to an older state is found by marks kept elsewhere."""
    folder = write_log(3)
    backup = shutil.copytree(folder, folder.with_name("backup"))
    later = verify_log(write_log(2), keys).chains["w"].mark
    assert faults(verify_log(backup, keys)) == []
    assert faults(verify_log(backup, keys, known={"w": later}))
    assert faults(verify_log(folder, keys, known={"w": later})) == []


def test_vanished_writer_is_found_by_the_others(write_log: Write, keys: AuditKeys) -> None:
    """All files of one writer deleted is a fault, because another writer has seen them."""
    folder = write_log(2, writer="a")
    write_log(1, writer="b")
    assert verify_log(folder, keys).intact
    for path in folder.glob("a.*"):
        path.unlink()
    assert faults(verify_log(folder, keys)) == [
        "b.00000000.jsonl: line 3 of a, seen there, is missing or changed"
    ]


def test_unknown_key_is_found(write_log: Write) -> None:
    """Lines that none of the keys can check are a fault, and named as such."""
    other = gather_keys([derive_key("k9", b"9" * 32)])
    assert any(
        "its key 'k2' is not in the key file" in f for f in faults(verify_log(write_log(1), other))
    )
    same_name = gather_keys([derive_key("k2", b"9" * 32)])
    assert any(
        "its header has been changed" in f for f in faults(verify_log(write_log(1), same_name))
    )


def test_key_rotation_keeps_one_chain(
    tmp_path: Path, write_log: Write, keys: AuditKeys, make_record: Callable[..., object]
) -> None:
    """Segments under an old and a new key are one chain, as long as both keys are given."""
    old = gather_keys([keys.all["k1"]])
    with_old = AuditLog.open(tmp_path / "log", old, "w")
    with_old.append([make_record(0)])
    with_old.close()
    folder = write_log(2)
    report = verify_log(folder, keys)
    assert (report.intact, report.chains["w"].records) == (True, 3)
    assert not verify_log(folder, gather_keys([keys.current])).intact


def test_unfinished_write_is_no_fault(write_log: Write, keys: AuditKeys) -> None:
    """A torn tail, which nobody was told of, is a note: a live log looks like that too."""
    folder = write_log(2)
    with (folder / "w.00000000.jsonl").open("ab") as file:
        file.write(b'{"chain":"00')
    report = verify_log(folder, keys)
    assert report.intact
    assert [(f.kind, f.message, f.line) for f in report.findings] == [
        ("note", "12 bytes of an unfinished write at its end", 4)
    ]


def test_live_log_is_intact_at_any_moment(
    tmp_path: Path, keys: AuditKeys, make_record: Callable[[int], AuditRecord]
) -> None:
    """Verifying while several writers write and start segments finds no fault."""
    logs = [AuditLog.open(tmp_path, keys, f"w{n}", segment_bytes=3000) for n in range(3)]
    stop = threading.Event()

    def write(log: AuditLog) -> None:
        while not stop.is_set():
            log.append([make_record(0)] * 2)

    threads = [threading.Thread(target=write, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    reports: list[AuditReport] = []
    while not reports or sum(chain.segments for chain in reports[-1].chains.values()) < 100:
        reports.append(verify_log(tmp_path, keys))
    stop.set()
    for thread in threads:
        thread.join()
    assert [f for report in reports for f in faults(report)] == []
    assert verify_log(tmp_path, keys).intact

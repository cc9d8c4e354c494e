"""Writers that are killed or refused by the kernel; run by test_audit_log in its own process.

`kill FOLDER` forks a writer a hundred times and kills it at a random moment; `limit FOLDER` writes
into files that may not grow. What happened is printed as JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from livewarden_ensemble.audit_key import derive_key, gather_keys
from livewarden_ensemble.audit_log import AuditLog
from livewarden_ensemble.audit_record import AuditRecord, PolicyRecord
from livewarden_ensemble.audit_verify import verify_log
from livewarden_ensemble.errors import AuditUnavailable

KEYS = gather_keys([derive_key("k1", b"k" * 32)])
ROUNDS = 100


def make_record(clip_seq: int) -> AuditRecord:
    nothing: dict[str, str] = {"padding": "x" * 400}
    return AuditRecord(
        *("", "", clip_seq, "", 0, "allow", None, (), (), (), (), {}, (), (0, 0, 0), (0, 0, 0)),
        *(nothing, False, PolicyRecord("", "", "", ()), "", {}, "", "", 1, "", None),
    )


def read_seqs(folder: Path) -> list[int]:
    return [
        json.loads(line)["record"]["clip_seq"]
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
        if b'"kind":"verdict"' in line
    ]


def write_until_killed(folder: Path, first: int, told: int) -> None:
    log = AuditLog.open(folder, KEYS, "w", segment_bytes=20_000)
    seq = first
    while True:
        batch = range(seq, seq + random.randint(1, 6))
        log.append([make_record(number) for number in batch])
        seq = batch.stop
        os.write(told, f"{batch.start}-{batch.stop}\n".encode())


def run_and_kill(folder: Path, first: int) -> list[int]:
    """Fork a writer, kill it, and return what it had acknowledged by then."""
    reading, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        write_until_killed(folder, first, told)
    os.close(told)
    if random.random() < 0.8:  # else the start itself is hit
        select.select([reading], [], [], 10)
    time.sleep(random.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        told_lines = pipe.read().decode().splitlines()
    batches = [tuple(map(int, line.split("-"))) for line in told_lines]
    return [seq for start, stop in batches for seq in range(start, stop)]


def kill_writers(folder: Path) -> dict[str, object]:
    random.seed(0)
    lost: list[int] = []
    doubled: list[int] = []
    faults: list[str] = []
    acknowledged = 0
    for ten in range(ROUNDS // 10):
        own = folder / str(ten)
        told: list[int] = []
        for round_ in range(10):
            told += run_and_kill(own, first=round_ * 100_000)
        AuditLog.open(own, KEYS, "w").append([make_record(-1)])
        found = Counter(read_seqs(own))
        lost += [seq for seq in told if not found[seq]]
        doubled += [seq for seq, count in found.items() if count > 1]
        faults += [str(f) for f in verify_log(own, KEYS).findings if f.kind == "fault"]
        acknowledged += len(told)
    return {
        "rounds": ROUNDS,
        "acknowledged": acknowledged,
        "lost": lost,
        "doubled": doubled,
        "faults": faults,
    }


def write_under_limit(folder: Path) -> dict[str, object]:
    log = AuditLog.open(folder, KEYS, "w")
    acknowledged: list[int] = []
    refused = 0
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, most))
    for seq in range(40):
        if refused == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            log.append([make_record(seq)])
            acknowledged.append(seq)
        except AuditUnavailable:
            refused += 1
    findings = [str(finding) for finding in verify_log(folder, KEYS).findings]
    return {
        "acknowledged": acknowledged,
        "refused": refused,
        "read": read_seqs(folder),
        "findings": findings,
    }


if __name__ == "__main__":
    play = {"kill": kill_writers, "limit": write_under_limit}[sys.argv[1]]
    print(json.dumps(play(Path(sys.argv[2]))))  # noqa: T201 - the result goes to the test

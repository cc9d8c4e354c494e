"""Keys, small records and a log in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from livewarden_ensemble.audit_key import AuditKeys, derive_key, gather_keys
from livewarden_ensemble.audit_log import AuditLog
from livewarden_ensemble.audit_record import AuditRecord, LabelRecord, PolicyRecord

NOON_MS = 1_750_000_000_000


def _make_record(clip_seq: int) -> AuditRecord:
    return AuditRecord(
        request=f"{clip_seq:032x}",
        stream="5" * 32,
        clip_seq=clip_seq,
        content="c" * 64,
        decided_ms=NOON_MS + clip_seq,
        action="review",
        label="hate",
        reasons=("hate.score>=review",),
        visibility=(),
        review=(),
        flags=(),
        labels={"hate": LabelRecord(0.75, "review", (0.5, 0.8, 0.95))},
        modalities=("visual",),
        frames=(8, 8, 8),
        texts=(3, 3, 3),
        failed={},
        degraded=False,
        policy=PolicyRecord("default", "1", "sha256:d", ()),
        bundle="sha256:b",
        models={},
        calibration="c1",
        taxonomy="t1.0",
        wire=1,
        server="test",
        total_ms=40.5,
    )


@pytest.fixture
def make_record() -> Callable[[int], AuditRecord]:
    """Make the record of clip number `clip_seq`."""
    return _make_record


@pytest.fixture
def keys() -> AuditKeys:
    """Make keys: `k2` writes, `k1` is retired."""
    return gather_keys([derive_key("k2", b"2" * 32), derive_key("k1", b"1" * 32)])


@pytest.fixture
def write_log(tmp_path: Path, keys: AuditKeys) -> Callable[..., Path]:
    """Write a log: one process after the other, each with its number of records."""

    def write(*counts: int, writer: str = "w", folder: str = "log", segment_bytes: int = 1 << 20):
        seq = 0
        for count in counts:
            log = AuditLog.open(
                tmp_path / folder, keys, writer, segment_bytes=segment_bytes, now_ms=lambda: NOON_MS
            )
            for _ in range(count):
                log.append([_make_record(seq)])
                seq += 1
            log.close()
        return tmp_path / folder

    return write

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from livewarden_ensemble.audit_key import parse_keys
from livewarden_ensemble.audit_verify import verify_log
from livewarden_ensemble.errors import AuditInvalid, AuditUnavailable
from livewarden_ensemble.ledger import Ledger
from livewarden_ensemble.recording import read_recordings

KEYS = "a:" + "11" * 32
SECRET = "Zebra crossing"


def environment(tmp_path: Path, **extra: str) -> dict[str, str]:
    return {
        "LIVEWARDEN_AUDIT": str(tmp_path / "audit"),
        "LIVEWARDEN_AUDIT_KEYS": KEYS,
        "LIVEWARDEN_RECORDS": str(tmp_path / "records"),
        **extra,
    }


def test_each_verdict_is_in_the_log_and_the_records_once(
    tmp_path: Path, make_pipeline: Any, make_clip: Any
) -> None:
    """Verdicts are kept, refusals and the server's own canaries are not, content never."""
    clips = [
        make_clip([(9, 9, 9)], [SECRET], stream_id="s", clip_seq=1),
        make_clip([(9, 9, 9)], [SECRET], clip_seq="no number"),
        make_clip([(9, 9, 9)], [SECRET], options={"canary": True, "server_key": "5ec3e7"}),
    ]
    ledger = Ledger.open(environment(tmp_path), "m_0")
    pipeline = make_pipeline(is_own=lambda key: key == "5ec3e7")
    ledger.keep(clips, pipeline.moderate(clips))
    ledger.close()
    report = verify_log(tmp_path / "audit", parse_keys(KEYS, "test"))
    assert report.intact
    assert [chain.records for chain in report.chains.values()] == [1]
    [records] = (tmp_path / "records").iterdir()
    [(_, recording)] = read_recordings(records)
    assert recording.context.clip_seq == 1
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in written


@pytest.mark.parametrize("options", [{}, {"server_key": ""}, {"server_key": "bad"}])
def test_no_caller_escapes_the_log_as_a_canary(
    tmp_path: Path, make_pipeline: Any, make_clip: Any, options: dict[str, str]
) -> None:
    """Whoever calls himself a canary without the server's key has his verdict recorded."""
    clips = [make_clip([(9, 9, 9)], options={"canary": True, **options})]
    ledger = Ledger.open(environment(tmp_path), "m_0")
    pipeline = make_pipeline(is_own=lambda key: key == "5ec3e7")
    ledger.keep(clips, pipeline.moderate(clips))
    ledger.close()
    report = verify_log(tmp_path / "audit", parse_keys(KEYS, "test"))
    assert [chain.records for chain in report.chains.values()] == [1]


def test_nothing_is_kept_unless_asked_for(
    tmp_path: Path, make_pipeline: Any, make_clip: Any
) -> None:
    """Without the settings no file is written."""
    ledger = Ledger.open({}, "m_0")
    clips = [make_clip([(9, 9, 9)])]
    ledger.keep(clips, make_pipeline().moderate(clips))
    assert not list(tmp_path.iterdir())


def test_an_audit_log_without_a_key_does_not_start(tmp_path: Path) -> None:
    """Whoever asks for a log and forgets its key is told so at the start, not later."""
    with pytest.raises(AuditInvalid, match="LIVEWARDEN_AUDIT_KEYS_FILE"):
        Ledger.open({"LIVEWARDEN_AUDIT": str(tmp_path)}, "m_0")


def test_records_that_cannot_be_written_hold_the_verdicts_back(
    tmp_path: Path, make_pipeline: Any, make_clip: Any
) -> None:
    """A records file that is in the way raises, so that no verdict leaves unrecorded."""
    ledger = Ledger.open({"LIVEWARDEN_RECORDS": str(tmp_path)}, "m_0")
    clips = [make_clip([(9, 9, 9)])]
    outcomes = make_pipeline().moderate(clips)
    ledger.keep(clips, outcomes)
    [file] = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.raises(AuditUnavailable, match="held back"):
        ledger.keep(clips, outcomes)

"""The ledger: what is kept of a batch before its verdicts leave, where the operator asks for it.

`LIVEWARDEN_AUDIT` names the folder of the audit log (docs/audit.md), with its keys in
`LIVEWARDEN_AUDIT_KEYS_FILE`; `LIVEWARDEN_RECORDS` names a folder for records that
`livewarden policy replay` reads. Each serving process writes files of its own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from livewarden_ensemble.audit_key import AuditKeys, read_audit_keys
from livewarden_ensemble.audit_log import AuditLog, name_writer
from livewarden_ensemble.audit_record import digest_content, record_verdict
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.errors import AuditInvalid, AuditUnavailable
from livewarden_ensemble.pipeline import Outcome
from livewarden_ensemble.recording import record_outcome


def name_host(environment: Mapping[str, str]) -> str:
    """The machine's name, and after a dash the replica's where there are several on it."""
    replica = environment.get("LIVEWARDEN_REPLICA")
    return f"{socket.gethostname()}-{replica}" if replica else socket.gethostname()


class Ledger:
    """Keeps batches of verdicts; without an audit log and records folder, it keeps nothing."""

    def __init__(
        self,
        log: AuditLog | None = None,
        keys: AuditKeys | None = None,
        records: Path | None = None,
    ) -> None:
        self._log = log
        self._keys = keys
        self._records = records

    @classmethod
    def open(cls, environment: Mapping[str, str], instance: str) -> Self:
        """Open what `environment` asks for, for the serving process called `instance`.

        Raises AuditInvalid where a folder or key cannot be used.
        """
        writer = name_writer(name_host(environment), instance)
        log = keys = records = None
        if folder := environment.get("LIVEWARDEN_AUDIT"):
            keys = read_audit_keys(environment)
            if keys is None:
                raise AuditInvalid(
                    "LIVEWARDEN_AUDIT is set, but there is no key; name a file of keys in "
                    "LIVEWARDEN_AUDIT_KEYS_FILE (docs/audit.md shows how to make one)"
                )
            log = AuditLog.open(Path(folder), keys, writer)
        if folder := environment.get("LIVEWARDEN_RECORDS"):
            records = Path(folder) / f"{writer}.jsonl"
            try:
                records.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise AuditInvalid(f"LIVEWARDEN_RECORDS {folder}: {error.strerror}") from None
        return cls(log, keys, records)

    @property
    def damage(self) -> str | None:
        """What was found wrong with the audit log when it was opened."""
        return self._log.damage if self._log else None

    def keep(self, clips: Sequence[RawClip], outcomes: Sequence[Outcome]) -> None:
        """Keep every verdict of the batch; once this returns, the audit log is on disk.

        The server's own canaries are left out. Raises AuditUnavailable where the audit log or the
        records cannot be written: then no verdict of the batch may leave.
        """
        kept = [
            (clip, outcome)
            for clip, outcome in zip(clips, outcomes, strict=True)
            if outcome.verdict is not None and not outcome.canary
        ]
        if self._log is not None and self._keys is not None:
            key, now_ms = self._keys.current.content, int(time.time() * 1e3)
            self._log.append(
                [
                    record_verdict(
                        outcome.verdict,
                        content=digest_content(clip, key),
                        decided_ms=now_ms,
                        content_key=key,
                    )
                    for clip, outcome in kept
                    if outcome.verdict is not None
                ]
            )
        if self._records is not None and kept:
            self._write_records([outcome for _, outcome in kept])

    def close(self) -> None:
        """Close the audit log."""
        if self._log is not None:
            self._log.close()

    def _write_records(self, outcomes: Sequence[Outcome]) -> None:
        assert self._records is not None
        lines = [
            msgspec.json.encode(record_outcome(outcome.record, outcome.verdict)) + b"\n"
            for outcome in outcomes
            if outcome.record is not None and outcome.verdict is not None
        ]
        try:
            with self._records.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            raise AuditUnavailable(
                f"records {self._records}: {error.strerror}; verdicts are held back until they "
                "can be written"
            ) from None

"""Recordings: files of records with what became of the clips, one JSON object per line."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from livewarden_client.wire import Action
from livewarden_ensemble.errors import RecordsInvalid
from livewarden_ensemble.record import RECORD_SCHEMA, Record

if TYPE_CHECKING:
    from livewarden_client.verdict import Verdict
    from livewarden_ensemble.policy import Decision


class Decided(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided on a clip, in short; `codes` are its reasons', without their sentences.

    `labels` leaves out those that allowed. `review` says whether a person was to look.
    """

    action: Action
    label: str | None = None
    labels: Mapping[str, Action] = {}
    codes: tuple[str, ...] = ()
    review: bool = False


class Recording(Record, frozen=True, omit_defaults=True, kw_only=True):
    """A record, with what was decided live and what people found, where that is known.

    `truth` says of a label whether the clip really shows it; labels that nobody judged are absent.
    """

    decided: Decided | None = None
    truth: Mapping[str, bool] = {}


def record_outcome(record: Record, verdict: Verdict) -> Recording:
    """Put together what was asked about a clip and what was decided on it."""
    asked = {name: getattr(record, name) for name in Record.__struct_fields__}
    return Recording(**asked, decided=sum_up_decision(verdict))


def sum_up_decision(decision: Decision | Verdict) -> Decided:
    """Sum up a decision, or the verdict made of it, as a recording keeps it."""
    return Decided(
        action=decision.action,
        label=decision.label,
        labels={label.id: label.action for label in decision.labels if label.action != "allow"},
        codes=tuple(reason.code for reason in decision.reasons),
        review=bool(decision.review),
    )


class _Stream(msgspec.Struct, frozen=True):
    stream_id: str = ""


class _Head(msgspec.Struct, frozen=True):
    """As much of a line as tells whose it is."""

    context: _Stream = _Stream()


_DECODER: Final = msgspec.json.Decoder(Recording)
_HEAD_DECODER: Final = msgspec.json.Decoder(_Head)


def read_recordings(
    path: Path,
    *,
    shard: int = 0,
    shards: int = 1,
    on_bytes: Callable[[int], None] = lambda _read: None,
) -> Iterator[tuple[int, Recording]]:
    """Read the recordings in `path` with their line numbers, of every stream in `shard`.

    All clips of a stream are in one of `shards` shards, in their order; clips without a stream are
    spread. `on_bytes` hears how far the file is read. Raises RecordsInvalid with file and line.
    """
    read = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                read += len(line)
                if line.isspace() or (shards > 1 and _find_shard(line, number, shards) != shard):
                    continue
                recording = _DECODER.decode(line)
                if recording.schema != RECORD_SCHEMA:
                    raise RecordsInvalid(
                        f"{path}:{number}: the schema is not {RECORD_SCHEMA!r}, the one that this "
                        "program reads"
                    )
                on_bytes(read)
                yield number, recording
    except OSError as error:
        raise RecordsInvalid(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordsInvalid(f"{path}:{number}: is no record: {error}") from None


def _find_shard(line: bytes, number: int, shards: int) -> int:
    stream = _HEAD_DECODER.decode(line).context.stream_id
    return (zlib.crc32(stream.encode("utf-8", "surrogatepass")) if stream else number) % shards


def write_recording(recording: Recording) -> bytes:
    """Write one line, with its newline."""
    return msgspec.json.encode(recording) + b"\n"

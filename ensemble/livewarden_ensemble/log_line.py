"""Log lines as JSON, for machines that collect them: one object per line, and never content.

`livewarden serve --log-format json` writes three kinds, told apart by `event`: `clip`, one for each
clip that is not allowed (at --log-level info for every clip); `server`, a change of the
supervisor's phase; `log`, anything else that tritonserver says.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from livewarden_ensemble.routing import Answer
    from livewarden_ensemble.supervisor import Notice

# Set for the models where clips are to be logged.
CLIPS_VARIABLE: Final = "LIVEWARDEN_LOG_CLIPS"
_LEVELS: Final = {"I": "info", "W": "warning", "E": "error", "F": "fatal", "V": "debug"}
# I1123 10:14:33.393084 1485 server.cc:345] "..."
_TRITON: Final = re.compile(
    r"^(?P<level>[IWEFV])\d{4} [\d:.]+ \d+ (?P<source>[^\]]+)\] (?P<message>.*)$"
)
_CLIP: Final = '{"event": "clip"'
_QUOTED_CLIP: Final = json.dumps(_CLIP)[:-1]
_CUT: Final = "the record of a clip was cut"
# An id takes at most this much of a line, escaped, so that a record stays whole (serverlog.py).
_ID_BYTES: Final = 512
_CHAR_BYTES: Final = 12  # a character beyond the first 65536, as JSON in ASCII


def format_line(line: str) -> str:
    """One line of tritonserver's log as JSON; what a model wrote as JSON is taken over whole."""
    found = _TRITON.match(line)
    if found is None:
        return _dump({"event": "log", "level": "info", "message": line})
    message = _unquote(found["message"])
    fields = {"level": _LEVELS[found["level"]]}
    if message.startswith(_CLIP):
        try:
            return _dump(json.loads(message) | fields)
        except ValueError:  # cut where a line is too long
            message = _CUT
    return _dump({"event": "log", **fields, "source": found["source"], "message": message})


def format_notice(notice: Notice) -> str:
    """A change of the supervisor's phase."""
    fields: dict[str, Any] = {"event": "server", "level": "info", "phase": notice.phase.value}
    if notice.detail:
        fields |= {"level": "warning", "detail": notice.detail}
    if notice.cause is not None:
        fields["cause"] = notice.cause.value
    return _dump(fields)


def describe_clip(answer: Answer, trace: str = "") -> tuple[bool, str]:
    """Whether a clip's record is of more than an allow, and the record; "" for a canary.

    `trace` is the caller's `traceparent`, as `read_trace` lets it through.
    """
    outcome = answer.outcome
    if outcome.canary:
        return False, ""
    fields: dict[str, Any] = {"event": "clip", "bundle": answer.bundle, "role": answer.role}
    if trace:
        fields["trace_id"] = trace.split("-")[1]
    if outcome.refusal is not None:
        return True, json.dumps(fields | {"action": "refused"})
    verdict = outcome.verdict
    assert verdict is not None
    fields |= {
        "request_id": _cap(verdict.request_id),
        "stream_id": _cap(verdict.stream_id),
        "clip_seq": verdict.clip_seq,
        "action": verdict.action,
        "label": verdict.label,
        "reasons": [reason.code for reason in verdict.reasons],
        "degraded": verdict.coverage.degraded,
        "failed": dict(verdict.coverage.failed),
        "policy": f"{verdict.provenance.policy.id}@{verdict.provenance.policy.version}",
        "ms": verdict.timings_ms.get("total"),
    }
    return verdict.action != "allow", json.dumps(fields)


def _cap(identity: str) -> str:
    if len(json.dumps(identity)) <= _ID_BYTES:
        return identity
    return identity[: _ID_BYTES // _CHAR_BYTES] + "..."


def _dump(fields: dict[str, Any]) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, **fields})


def _unquote(message: str) -> str:
    """Triton 2.51 writes a message as a JSON string."""
    if message.startswith('"'):
        try:
            return str(json.loads(message))
        except ValueError:
            # What is left of a clip's record holds ids that the caller chose.
            return _CUT if message.startswith(_QUOTED_CLIP) else message.strip('"')
    return message

"""Audit records: what is kept of each verdict, as numbers, names of ours and keyed hashes."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from livewarden_client.wire import Action

if TYPE_CHECKING:
    from livewarden_client.verdict import Verdict
    from livewarden_ensemble.clip import RawClip

FORMAT: Final = "livewarden.audit/v1"
# Half of SHA-256 for names: two of 2^32 names meet by chance once in 2^64 times.
_NAME_DIGITS: Final = 32


class LabelRecord(msgspec.Struct, frozen=True):
    """One label: score (0..1, null for NaN), action, and the thresholds in order of severity."""

    score: float | None
    action: Action
    thresholds: tuple[float, float, float]


class PolicyRecord(msgspec.Struct, frozen=True):
    """The policy that decided."""

    id: str
    version: str
    digest: str
    overrides: tuple[str, ...]


class AuditRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="verdict"):
    """What the log keeps of one verdict.

    `request`, `stream` and `content` are keyed hashes; `decided_ms` is Unix time in milliseconds,
    `total_ms` the time that the verdict took; `reasons` are codes. `frames` and `texts` count what
    was sent, decoded and scored.
    """

    request: str
    stream: str
    clip_seq: int
    content: str
    decided_ms: int
    action: Action
    label: str | None
    reasons: tuple[str, ...]
    visibility: tuple[str, ...]
    review: tuple[str, ...]
    flags: tuple[str, ...]
    labels: dict[str, LabelRecord]
    modalities: tuple[str, ...]
    frames: tuple[int, int, int]
    texts: tuple[int, int, int]
    failed: dict[str, str]
    degraded: bool
    policy: PolicyRecord
    bundle: str
    models: dict[str, str]
    calibration: str
    taxonomy: str
    wire: int
    server: str
    total_ms: float | None


def record_verdict(
    verdict: Verdict, *, content: str, decided_ms: int, content_key: bytes
) -> AuditRecord:
    """Take from `verdict` what may be kept; `content` is the clip's digest (`digest_content`).

    Ids of the caller become keyed hashes; texts, pixels, messages, evidence, the state token and
    what the caller passed through are left out.
    """
    seen, made = verdict.coverage, verdict.provenance
    return AuditRecord(
        request=hash_name("request", verdict.request_id, content_key),
        stream=hash_name("stream", verdict.stream_id, content_key),
        clip_seq=verdict.clip_seq,
        content=content,
        decided_ms=decided_ms,
        action=verdict.action,
        label=verdict.label,
        reasons=tuple(reason.code for reason in verdict.reasons),
        visibility=verdict.visibility,
        review=verdict.review,
        flags=verdict.flags,
        labels={
            label.id: LabelRecord(
                label.score,
                label.action,
                (label.thresholds.review, label.thresholds.restrict, label.thresholds.block),
            )
            for label in verdict.labels
        },
        modalities=tuple(verdict.labels[0].per_modality) if verdict.labels else (),
        frames=(seen.frames.sent, seen.frames.decoded, seen.frames.scored),
        texts=(seen.texts.sent, seen.texts.decoded, seen.texts.scored),
        failed=dict(seen.failed),
        degraded=seen.degraded,
        policy=PolicyRecord(
            made.policy.id, made.policy.version, made.policy.digest, made.policy.overrides
        ),
        bundle=made.bundle,
        models=dict(made.models),
        calibration=made.calibration,
        taxonomy=made.taxonomy,
        wire=made.wire,
        server=made.server,
        total_ms=verdict.timings_ms.get("total"),
    )


def hash_name(kind: Literal["request", "stream"], name: str, content_key: bytes) -> str:
    """Hash a caller's id of `kind`; the empty id stays empty, for there is nothing to hide."""
    if not name:
        return ""
    message = f"{kind}\0{name}".encode("utf-8", "surrogatepass")
    return hmac.digest(content_key, message, "sha256").hex()[:_NAME_DIGITS]


def digest_content(clip: RawClip, content_key: bytes) -> str:
    """Digest the frames and texts of `clip` with HMAC-SHA256, each part with its length before it.

    The context is left out: the same content of two requests has the same digest.
    """
    digest = hmac.new(content_key, b"content\0", "sha256")
    frames = clip.frames if clip.frames_rgb is None else ()
    for parts in (frames, clip.texts):
        digest.update(len(parts).to_bytes(8, "little"))
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    if clip.frames_rgb is not None:
        digest.update(repr(clip.frames_rgb.shape).encode())
        digest.update(clip.frames_rgb.tobytes())
    return digest.hexdigest()

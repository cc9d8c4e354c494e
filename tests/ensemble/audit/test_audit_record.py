from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from livewarden_client.verdict import (
    Coverage,
    Evidence,
    LabelVerdict,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Reason,
    Thresholds,
    Verdict,
)
from livewarden_ensemble.audit_record import (
    AuditRecord,
    LabelRecord,
    digest_content,
    hash_name,
    record_verdict,
)
from livewarden_ensemble.clip import RawClip

KEY = b"k" * 32
CANARY = "cAnary7f3a"


def make_verdict() -> Verdict:
    return Verdict(
        request_id=CANARY + "request",
        stream_id=CANARY + "stream",
        clip_seq=7,
        nonce=CANARY,
        action="restrict",
        label="hate",
        reasons=(Reason("hate.score>=restrict", "restrict", CANARY, "hate"),),
        labels=(
            LabelVerdict("hate", 0.875, "restrict", Thresholds(0.5, 0.8, 0.95), {"chat": 0.75}),
            LabelVerdict("weapons", math.nan, "review", Thresholds(0.5, 0.8, 0.95), {"chat": 0.0}),
        ),
        evidence=(Evidence("hate", "chat", CANARY, 0.875, source=CANARY),),
        coverage=Coverage(
            frames=ModalityCoverage(),
            texts=ModalityCoverage(3, 2, 1, {"late": (2,)}),
            missing=("visual",),
            failed={"text_encoder": "nan"},
            degraded=True,
        ),
        provenance=Provenance(
            bundle="sha256:b",
            models={"text_encoder": "3"},
            calibration="c1",
            policy=PolicyRef("live", "17", "sha256:p", ("region:DE",)),
            taxonomy="t1.0",
            wire=1,
            server="triton",
        ),
        timings_ms={"read": 0.5, "total": 41.25},
        state=CANARY,
        visibility=("demote",),
        review=("random",),
        flags=("duplicate",),
        pass_through={CANARY: CANARY},
    )


def record(verdict: Verdict) -> AuditRecord:
    return record_verdict(verdict, content="c" * 64, decided_ms=1, content_key=KEY)


def test_record_keeps_what_the_decision_rests_on() -> None:
    """Scores, thresholds, codes, counts and provenance are kept as the verdict has them."""
    kept = record(make_verdict())
    assert kept.labels["hate"] == LabelRecord(0.875, "restrict", (0.5, 0.8, 0.95))
    assert kept.reasons == ("hate.score>=restrict",)
    assert (kept.action, kept.label, kept.modalities) == ("restrict", "hate", ("chat",))
    assert (kept.frames, kept.texts, kept.degraded) == ((0, 0, 0), (3, 2, 1), True)
    assert (kept.visibility, kept.review, kept.flags) == (("demote",), ("random",), ("duplicate",))
    assert kept.failed == {"text_encoder": "nan"}
    assert msgspec.structs.asdict(kept.policy) == {
        "id": "live",
        "version": "17",
        "digest": "sha256:p",
        "overrides": ("region:DE",),
    }
    assert (kept.bundle, kept.models, kept.total_ms) == ("sha256:b", {"text_encoder": "3"}, 41.25)


def test_record_keeps_nothing_that_the_caller_wrote() -> None:
    """Ids, texts, references and what was passed through do not reach the log."""
    assert CANARY.encode() not in msgspec.json.encode(record(make_verdict()))


def test_record_survives_its_way_through_json() -> None:
    """A record is read back as it was written; only NaN, which JSON lacks, becomes null."""
    kept = record(make_verdict())
    read = msgspec.json.decode(msgspec.json.encode(kept), type=AuditRecord)
    assert read.labels.pop("weapons").score is None
    assert math.isnan(kept.labels.pop("weapons").score)
    assert read == kept


def test_names_are_hashed_with_the_key_and_their_kind() -> None:
    """A name's hash is HMAC over kind and name: the same under one key, and no other's."""
    kept = record(make_verdict())
    message = b"request\0" + (CANARY + "request").encode()
    assert kept.request == hmac.new(KEY, message, hashlib.sha256).hexdigest()[:32]
    assert hash_name("stream", "x", KEY) != hash_name("request", "x", KEY)
    assert hash_name("stream", "x", KEY) != hash_name("stream", "x", b"o" * 32)
    assert hash_name("stream", "", KEY) == ""
    assert hash_name("stream", "\ud800", KEY) != hash_name("stream", "?", KEY)


def test_clip_without_labels_has_a_record() -> None:
    """A clip of which nothing was scored is recorded too."""
    assert record(replace(make_verdict(), labels=(), timings_ms={})).modalities == ()


PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)


def test_digest_changes_with_the_content_and_nothing_else() -> None:
    """The digest covers frames, texts, pixels and where one ends, and leaves the context out."""
    clips = [
        RawClip(b"", (b"ab", b"c"), (b"t",)),
        RawClip(b"", (b"a", b"bc"), (b"t",)),
        RawClip(b"", (b"ab",), (b"c", b"t")),
        RawClip(b"", (b"ab", b"c", b"t")),
        RawClip(b"", (b"ab", b"c"), (b"T",)),
        RawClip(b"", (), (b"t",), PIXELS),
        RawClip(b"", (), (b"t",), PIXELS.reshape(1, 4, 2, 3)),
        RawClip(b"", (), (b"t",)),
    ]
    digests = {digest_content(clip, KEY) for clip in clips}
    assert len(digests) == len(clips)
    assert digest_content(RawClip(b"{}", (b"ab", b"c"), (b"t",)), KEY) in digests
    assert digest_content(clips[0], b"o" * 32) not in digests


def test_strided_pixels_have_the_digest_of_their_values() -> None:
    """How an array lies in memory makes no difference."""
    strided = np.asfortranarray(PIXELS)
    assert digest_content(RawClip(b"", frames_rgb=strided), KEY) == digest_content(
        RawClip(b"", frames_rgb=PIXELS), KEY
    )


@pytest.mark.parametrize("given", [memoryview(b"ab"), bytearray(b"ab")])
def test_any_buffer_can_be_digested(given: bytes) -> None:
    """Frames may be any buffer of bytes."""
    assert digest_content(RawClip(b"", (given,)), KEY) == digest_content(
        RawClip(b"", (b"ab",)), KEY
    )

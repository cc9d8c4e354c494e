from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from livewarden_client.clip import Text
from livewarden_client.verdict import Evidence, PolicyRef, Provenance, Verdict
from livewarden_ensemble.context import Context
from livewarden_ensemble.golden_clip import GivenClip, cover_clip, score_clip
from livewarden_ensemble.policy import Policy, decide, load_policy
from livewarden_ensemble.policy.hit import NO_HITS
from livewarden_ensemble.record import make_record
from livewarden_ensemble.recording import Recording, record_outcome
from livewarden_ensemble.stream_state import FRESH
from livewarden_ensemble.watch.cut import STREAM_ID
from livewarden_ensemble.watch.moment import Moment, Thumbnail

ROOT = Path(__file__).parents[3]
START_MS = 1_767_225_600_000  # 2026-01-01
EVERY_MS = 2000

Made = tuple[tuple[Moment, ...], dict[int, Recording]]
Make = Callable[..., Made]


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The policy that ships."""
    return load_policy(ROOT / "policies" / "default.yaml")


@pytest.fixture(scope="session")
def thumbnail() -> Thumbnail:
    """A small picture, half blue."""
    picture = Image.new("RGB", (64, 36), (200, 180, 120))
    picture.paste((20, 60, 160), (0, 0, 32, 36))
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return Thumbnail(file.getvalue(), index=2, spoke=True, at_ms=500, width=64, height=36)


@pytest.fixture(scope="session")
def make_moments(policy: Policy, thumbnail: Thumbnail) -> Make:
    """Make moments as a server would, of what the models are said to have scored.

    `scores` has one entry for each clip, label to score; `texts` has those of some clips, by
    number from 0; `states` and `failed` say what was not seen of some.
    """

    def make(
        scores: Sequence[Mapping[str, float]],
        *,
        texts: Mapping[int, Sequence[Text]] = {},
        states: Mapping[int, Mapping[str, str]] = {},
        failed: Mapping[int, Mapping[str, str]] = {},
        by: Policy = policy,
    ) -> Made:
        state, moments, recordings = FRESH, [], {}
        for index, given in enumerate(scores):
            clip = GivenClip(
                scores=dict(given), states=dict(states.get(index, {})), failed=failed.get(index, {})
            )
            coverage = cover_clip(clip)
            context = Context(request_id=f"r{index}", stream_id=STREAM_ID, clip_seq=index + 1)
            now_ms = START_MS + index * EVERY_MS
            clip_scores = score_clip(clip, coverage)
            record = make_record(clip_scores, coverage, context, state, now_ms)
            decision, state = decide(clip_scores, coverage, context, state, by, now_ms, NO_HITS)
            said = tuple(texts.get(index, ()))
            evidence = [
                Evidence(label, text.kind, f"texts[{place}]", score, ts_ms=text.ts_ms)
                for place, text in enumerate(said)
                for label, score in given.items()
            ]
            verdict = Verdict(
                request_id=f"r{index}",
                action=decision.action,
                reasons=decision.reasons,
                labels=decision.labels,
                evidence=tuple(evidence),
                coverage=coverage,
                provenance=Provenance(
                    bundle="sha256:" + "ab" * 32,
                    models={"vision_encoder": "1"},
                    calibration="platt-1",
                    policy=PolicyRef(by.id, by.version, by.digest),
                    taxonomy="t1.0",
                    wire=1,
                    server="test",
                ),
                timings_ms={"decode": 10.0, "total": 50.0},
                stream_id=STREAM_ID,
                clip_seq=index + 1,
                label=decision.label,
                review=decision.review,
                visibility=decision.visibility,
                flags=decision.flags,
                cooldown_until_ms=decision.cooldown_until_ms,
            )
            moments.append(
                Moment(
                    index + 1,
                    index * EVERY_MS,
                    (index + 1) * EVERY_MS,
                    said,
                    verdict,
                    60.0 + index,
                    thumbnail,
                )
            )
            recordings[index + 1] = record_outcome(record, verdict)
        return tuple(moments), recordings

    return make

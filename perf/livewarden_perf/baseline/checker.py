"""Whether a server computes what Livewarden does: its scores against our pipeline's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from livewarden_client.wire import MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import load_policy, locate_policy
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.replay import encode_replay_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from livewarden_client.clip import Clip
    from livewarden_perf.baseline.protocol import WireProtocol

# How far a score may be from our pipeline's: the baseline in fp32 is up to 0.015 from bf16.
TOLERANCE: Final = 0.02
CHECKED_CLIPS: Final = 8


@dataclass(frozen=True, slots=True)
class Checker:
    """Clips, and the scores [clips, labels] that a server must give them."""

    clips: Sequence[Clip]
    expected: Sequence[Sequence[float]]

    @classmethod
    def of(cls, repository: Path, policy: Path | None, clips: Sequence[Clip]) -> Self:
        """Take for right what our pipeline gives `clips` on the live bundle of `repository`."""
        return cls(clips, _score_clips(repository, policy, clips))

    def check(self, protocol: WireProtocol, port: int) -> float:
        """Find the largest difference; MeasurementInvalid where it is over TOLERANCE."""
        caller = protocol.connect(port)
        try:
            answers = [caller.call(protocol.encode(clip)) for clip in self.clips]
        finally:
            caller.close()
        scores = np.array([protocol.read_scores(answer) for answer in answers])
        expected = np.array(self.expected)
        if scores.shape != expected.shape:
            raise MeasurementInvalid(f"it gave scores of shape {scores.shape}")
        difference = float(np.abs(scores - expected).max())
        # So written, a score that is no number fails as well.
        if not difference <= TOLERANCE:
            raise MeasurementInvalid(
                f"its scores are up to {difference:.3f} from our pipeline's; "
                f"only up to {TOLERANCE} is the same work"
            )
        return difference


def _score_clips(repository: Path, policy: Path | None, clips: Sequence[Clip]) -> list[list[float]]:
    """Score `clips` by our pipeline, in this process."""
    pipeline = Pipeline(
        load_bundle(repository / MODERATION.name),
        load_policy(policy or locate_policy(repository)),
        LocalLeaves(repository, threads=1),
        server="in-process",
    )
    scores = []
    for clip in clips:
        raw = RawClip(
            context=encode_replay_context(clip, clip.stream_id),
            frames=clip.frames,
            texts=[text.encode() for text in clip.texts],
        )
        outcome = pipeline.moderate([raw])[0]
        if outcome.scores is None:
            raise MeasurementInvalid("our own pipeline refuses a standard clip")
        scores.append(outcome.scores.tolist())
    return scores

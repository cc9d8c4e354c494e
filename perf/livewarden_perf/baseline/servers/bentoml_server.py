"""BentoML: its adaptive batching decides how many requests are scored together.

Its batches take what its own JSON or forms can hold: a clip comes as base64, for a file in a form
would be written to disk.
"""

import base64

import bentoml
from clip_body import read_clip
from scorer import Scorer, Settings

_settings = Settings.from_environment()
_MAX_LATENCY_MS = 60_000


@bentoml.service(
    workers=_settings.workers,
    traffic={"timeout": _MAX_LATENCY_MS // 1000},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class ClipService:
    """One worker process."""

    def __init__(self) -> None:
        self._scorer = Scorer(_settings)

    @bentoml.api(batchable=True, max_batch_size=_settings.batch, max_latency_ms=_MAX_LATENCY_MS)
    def score(self, clips: list[str]) -> list[list[float]]:
        """Score a batch."""
        return self._scorer.score([read_clip(base64.b64decode(clip)) for clip in clips])

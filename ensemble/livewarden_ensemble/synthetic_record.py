"""Invented recordings, to try policies, commands and benchmarks on without anybody's data.

Streams are quiet, with episodes: a label's score rises, stays and falls, in some modalities more
than in others. Some clips lose frames or texts. The same seed gives the same records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from livewarden_client.verdict import Coverage, ModalityCoverage
from livewarden_client.wire import LABELS, MODALITIES, TEXT_KINDS
from livewarden_ensemble.context import Context, TextInfo
from livewarden_ensemble.record import Scores
from livewarden_ensemble.recording import Recording

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

_START_MS: Final = 1_767_225_600_000  # 2026-01-01
_CLIP_MS: Final = 5_000
_FRAMES: Final = 8
_PLACES: Final = (("DE", "live"), ("FR", "live"), ("US", "live"), ("DE", "kids"), ("", ""))
# Of all clips: how many lie in an episode, and how many lose something on their way.
_EPISODE_SHARE: Final = 0.04
_LOSS_SHARE: Final = 0.02


@dataclass(slots=True)
class _Stream:
    """One stream: its place, and the episode it is in, in which the modalities `speaks` show it."""

    number: int
    region: str
    surface: str
    seq: int = 0
    label: int = 0
    left: int = 0
    height: float = 0.0
    is_real: bool = False
    speaks: tuple[int, ...] = ()


def invent_recordings(count: int, *, streams: int = 200, seed: int = 0) -> Iterator[Recording]:
    """Invent `count` recordings of `streams` streams, in the order in which clips would come."""
    random = np.random.default_rng(seed)
    live = [
        _Stream(number, *_PLACES[int(random.integers(len(_PLACES)))]) for number in range(streams)
    ]
    for number in range(count):
        stream = live[number % streams]
        yield _invent_clip(stream, number // streams, random)
        stream.seq += 1


def _invent_clip(stream: _Stream, turn: int, random: Generator) -> Recording:
    if stream.left == 0 and random.random() < _EPISODE_SHARE / 6:
        stream.label = int(random.integers(len(LABELS)))
        stream.left = int(random.integers(2, 12))
        # An episode that is not real is what a model takes for one: mostly lower, rarely as high.
        stream.is_real = bool(random.random() < 0.6)  # noqa: PLR2004 - the share of real ones
        stream.height = float(random.beta(12, 2) if stream.is_real else random.beta(5, 5))
        stream.speaks = tuple(
            random.choice(len(MODALITIES), random.integers(1, 3), replace=False).tolist()
        )
    modality = random.beta(1, 60, (len(MODALITIES), len(LABELS)))
    truth = {}
    if stream.left:
        rows = list(stream.speaks)
        modality[rows, stream.label] = random.normal(stream.height, 0.08, len(rows))
        stream.left -= 1
        truth[LABELS[stream.label]] = stream.is_real
    modality = np.clip(modality, 0, 1)
    loss = random.random()
    has_frames = loss > _LOSS_SHARE / 2
    present = (has_frames, *(True for _ in TEXT_KINDS))
    joint = 1 - np.prod(1 - modality[np.array(present)], axis=0)
    return Recording(
        now_ms=_START_MS + turn * _CLIP_MS,
        context=Context(
            request_id=f"invented-{stream.number}-{stream.seq}",
            stream_id=f"stream-{stream.number}",
            clip_seq=stream.seq,
            texts=tuple(TextInfo(kind) for kind in TEXT_KINDS),
            region=stream.region,
            surface=stream.surface,
        ),
        coverage=_invent_coverage(has_frames=has_frames, is_late=loss > 1 - _LOSS_SHARE / 2),
        scores=Scores(
            joint=_to_tuple(joint),
            modality=tuple(map(_to_tuple, modality)),
            present=present,
        ),
        start="token" if stream.seq else "none",
        truth=dict.fromkeys(LABELS, False) | truth,
    )


def _to_tuple(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Round to what float32 keeps, as a server's scores are."""
    return tuple(values.astype(np.float32).round(4).astype(float).round(4).tolist())


def _invent_coverage(*, has_frames: bool, is_late: bool) -> Coverage:
    texts = len(TEXT_KINDS)
    return Coverage(
        frames=ModalityCoverage(_FRAMES, _FRAMES, _FRAMES)
        if has_frames
        else ModalityCoverage(_FRAMES, 0, 0, {"corrupt": tuple(range(_FRAMES))}),
        texts=ModalityCoverage(texts, texts, texts - is_late, {"late": (1,)} if is_late else {}),
        degraded=is_late or not has_frames,
    )

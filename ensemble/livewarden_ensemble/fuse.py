"""Fusion: encoder outputs into the classifier's inputs, and its outputs into scores per clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import FUSION_CLASSIFIER, MODALITIES, TEXT_KINDS, TextKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = NDArray[np.float32]

KIND_CODE: Final[Mapping[TextKind, int]] = {kind: MODALITIES.index(kind) for kind in TEXT_KINDS}
# The code of a window that is padding, or that the encoder could not read.
NO_KIND: Final = 0

VISION_INPUTS: Final = tuple(
    tensor for tensor in FUSION_CLASSIFIER.inputs if tensor.name.startswith(("vision_", "nsfw_"))
)
_TEXT_DIM: Final = FUSION_CLASSIFIER.input("text_embedding").dims[1]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What the encoders said of one clip: T views of frames, S windows of texts.

    `vision` maps the classifier's frame inputs to arrays [T, ...]; `text` is [S, 768]. `seen`
    says of each view whether any encoder saw it; `kinds` holds each window's code, NO_KIND where
    the encoder gave no answer. Rows that nobody saw keep their place, and the classifier leaves
    them out.
    """

    vision: Mapping[str, Floats]
    text: Floats
    seen: tuple[bool, ...]
    kinds: tuple[int, ...]

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing in it to be scored."""
        return not any(self.seen) and not any(self.kinds)


@dataclass(frozen=True, slots=True, eq=False)
class ClipScores:
    """The classifier's answer for one clip: L labels, M modalities, T views, S windows.

    `joint` [L], `modality` [M, L], `frames` [T, L], `texts` [S, L], all in 0..1 and 0 for views
    and windows that nobody saw; `present` [M] says which modalities were there to be scored.
    """

    joint: Floats
    modality: Floats
    frames: Floats
    texts: Floats
    present: tuple[bool, ...]


def pad_clips(clips: Sequence[Encoded]) -> dict[str, NDArray[np.generic]]:
    """Pad a batch of clips into the classifier's inputs, as long as its longest (at least 1)."""
    count = len(clips)
    views = max((1, *(len(clip.seen) for clip in clips)))
    windows = max((1, *(len(clip.kinds) for clip in clips)))
    inputs: dict[str, NDArray[np.generic]] = {}
    for tensor in VISION_INPUTS:
        block = np.zeros((count, views, *tensor.dims[1:]), np.float32)
        for row, clip in enumerate(clips):
            block[row, : len(clip.seen)] = clip.vision[tensor.name]
        inputs[tensor.name] = block
    mask = np.zeros((count, views), np.int32)
    embedding = np.zeros((count, windows, _TEXT_DIM), np.float32)
    kind = np.full((count, windows), NO_KIND, np.int32)
    for row, clip in enumerate(clips):
        mask[row, : len(clip.seen)] = clip.seen
        embedding[row, : len(clip.kinds)] = clip.text
        kind[row, : len(clip.kinds)] = clip.kinds
    return inputs | {"frame_mask": mask, "text_embedding": embedding, "text_kind": kind}


def split_scores(
    outputs: Mapping[str, NDArray[np.generic]], clips: Sequence[Encoded]
) -> list[ClipScores | None]:
    """Cut out each clip's scores, padding off; None where any of them is not within 0..1."""
    return [_take_row(outputs, row, clip) for row, clip in enumerate(clips)]


def _take_row(
    outputs: Mapping[str, NDArray[np.generic]], row: int, clip: Encoded
) -> ClipScores | None:
    joint, modality, frames, texts = (
        np.array(outputs[name][row], np.float32)
        for name in ("scores", "modality_scores", "frame_scores", "text_scores")
    )
    frames, texts = frames[: len(clip.seen)], texts[: len(clip.kinds)]
    if (len(frames), len(texts)) != (len(clip.seen), len(clip.kinds)):
        return None
    frames[[not seen for seen in clip.seen]] = 0
    texts[[code == NO_KIND for code in clip.kinds]] = 0
    # NaN fails every comparison, so a NaN score can never pass as a low one.
    if not all(((part >= 0) & (part <= 1)).all() for part in (joint, modality, frames, texts)):
        return None
    present = (any(clip.seen), *(code in clip.kinds for code in KIND_CODE.values()))
    return ClipScores(joint, modality, frames, texts, present)

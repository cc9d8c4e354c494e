"""Calibration: curves per label for items and for clips, fitted on the validation split.

Platt's logistic curve with its own smoothed targets (Platt 1999): two numbers per label, since some
labels have a few dozen positives, on which isotonic regression would overfit. Curves become part of
the head's weights, so a score is calibrated wherever the graph runs.

"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from livewarden_client.wire import LABELS
from livewarden_export.fusion.feature import Features
from livewarden_export.fusion.head import SUBSETS, FusionClassifier, Platt
from livewarden_export.fusion.picture import NSFW_CURVE, NSFW_LABELS
from livewarden_export.fusion.train import read_clip_logits

_LEAST: Final = 8  # positives below which a label keeps the curve it has
_STEPS: Final = 200
# How much more a harmless validation clip counts: harm is rarer in a stream than in the data.
_HARMLESS: Final = 2.2
_MIN_SLOPE: Final = 0.2


def calibrate_head(head: FusionClassifier, clips: Features) -> str:
    """Fit all curves of `head` on `clips`; gives an id that names the result."""
    head.eval()
    for curve in (head.item_curve, head.clip_curve):
        curve.slope.fill_(1.0)
        curve.shift.fill_(0.0)
    for label in NSFW_LABELS:
        column = LABELS.index(label)
        head.item_curve.slope[0, column], head.item_curve.shift[0, column] = NSFW_CURVE
    inputs = {k: torch.from_numpy(v) for k, v in clips.gather(np.arange(len(clips))).items()}
    target, weight = torch.from_numpy(clips.targets), torch.from_numpy(clips.weights)
    seen, read = inputs["frame_mask"] > 0, inputs["text_kind"] > 0
    has_frames, has_texts = seen.any(dim=1), read.any(dim=1)
    with torch.no_grad():
        frames, texts, _ = read_clip_logits(head, inputs)
    # Frames are judged on clips of frames alone: elsewhere the label may be in the texts.
    learned = (head.learned > 0) & (head.visible > 0)
    alone = has_frames & ~has_texts
    fit_curve(head.item_curve, 0, frames[alone], target[alone], weight[alone] * learned)
    fit_curve(head.item_curve, 1, texts[has_texts], target[has_texts], weight[has_texts])
    for row, keep in enumerate(find_subsets(has_frames, has_texts)):
        view = dict(inputs)
        if row == SUBSETS.index("visual"):
            view["text_kind"] = torch.zeros_like(inputs["text_kind"])
        with torch.no_grad():
            _, modality, _, _, _ = head(*(view[name] for name in _NAMES))
            _, _, joint = read_clip_logits(head, view)
            evidence = head.gather_evidence(modality, joint).clamp(1e-6, 1 - 1e-6)
        logits = evidence.log() - (1 - evidence).log()
        known = weight[keep] * (learned if row == SUBSETS.index("visual") else 1.0)
        fit_curve(head.clip_curve, row, logits[keep], target[keep], known)
    return name_calibration(head)


def find_subsets(has_frames: Tensor, has_texts: Tensor) -> list[Tensor]:
    """Which clips count for each of SUBSETS: those that have exactly these modalities."""
    return [has_frames & ~has_texts, has_texts & ~has_frames, has_frames & has_texts]


def name_calibration(head: FusionClassifier) -> str:
    """An id that changes with any curve: "platt-" and eight digits."""
    digest = hashlib.sha256()
    for curve in (head.item_curve, head.clip_curve):
        for part in (curve.slope, curve.shift):
            digest.update(part.numpy().tobytes())
    return f"platt-{digest.hexdigest()[:8]}"


def fit_curve(curve: Platt, row: int, logits: Tensor, target: Tensor, weight: Tensor) -> None:
    """Fit one row of `curve`; labels with under _LEAST positives keep theirs."""
    for column in range(len(LABELS)):
        keep = weight[:, column] > 0
        truth, logit = target[keep, column], logits[keep, column]
        positive = float(truth.sum())
        negative = len(truth) - positive
        if positive < _LEAST or negative < _LEAST:
            continue
        hit, miss = (positive + 1) / (positive + 2), 1 / (negative + 2)
        soft = torch.where(truth > 0, hit, miss)
        slope, shift = _fit_logistic(logit, soft, torch.where(truth > 0, 1.0, _HARMLESS))
        curve.slope[row, column] = slope
        curve.shift[row, column] = shift


def _fit_logistic(logit: Tensor, soft: Tensor, weight: Tensor) -> tuple[float, float]:
    """Slope and shift of least cross-entropy; the slope keeps the order of the scores."""
    parts = torch.tensor([0.5, 0.0], dtype=torch.float64, requires_grad=True)
    logit, soft = logit.double(), soft.double()
    solver = torch.optim.LBFGS([parts], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def close() -> Tensor:
        solver.zero_grad()
        slope = nn.functional.softplus(parts[0]) + _MIN_SLOPE
        loss = nn.functional.binary_cross_entropy_with_logits(
            slope * logit + parts[1], soft, weight=weight.double()
        )
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return loss

    solver.step(close)  # type: ignore[no-untyped-call]  # untyped in torch
    slope = nn.functional.softplus(parts[0]) + _MIN_SLOPE
    return float(slope.detach()), float(parts[1].detach())


_NAMES: Final = (
    "vision_embedding",
    "vision_logits",
    "nsfw_features",
    "nsfw_probability",
    "frame_mask",
    "text_embedding",
    "text_kind",
    "nonce",
)

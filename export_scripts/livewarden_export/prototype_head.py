"""The head without training: readable evidence rules over any encoders, every number by hand.

Uncalibrated: its scores separate the plain cases that it was tuned on and are no probabilities. It
serves new encoders until there are labelled clips to train a head on (`livewarden train fusion`).
The tables and constants that it applies stand in `prototype.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, MODALITIES, TEXT_ENCODER
from livewarden_export.errors import SourceInvalid
from livewarden_export.fusion.picture import NSFW_LABELS, PICTURE_CLASSES
from livewarden_export.onnx import export_torch
from livewarden_export.prototype import (
    BENIGN,
    BENIGN_FLOOR,
    CALIBRATION_ID,
    CONTRAST,
    PROTOTYPES,
    SLOPE,
    SUPPORTED,
    THRESHOLD,
)
from livewarden_export.recipe import Recipe, Source, Tensors
from livewarden_export.sample import tokenize_texts
from livewarden_export.source import Sources

Embeddings = NDArray[np.float32]

SENTENCE: Final = 384


class PrototypeHead(nn.Module):
    """Scores per frame, per text, per modality and joint, all in 0..1, labels in wire order.

    A frame's score for a label is the share of the softmax that falls on the label's picture
    classes, or a curve over open_nsfw's probability p: p for `sexual_explicit`, 1 - (1 - p)^2 for
    `sexual_suggestive`; the larger one counts. A text's score is the logistic in `prototype.py`.
    A modality's score m is the largest of its items, so that one bad frame is never averaged away.
    Jointly, the strongest modality counts in full and each other one corroborates with its square
    (a noisy-or): 1 - (1 - max m) * product over the others of (1 - m^2). Padding scores 0.

    Of a text's embedding it reads the first SENTENCE numbers, which stand for the text as a whole.
    The embeddings of frames are inputs because the contract has them; this head does not use them.
    """

    classes: Tensor
    nsfw_curves: Tensor
    prototypes: Tensor
    worded: Tensor
    benign: Tensor

    def __init__(self, prototypes: Mapping[str, Embeddings], benign: Embeddings) -> None:
        """Bake in unit embeddings: [K, D] for each label of `prototypes`, [N, D] for `benign`."""
        super().__init__()
        classes = torch.zeros(FUSION_CLASSIFIER.input("vision_logits").dims[1], len(LABELS))
        for label, group in PICTURE_CLASSES.items():
            classes[list(group), LABELS.index(label)] = 1.0
        curves = torch.zeros(len(NSFW_LABELS), len(LABELS))
        for row, label in enumerate(NSFW_LABELS):
            curves[row, LABELS.index(label)] = 1.0
        # [L, K, D]: a label with fewer sentences repeats its first one, which changes no maximum.
        most = max(len(rows) for rows in prototypes.values())
        stack = np.zeros((len(LABELS), most, benign.shape[1]), np.float32)
        for label, rows in prototypes.items():
            stack[LABELS.index(label)] = rows[[*range(len(rows)), *[0] * (most - len(rows))]]
        worded = torch.tensor([float(label in prototypes) for label in LABELS])
        self.register_buffer("classes", classes)
        self.register_buffer("nsfw_curves", curves)
        self.register_buffer("prototypes", torch.from_numpy(stack))
        self.register_buffer("worded", worded)
        self.register_buffer("benign", torch.from_numpy(benign))

    def forward(
        self,
        vision_embedding: Tensor,  # noqa: ARG002 - in the contract for the trained head
        vision_logits: Tensor,
        nsfw_features: Tensor,  # noqa: ARG002 - in the contract for the trained head
        nsfw_probability: Tensor,
        frame_mask: Tensor,
        text_embedding: Tensor,
        text_kind: Tensor,
        nonce: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scores [B, L], modality [B, M, L], frame [B, T, L], text [B, S, L] scores, and nonce."""
        frames = self._score_frames(vision_logits, nsfw_probability)
        # where(), not a product: what stands in padding may be NaN, and 0 * NaN is NaN.
        frames = torch.where(frame_mask[:, :, None] > 0, frames, 0.0)
        texts = self._score_texts(text_embedding[..., :SENTENCE])
        texts = torch.where(text_kind[:, :, None] > 0, texts, 0.0)
        kinds = [
            torch.where(text_kind[:, :, None] == code, texts, 0.0).amax(dim=1)
            for code in range(1, len(MODALITIES))
        ]
        modality = torch.stack([frames.amax(dim=1), *kinds], dim=1)
        # (1 - max) / (1 - max^2) = 1 / (1 + max) takes the strongest one's square out again.
        strongest = modality.amax(dim=1)
        doubt = (1.0 - modality * modality).prod(dim=1) / (1.0 + strongest)
        joint = torch.maximum(1.0 - doubt, strongest)  # rounding must not lower the strongest
        return joint.clamp(0.0, 1.0), modality, frames, texts, nonce

    def _score_frames(self, logits: Tensor, nsfw: Tensor) -> Tensor:
        groups = logits.softmax(dim=-1) @ self.classes
        curves = torch.cat([nsfw, 1.0 - (1.0 - nsfw) * (1.0 - nsfw)], dim=-1) @ self.nsfw_curves
        return torch.maximum(groups, curves).clamp(0.0, 1.0)

    def _score_texts(self, embedding: Tensor) -> Tensor:
        labels, sentences, width = self.prototypes.shape
        cosine = embedding @ self.prototypes.reshape(labels * sentences, width).T
        likeness = cosine.reshape(*cosine.shape[:2], labels, sentences).amax(dim=-1)
        excess = (embedding @ self.benign.T).amax(dim=-1, keepdim=True) - BENIGN_FLOOR
        logit: Tensor = SLOPE * (likeness - THRESHOLD - CONTRAST * excess.clamp(min=0.0))
        return logit.sigmoid() * self.worded


def prototype_classifier(recipe: Recipe, sources: Sources) -> Source:
    """The head with the prototypes embedded by the text encoder that it will be served with."""
    encoder = sources.open(TEXT_ENCODER.name)
    if encoder.tokenizer is None:
        raise SourceInvalid(f"{TEXT_ENCODER.name}: its source names no tokenizer")
    tokenizer = encoder.tokenizer

    def embed_sentences(sentences: tuple[str, ...]) -> Embeddings:
        rows: Embeddings = encoder.reference(tokenize_texts(sentences, tokenizer))["text_embedding"]
        return rows[:, :SENTENCE]

    head = PrototypeHead(
        {label: embed_sentences(sentences) for label, sentences in PROTOTYPES.items()},
        embed_sentences(BENIGN),
    ).eval()

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            outputs = head(*(torch.from_numpy(inputs[t.name]) for t in recipe.model.inputs))
        names = (tensor.name for tensor in recipe.model.outputs)
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    return Source(
        functools.partial(export_torch, head, recipe),
        reference,
        calibration={"id": CALIBRATION_ID, "supported": dict(SUPPORTED)},
    )

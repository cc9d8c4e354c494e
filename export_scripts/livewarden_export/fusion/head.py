"""The fusion head: items to label scores, one pass that scores, combines and attributes.

Evidence is never averaged: a modality scores as its loudest item, and the clip at least as its
loudest modality. What the network adds, a joint look at frames and texts together, can only raise.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, MODALITIES, TEXT_ENCODER
from livewarden_export.errors import SourceInvalid
from livewarden_export.fusion.picture import (
    NSFW_LABELS,
    PICTURE_CLASSES,
    SUPPORTED,
    VISUAL_LABELS,
)
from livewarden_export.fusion.probe import find_strangers, probe_encoders
from livewarden_export.onnx import export_torch
from livewarden_export.recipe import FactorySource, Recipe, Source, Tensors
from livewarden_export.source import Sources, locate

WEIGHTS: Final = "reference.safetensors"
SUBSETS: Final = ("visual", "text", "visual+text")
_PROBE: Final = "probe."

_TEXT_DIM: Final = FUSION_CLASSIFIER.input("text_embedding").dims[1]
_VISION_DIM: Final = FUSION_CLASSIFIER.input("vision_embedding").dims[1]
_CLASSES: Final = FUSION_CLASSIFIER.input("vision_logits").dims[1]
_NSFW_DIM: Final = FUSION_CLASSIFIER.input("nsfw_features").dims[1]
_TINY: Final = 1e-6
# What open_nsfw half believes to be explicit is suggestive a little more probably.
_RACY_SHIFT: Final = 0.35


@dataclass(frozen=True, slots=True)
class Shape:
    """How wide the head is; what it holds besides follows from the contract.

    `hidden` units read a text, `token` numbers stand for an item in the joint look, `dropout` is
    the share of units that training switches off.
    """

    hidden: int = 192
    token: int = 48
    dropout: float = 0.3


class Platt(nn.Module):
    """A logistic curve per row and label over logits: the calibration that the graph carries.

    `slope` and `shift` are [rows, L]; the slope is kept above 0, so that order never changes.
    """

    slope: Tensor
    shift: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("slope", torch.ones(rows, len(LABELS)))
        self.register_buffer("shift", torch.zeros(rows, len(LABELS)))

    def forward(self, logits: Tensor, row: Tensor | int) -> Tensor:
        """Probabilities for `logits` [..., L] on the curves of `row`."""
        return (logits * self.slope[row] + self.shift[row]).sigmoid()


class GatedPool(nn.Module):
    """Gated attention over a varying number of items (Ilse et al. 2018); none: a learned token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.weight = nn.Linear(width, 1)
        self.missing = nn.Parameter(torch.zeros(width))

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        """Pool `items` [B, N, width] where `mask` [B, N] is true to [B, width]."""
        energy = self.weight(self.value(items).tanh() * self.gate(items).sigmoid())[..., 0]
        energy = torch.where(mask, energy, -1e4)
        share = energy.softmax(dim=1) * mask
        pooled = (items * share[:, :, None]).sum(dim=1)
        return torch.where(mask.any(dim=1, keepdim=True), pooled, self.missing)


class FusionClassifier(nn.Module):
    """Scores per frame, per text, per modality and joint, all in 0..1, labels in wire order.

    A text's logits are a linear plus a small two-layer read of its embedding. A frame's are the
    encoders' own words, the log odds of the share of the softmax that falls on a label's picture
    classes or of open_nsfw's probability, whichever is larger; labels in `learned`, that training
    data showed in pictures, add a learned read of the embeddings. Items become probabilities by
    one curve per label. A modality's score m is its
    largest item. Jointly the strongest modality counts in full, each other one corroborates with
    its square, and so does the joint head's j: 1 - (1 - max m) (1 - j^2) prod (1 - m^2), put on a
    curve of its own per set of modalities at hand, and never below the strongest. Padding scores 0.
    """

    classes: Tensor
    nsfw: Tensor
    nsfw_shift: Tensor
    visible: Tensor
    learned: Tensor

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        count = len(LABELS)
        classes = torch.zeros(_CLASSES, count)
        for label, group in PICTURE_CLASSES.items():
            classes[list(group), LABELS.index(label)] = 1.0
        nsfw = torch.zeros(count)
        nsfw[[LABELS.index(label) for label in NSFW_LABELS]] = 1.0
        self.register_buffer("classes", classes)
        self.register_buffer("nsfw", nsfw)
        shift = torch.zeros(count)
        shift[LABELS.index("sexual_suggestive")] = _RACY_SHIFT
        self.register_buffer("nsfw_shift", shift)
        self.register_buffer("visible", torch.tensor([float(x in VISUAL_LABELS) for x in LABELS]))
        self.register_buffer("learned", torch.zeros(count))  # labels read from pictures at all
        self.text_linear = nn.Linear(_TEXT_DIM, count)
        self.text_hidden = nn.Linear(_TEXT_DIM, shape.hidden)
        self.text_out = nn.Linear(shape.hidden, count)
        self.frame_token = nn.Linear(_VISION_DIM + _NSFW_DIM, shape.token)
        self.frame_out = nn.Linear(shape.token, count)
        self.text_token = nn.Linear(shape.hidden, shape.token)
        self.frame_pool = GatedPool(shape.token)
        self.text_pool = GatedPool(shape.token)
        self.joint_out = nn.Linear(3 * shape.token, count)
        self.dropout = nn.Dropout(shape.dropout)
        self.item_curve = Platt(2)  # frames, texts
        self.clip_curve = Platt(len(SUBSETS))

    def forward(
        self,
        vision_embedding: Tensor,
        vision_logits: Tensor,
        nsfw_features: Tensor,
        nsfw_probability: Tensor,
        frame_mask: Tensor,
        text_embedding: Tensor,
        text_kind: Tensor,
        nonce: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scores [B, L], modality [B, M, L], frame [B, T, L], text [B, S, L] scores, and nonce."""
        seen, read = frame_mask > 0, text_kind > 0
        frame_logits, text_logits, joint_logits = self.read_items(
            vision_embedding,
            vision_logits,
            nsfw_features,
            nsfw_probability,
            seen,
            text_embedding,
            read,
        )
        frames = torch.where(seen[:, :, None], self.item_curve(frame_logits, 0), 0.0) * self.visible
        texts = torch.where(read[:, :, None], self.item_curve(text_logits, 1), 0.0)
        kinds = [
            torch.where(text_kind[:, :, None] == code, texts, 0.0).amax(dim=1)
            for code in range(1, len(MODALITIES))
        ]
        modality = torch.stack([frames.amax(dim=1), *kinds], dim=1)
        present = torch.stack([seen.any(dim=1), read.any(dim=1)], dim=1)
        return self.combine(modality, joint_logits, present), modality, frames, texts, nonce

    def read_items(
        self,
        vision_embedding: Tensor,
        vision_logits: Tensor,
        nsfw_features: Tensor,
        nsfw_probability: Tensor,
        seen: Tensor,
        text_embedding: Tensor,
        read: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Uncalibrated logits: frames [B, T, L], texts [B, S, L] and joint [B, L]."""
        # where(), not a product: what stands in padding may be NaN, and 0 * NaN is NaN.
        pick, take = seen[:, :, None], read[:, :, None]
        look = torch.cat(
            [
                _normalise(torch.where(pick, vision_embedding, 0.0)),
                _normalise(torch.where(pick, nsfw_features, 0.0)),
            ],
            dim=-1,
        )
        token = self.frame_token(self.dropout(look)).tanh()
        share = torch.where(pick, vision_logits, 0.0).softmax(dim=-1) @ self.classes
        shown = _log_odds(share)
        bare = _log_odds(torch.where(pick, nsfw_probability, 0.0)) + self.nsfw_shift
        # The louder of the two kinds of evidence; where a label has neither, 0 in their place.
        proof = torch.where(self.classes.amax(dim=0) > 0, shown, -_FAR)
        proof = torch.maximum(proof, torch.where(self.nsfw > 0, bare, -_FAR))
        proof = torch.where(proof > -_FAR, proof, 0.0)
        frames = proof + self.frame_out(token) * self.learned
        texts, hidden = self.read_texts(torch.where(take, text_embedding, 0.0))
        pooled_frames = self.frame_pool(token, seen)
        pooled_texts = self.text_pool(self.text_token(hidden).tanh(), read)
        both = torch.cat([pooled_frames, pooled_texts, pooled_frames * pooled_texts], dim=-1)
        return frames, texts, self.joint_out(both)

    def read_texts(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Uncalibrated logits [..., L] and the hidden layer of text embeddings [..., D]."""
        hidden = nn.functional.gelu(self.text_hidden(words * _TEXT_SCALE))
        return self.text_linear(words * _TEXT_SCALE) + self.text_out(self.dropout(hidden)), hidden

    def combine(self, modality: Tensor, joint_logits: Tensor, present: Tensor) -> Tensor:
        """Clip scores [B, L] from calibrated modality scores, the joint logits and what was there.

        `present` [B, 2] says whether there are frames and texts; with neither, the score is 0.
        """
        strongest = modality.amax(dim=1)
        logits = _log_odds(self.gather_evidence(modality, joint_logits))
        frames, texts = present[:, 0], present[:, 1]
        row = frames.to(torch.int64) + 2 * texts.to(torch.int64)  # 0: nothing at all
        scores = torch.maximum(self.clip_curve(logits, (row - 1).clamp(min=0)), strongest)
        return torch.where(row[:, None] > 0, scores, 0.0)

    def gather_evidence(self, modality: Tensor, joint_logits: Tensor) -> Tensor:
        """The noisy-or over modalities and joint head [B, L], before its curve."""
        joint = joint_logits.sigmoid()
        strongest = modality.amax(dim=1)
        # (1 - max) / (1 - max^2) = 1 / (1 + max) takes the strongest one's square out again.
        doubt = (1.0 - modality * modality).prod(dim=1) / (1.0 + strongest)
        return 1.0 - doubt * (1.0 - joint * joint)


# The numbers of a unit vector of 384 are near 0.05; layers start better on numbers near 0.5.
_TEXT_SCALE: Final = 10.0
_FAR: Final = 1e4


def _normalise(rows: Tensor) -> Tensor:
    return rows / rows.square().sum(dim=-1, keepdim=True).clamp(min=_TINY).sqrt()


def _log_odds(share: Tensor) -> Tensor:
    share = share.clamp(_TINY, 1.0 - _TINY)
    return share.log() - (1.0 - share).log()


@dataclass(frozen=True, slots=True)
class Trained:
    """A head as its file holds it: ready to score, its metadata, and its encoders' probes."""

    head: FusionClassifier
    facts: Mapping[str, str]
    probes: Mapping[str, NDArray[Any]]


def save_head(
    head: FusionClassifier,
    path: Path,
    facts: Mapping[str, str],
    probes: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write weights, calibration and probes as safetensors, with `facts` as its metadata."""
    shape = {
        "hidden": str(head.text_hidden.out_features),
        "token": str(head.text_token.out_features),
    }
    tensors = {name: tensor.contiguous() for name, tensor in head.state_dict().items()}
    tensors |= {_PROBE + name: torch.from_numpy(rows) for name, rows in probes.items()}
    safetensors.torch.save_file(tensors, path, {**shape, **facts})


def load_head(path: Path) -> Trained:
    """The head in `path`; SourceInvalid where the file is none."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        probes = {
            name.removeprefix(_PROBE): tensors.pop(name).numpy()
            for name in [*tensors]
            if name.startswith(_PROBE)
        }
        head = FusionClassifier(Shape(int(facts["hidden"]), int(facts["token"])))
        head.load_state_dict(tensors)
    except (safetensors.SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise SourceInvalid(
            f"{path}: is no fusion head of this version ({type(error).__name__}); "
            "make one with: livewarden train fusion"
        ) from error
    return Trained(head.eval(), facts, probes)


@functools.cache
def load_reference() -> Trained:
    """The trained head that ships with the package."""
    with as_file(files("livewarden_export.fusion").joinpath(WEIGHTS)) as path:
        return load_head(path)


def describe_calibration(trained: Trained) -> dict[str, Any]:
    """What calibration.json says: the id, who speaks to what, and the curves of items."""
    curve = trained.head.item_curve
    spoken = {"visual": VISUAL_LABELS, "text": LABELS}
    curves = {
        name: {
            label: [
                float(curve.slope[row, LABELS.index(label)]),
                float(curve.shift[row, LABELS.index(label)]),
            ]
            for label in labels
        }
        for row, (name, labels) in enumerate(spoken.items())
    }
    return {"id": trained.facts["calibration"], "supported": dict(SUPPORTED), "curves": curves}


def fusion_classifier(recipe: Recipe, sources: Sources) -> Source:
    """The head in the checkpoint that `recipe` names, or the reference head, for its encoders.

    SourceInvalid where the encoders of models.yaml are not those that the head was trained on.
    """
    own = isinstance(recipe.source, FactorySource) and recipe.source.checkpoint
    trained = load_head(locate(own)) if own else load_reference()
    check_encoders(trained, sources)
    head = trained.head

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            outputs = head(*(torch.from_numpy(inputs[t.name]) for t in recipe.model.inputs))
        names = (tensor.name for tensor in recipe.model.outputs)
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    write = functools.partial(export_torch, head, recipe)
    return Source(write, reference, calibration=describe_calibration(trained))


def check_encoders(trained: Trained, sources: Sources) -> None:
    """Ask the encoders of `sources` the probes; SourceInvalid names those that answer otherwise."""
    encoder = sources.open(TEXT_ENCODER.name)
    if encoder.tokenizer is None:
        raise SourceInvalid(f"{TEXT_ENCODER.name}: its source names no tokenizer")
    found = probe_encoders(
        lambda model, inputs: sources.open(model.name).reference(inputs), encoder.tokenizer
    )
    strange = find_strangers(trained.probes, found)
    if strange:
        raise SourceInvalid(
            f"the fusion head was trained on other encoders: {', '.join(strange)} differ. Serve "
            "livewarden_export.prototype_head:prototype_classifier until you have trained a head "
            "on these (livewarden train fusion), and name it as `checkpoint` in models.yaml"
        )

"""Training: weak clip labels to item scores, encoders frozen, on a CPU in a minute or two.

A clip's logit is its loudest item's, so that the label of the clip teaches the item that shows it
(multiple-instance learning). Labels that too few clips with frames show keep the encoders' own
evidence and learn nothing from pictures. The epoch with the best validation AP is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS
from livewarden_export.fusion.feature import Features
from livewarden_export.fusion.head import FusionClassifier, Shape
from livewarden_export.fusion.measure import average_precision, mean_known

_HEAD_INPUTS: Final = tuple(tensor.name for tensor in FUSION_CLASSIFIER.inputs)
_TEXT_LAYERS: Final = ("text_linear", "text_hidden", "text_out")
_MASKED: Final = -30.0  # a logit that never wins a maximum
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. Every number is a choice that a run may change; the seed fixes all chance.

    Texts alone are learned for `epochs` at most, and for `least_epochs` at least; pictures and the
    joint look follow for `joint_epochs`, with the text reader left as it is. `noise` is added to
    text embeddings, `mixing` is mixup's alpha, `smoothing` is taken off sure targets,
    `drop_modality` is the chance that a clip's frames or texts are hidden from the joint look,
    `rare_weight` caps how much more a rare label's positives count, and `harmless_weight` says how
    much more a clip without any label does: they are what most of a stream is. Each step also
    looks at `swap_sets` sets of clips that differ only in the people they name, and `swap_weight`
    says what the spread of their logits costs. A label learns from pictures with at least
    `min_pictures` positive training clips whose only items are frames.
    """

    seed: int = 7
    epochs: int = 16
    least_epochs: int = 12
    patience: int = 3
    joint_epochs: int = 3
    batch: int = 256
    rate: float = 2e-3
    decay: float = 0.1
    noise: float = 0.04
    mixing: float = 0.3
    smoothing: float = 0.02
    drop_modality: float = 0.3
    rare_weight: float = 2.0
    harmless_weight: float = 2.5
    joint_weight: float = 0.3
    swap_weight: float = 0.3
    swap_sets: int = 24
    min_pictures: int = 20
    shape: Shape = field(default_factory=lambda: Shape(hidden=512, dropout=0.5))


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to: mean training loss, and macro AP on the validation split."""

    number: int
    loss: float
    validation_ap: float


@dataclass(slots=True)
class Run:
    """A training under way: everything that continuing it needs."""

    head: FusionClassifier
    best: dict[str, Tensor]
    history: list[Epoch]


def train_head(
    train: Features,
    validation: Features,
    plan: Plan,
    checkpoint: Path,
    report: Callable[[Epoch], None] | None = None,
) -> Run:
    """Train, or continue the training that `checkpoint` holds under the same plan and data.

    The checkpoint is written after every epoch. Raises ValueError where it is of another run.
    """
    random.seed(plan.seed)
    torch.manual_seed(plan.seed)
    head = FusionClassifier(plan.shape)
    freeze_unseen(head, train, plan.min_pictures)
    steps = -(-len(train) // plan.batch)
    optimizer = torch.optim.AdamW(head.parameters(), plan.rate, weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, plan.epochs * steps)
    run = Run(head, _copy(head), [])
    key = {"plan": repr(asdict(plan)), "clips": len(train) + len(validation)}
    if checkpoint.is_file():
        _resume(checkpoint, key, run, optimizer, schedule)
    boost = weigh_labels(train, plan.rare_weight)
    swaps = list_swaps(train)
    generator = np.random.default_rng([plan.seed, len(run.history)])
    while len(run.history) < plan.epochs and not _is_stale(run.history, plan):
        losses = []
        head.train()
        order = generator.permutation(len(train))
        for start in range(0, len(order), plan.batch):
            rows = order[start : start + plan.batch]
            loss = _measure_text_loss(head, train, rows, plan, boost)
            if swaps:
                chosen = [swaps[i] for i in generator.integers(0, len(swaps), plan.swap_sets)]
                loss = loss + plan.swap_weight * _measure_spread(head, train, chosen)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        epoch = Epoch(len(run.history) + 1, float(np.mean(losses)), measure_ap(head, validation))
        rivals = [e.validation_ap for e in run.history[plan.least_epochs - 1 :]]
        if epoch.number <= plan.least_epochs or epoch.validation_ap >= max(rivals, default=0.0):
            run.best = _copy(head)
        run.history.append(epoch)
        _save(checkpoint, key, run, optimizer, schedule)
        if report:
            report(epoch)
    head.load_state_dict(run.best)
    _train_joint(head, train, plan, boost)
    head.eval()
    return run


def _train_joint(head: FusionClassifier, train: Features, plan: Plan, boost: Tensor) -> None:
    """Teach pictures and the joint look, on clips that have frames or several items."""
    for name, part in head.named_parameters():
        part.requires_grad_(not name.startswith(_TEXT_LAYERS))
    free = [part for part in head.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(free, plan.rate, weight_decay=plan.decay)
    generator = np.random.default_rng([plan.seed, plan.epochs])
    torch.manual_seed(plan.seed)
    head.train()
    for _ in range(plan.joint_epochs):
        order = generator.permutation(len(train))
        for start in range(0, len(order), plan.batch):
            loss = _measure_loss(head, train, order[start : start + plan.batch], plan, boost)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            optimizer.step()


def freeze_unseen(head: FusionClassifier, train: Features, minimum: int) -> None:
    """Mark the labels that `train` shows in pictures, and calm the rest of the picture reader."""
    alone = (train.frame_rows > 0).any(axis=1) & ~(train.kinds > 0).any(axis=1)
    counts = (train.targets * train.weights)[alone].sum(axis=0)
    head.learned.copy_(torch.from_numpy((counts >= minimum).astype(np.float32)))


def weigh_labels(train: Features, cap: float) -> Tensor:
    """How much more each label's positives count: the root of how rare they are, capped."""
    known = train.weights.sum(axis=0)
    positive = (train.targets * train.weights).sum(axis=0)
    share = positive / np.maximum(known, 1)
    usual = np.median(share[share > 0]) if (share > 0).any() else 1.0
    ratio = np.sqrt(usual / np.maximum(share, 1e-6))
    return torch.from_numpy(np.clip(ratio, 1.0, cap).astype(np.float32))


def weigh_clips(data: Features, rows: NDArray[np.int64], plan: Plan) -> tuple[Tensor, Tensor]:
    """Targets and weights [N, L] of some clips, harmless ones heavier as the plan says."""
    target, weight = (torch.from_numpy(a[rows]) for a in (data.targets, data.weights))
    harmless = (target == 0).all(dim=1, keepdim=True)
    return target, torch.where(harmless, weight * plan.harmless_weight, weight)


def predict(head: FusionClassifier, clips: Features, batch: int = 512) -> Mapping[str, Any]:
    """The head's calibrated outputs for all clips: scores [N, L] and modality_scores [N, M, L]."""
    parts: list[tuple[Tensor, Tensor]] = []
    with torch.inference_mode():
        for start in range(0, len(clips), batch):
            rows = np.arange(start, min(start + batch, len(clips)))
            inputs = clips.gather(rows)
            scores, modality, *_ = head(*(torch.from_numpy(inputs[n]) for n in _HEAD_INPUTS))
            parts.append((scores, modality))
    scores, modality = (torch.cat(items).numpy() for items in zip(*parts, strict=True))
    return {"scores": scores, "modality_scores": modality}


def read_clip_logits(
    head: FusionClassifier, inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Loudest frame, loudest text and joint logits [B, L]; _MASKED where there is no item."""
    seen, read = inputs["frame_mask"] > 0, inputs["text_kind"] > 0
    frames, texts, joint = head.read_items(
        inputs["vision_embedding"],
        inputs["vision_logits"],
        inputs["nsfw_features"],
        inputs["nsfw_probability"],
        seen,
        inputs["text_embedding"],
        read,
    )
    visible = seen[:, :, None] & (head.visible > 0)
    return (
        torch.where(visible, frames, _MASKED).amax(dim=1),
        torch.where(read[:, :, None], texts, _MASKED).amax(dim=1),
        joint,
    )


def measure_ap(head: FusionClassifier, clips: Features) -> float:
    """Macro AP of the uncalibrated loudest text over the labels that `clips` shows."""
    head.eval()
    with torch.inference_mode():
        logits = head.read_texts(torch.from_numpy(clips.texts[clips.text_rows]))[0]
        read = torch.from_numpy(clips.kinds > 0)[:, :, None]
        loud = torch.where(read, logits, _MASKED).amax(dim=1).numpy()
    return mean_known(
        [
            average_precision(loud[known, column], clips.targets[known, column])
            for column, known in ((c, clips.weights[:, c] > 0) for c in range(len(LABELS)))
        ]
    )


def _measure_text_loss(
    head: FusionClassifier, data: Features, rows: NDArray[np.int64], plan: Plan, boost: Tensor
) -> Tensor:
    """The loss of the loudest text, on embeddings with noise and mixed in pairs (mixup)."""
    rows = rows[(data.kinds[rows] > 0).any(axis=1)]
    length = int((data.kinds[rows] > 0).sum(axis=1).max(initial=1))
    words = torch.from_numpy(data.texts[data.text_rows[rows, :length]])
    read = torch.from_numpy(data.kinds[rows, :length] > 0)
    target, weight = weigh_clips(data, rows, plan)
    share = torch.distributions.Beta(plan.mixing, plan.mixing).sample((len(rows), 1))
    share, other = torch.maximum(share, 1.0 - share), torch.randperm(len(rows))
    noisy = words + plan.noise * torch.randn_like(words)
    mixed = share[:, :, None] * noisy + (1.0 - share[:, :, None]) * noisy[other]
    soft = (share * target + (1.0 - share) * target[other]) * (1.0 - plan.smoothing)
    logits = head.read_texts(_stretch(mixed, words))[0]
    loud = torch.where(read[:, :, None], logits, _MASKED).amax(dim=1)
    return _cross_entropy(loud, soft, weight * weight[other], boost)


def _measure_loss(
    head: FusionClassifier, data: Features, rows: NDArray[np.int64], plan: Plan, boost: Tensor
) -> Tensor:
    inputs = {name: torch.from_numpy(array) for name, array in data.gather(rows).items()}
    words = inputs["text_embedding"]
    inputs["text_embedding"] = _stretch(words + plan.noise * torch.randn_like(words), words)
    target, weight = weigh_clips(data, rows, plan)
    soft = target * (1.0 - plan.smoothing)
    frames, texts, joint = read_clip_logits(head, inputs)
    loud = torch.maximum(frames, texts)
    # What no item can show is no lesson: a clip of frames alone, for a label that none is read for.
    weight = weight * (loud > _MASKED)
    loss = _cross_entropy(loud, soft, weight, boost)
    # The joint look must work with whatever is there: now and then one side of a clip is hidden.
    hide = torch.rand(len(rows), 2) < plan.drop_modality
    both = (inputs["frame_mask"] > 0).any(dim=1) & (inputs["text_kind"] > 0).any(dim=1)
    inputs["frame_mask"] = inputs["frame_mask"] * ~(hide[:, :1] & both[:, None])
    hide_text = (hide[:, 1] & ~hide[:, 0] & both)[:, None]
    inputs["text_kind"] = inputs["text_kind"] * ~hide_text
    frames, texts, joint = read_clip_logits(head, inputs)
    shown = (torch.maximum(frames, texts) > _MASKED) & ~(hide_text & (soft > 0))
    return loss + plan.joint_weight * _cross_entropy(joint, soft, weight * shown, boost)


def list_swaps(data: Features) -> list[NDArray[np.int64]]:
    """The clips of each set that differs only in the people it names, where it has two or more."""
    sets: dict[str, list[int]] = {}
    for row, clip in enumerate(data.clips):
        if clip.swap is not None and (data.kinds[row] > 0).any():
            sets.setdefault(clip.swap, []).append(row)
    return [np.array(rows) for rows in sets.values() if len(rows) > 1]


def _measure_spread(
    head: FusionClassifier, data: Features, sets: list[NDArray[np.int64]]
) -> Tensor:
    """The mean variance, inside each set, of the logits of the clips' first texts."""
    rows = np.concatenate(sets)
    logits = head.read_texts(torch.from_numpy(data.texts[data.text_rows[rows, 0]]))[0]
    sizes = [len(members) for members in sets]
    parts = torch.split(logits, sizes)
    return torch.stack([part.var(dim=0, unbiased=False).mean() for part in parts]).mean()


def _stretch(words: Tensor, like: Tensor) -> Tensor:
    """`words` as long as `like`, vector by vector: encoders give embeddings of one length."""
    length = torch.linalg.vector_norm(like, dim=-1, keepdim=True)
    own = torch.linalg.vector_norm(words, dim=-1, keepdim=True)
    stretched: Tensor = words * length / own.clamp(min=_TINY)
    return stretched


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor, boost: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(
        logits, target, weight=weight, pos_weight=boost
    )


def _is_stale(history: list[Epoch], plan: Plan) -> bool:
    counted = history[plan.least_epochs - 1 :]
    if not counted:
        return False
    best = max(counted, key=lambda epoch: (epoch.validation_ap, epoch.number))
    return len(history) - best.number >= plan.patience


def _copy(head: FusionClassifier) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}


def _save(checkpoint: Path, key: Mapping[str, Any], run: Run, *parts: Any) -> None:
    partial = checkpoint.with_suffix(".partial")
    state = {
        "key": dict(key),
        "head": run.head.state_dict(),
        "best": run.best,
        "history": [asdict(epoch) for epoch in run.history],
        "parts": [part.state_dict() for part in parts],
        "chance": torch.get_rng_state(),
    }
    torch.save(state, partial)
    partial.replace(checkpoint)


def _resume(checkpoint: Path, key: Mapping[str, Any], run: Run, *parts: Any) -> None:
    state = torch.load(checkpoint, weights_only=True)
    if state["key"] != dict(key):
        raise ValueError(f"{checkpoint}: is of another plan or data set; remove it to start anew")
    run.head.load_state_dict(state["head"])
    run.best = state["best"]
    run.history = [Epoch(**row) for row in state["history"]]
    for part, saved in zip(parts, state["parts"], strict=True):
        part.load_state_dict(saved)
    torch.set_rng_state(state["chance"])

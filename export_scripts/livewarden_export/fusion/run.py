"""One training from a data folder to weights: encode, train, calibrate, measure, write."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import LABELS
from livewarden_export.fusion.calibrate import calibrate_head
from livewarden_export.fusion.dataset import Dataset
from livewarden_export.fusion.feature import FeatureCache, Features, encode_dataset
from livewarden_export.fusion.head import WEIGHTS, save_head
from livewarden_export.fusion.measure import average_precision, calibration_error, mean_known
from livewarden_export.fusion.probe import probe_encoders
from livewarden_export.fusion.report import write_training
from livewarden_export.fusion.served import open_encoders
from livewarden_export.fusion.train import Epoch, Plan, predict, train_head

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.json"
_USUAL = Plan()


def train_dataset(
    data: Dataset,
    out: Path,
    *,
    bundle: Path,
    seed: int = _USUAL.seed,
    epochs: int = _USUAL.epochs,
    patience: int = _USUAL.patience,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> list[str]:
    """Train a head on `data` and write it to `out`; gives the lines that sum up the run.

    Raises ValueError where the data has no training or no validation clips.
    """
    out.mkdir(parents=True, exist_ok=True)
    encoders = open_encoders(bundle)
    features = encode_dataset(data, FeatureCache(data.folder / ".cache", encoders), progress)
    parts = {
        split: features.select([i for i, c in enumerate(features.clips) if c.split == split])
        for split in ("train", "validation", "test")
    }
    for split in ("train", "validation"):
        if not len(parts[split]):
            raise ValueError(f"{data.folder}: the {split} split holds no clips")
    plan = dataclasses.replace(Plan(), seed=seed, epochs=epochs, patience=patience)

    def report(epoch: Epoch) -> None:
        progress("epochs", epoch.number, plan.epochs)

    run = train_head(parts["train"], parts["validation"], plan, out / CHECKPOINT, report)
    head = run.head
    calibration = calibrate_head(head, parts["validation"])
    facts = {
        "calibration": calibration,
        "plan": json.dumps(dataclasses.asdict(plan)),
    }
    probes = probe_encoders(encoders.answer, encoders.tokenizer)
    save_head(head, out / WEIGHTS, facts, probes)
    write_training(run.history, out)
    figures = {
        split: measure_split(predict(head, part)["scores"], part)
        for split, part in parts.items()
        if len(part)
    }
    (out / METRICS).write_text(json.dumps(figures, indent=2) + "\n")
    lines = [f"{len(run.history)} epochs, calibration {calibration}, weights {out / WEIGHTS}"]
    lines += [
        f"{split}: macro AP {row['macro_ap']:.3f}, ECE {row['ece']:.3f}"
        for split, row in figures.items()
    ]
    return lines


def measure_split(scores: NDArray[np.float32], part: Features) -> dict[str, float]:
    """AP of each label and of all, and the calibration error, on one split."""
    known = part.weights > 0
    ap = {
        label: average_precision(
            scores[known[:, c], c].astype(np.float64), part.targets[known[:, c], c]
        )
        for c, label in enumerate(LABELS)
    }
    ece = calibration_error(scores[known].astype(np.float64), part.targets[known])
    return {"macro_ap": mean_known(list(ap.values())), "ece": ece, **ap}

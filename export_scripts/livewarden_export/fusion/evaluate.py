"""Evaluation of a bundle on labelled clips: ranking, calibration, robustness, fairness, safety.

Everything is asked of the bundle's own leaves, through the served decoder, normaliser, tokeniser
and, for decisions, the whole pipeline with a policy.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, LEAVES, MODALITIES, TEXT_KINDS
from livewarden_ensemble.bundle import Bundle as ServedBundle
from livewarden_ensemble.bundle import read_calibration
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.leaf import OpenVinoExecutor
from livewarden_ensemble.leaf_call import Arrays, LeafCall, draw_nonces
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import Policy, effective
from livewarden_export.bundle import Bundle
from livewarden_export.fusion.dataset import Clip, Dataset
from livewarden_export.fusion.evasion import EVASIONS
from livewarden_export.fusion.feature import FeatureCache, Features, encode_dataset
from livewarden_export.fusion.measure import (
    Bin,
    Interval,
    average_precision,
    bootstrap,
    calibration_error,
    mean_known,
    recall_at_false_positives,
    recall_at_precision,
    reliability,
)
from livewarden_export.fusion.served import leaf_folder, open_encoders

Report = Callable[[str], None]
Scores = NDArray[np.float64]

_TIMED: Final = 200
_SEED: Final = 3
_UNCERTAIN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """One label on the clips that are sure about it; NaN where there is no positive."""

    label: str
    positives: int
    average_precision: Interval
    recall_at_p80: Interval
    recall_at_p95: Interval
    recall_at_fpr1: Interval
    flagged_harmless: float
    error_before: float
    error_after: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was measured, ready to be written down.

    `subsets` maps a set of modalities to macro AP and clips; `evasions` a trick to recall before
    and after it; `swaps` a set of clips to its largest score gap; `curves` before and after.
    """

    bundle: str
    calibration: str
    clips: int
    labels: list[LabelFigures]
    macro_ap: float
    error_before: float
    error_after: float
    flagged_harmless: float
    subsets: dict[str, tuple[float, int]]
    evasions: dict[str, tuple[float, float]]
    swaps: dict[str, float]
    mean_swap_gap: float
    fail_safe_cases: int
    fail_safe_violations: list[str]
    fusion_ms: float
    curves: dict[str, list[Bin]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(json.loads(json.dumps(asdict(self), default=str)))


def evaluate_bundle(
    bundle: Bundle, data: Dataset, policy: Policy, cache: Path, report: Report
) -> Evaluation:
    """Measure `bundle` on the test split of `data`; all its clips, where it has no such split."""
    clips = data.take("test") or list(data.clips)
    measured = Dataset(data.folder, tuple(clips))
    store = FeatureCache(cache, open_encoders(bundle.folder))
    report(f"encode {len(clips)} clips")
    features = encode_dataset(measured, store)
    head = OpenVinoExecutor(leaf_folder(bundle.folder, FUSION_CLASSIFIER.name), FUSION_CLASSIFIER)
    calibration = json.loads((bundle.folder / "calibration.json").read_text("utf-8"))
    report("score")
    scores, modality = score_clips(head, features)
    before = undo_curves(modality, calibration.get("curves", {}))
    thresholds = read_thresholds(policy)
    report("measure")
    rows = [
        measure_label(column, scores, before, features, thresholds) for column in range(len(LABELS))
    ]
    known = features.weights > 0
    harmless = (features.targets == 0).all(axis=1) & (features.weights > 0).all(axis=1)
    report("subsets")
    subsets = measure_subsets(head, features)
    report("evasions")
    evasions = measure_evasions(head, store, features, thresholds)
    swaps = measure_swaps(scores, features)
    report("fail-safe")
    cases, broken = find_violations(bundle, policy, data.folder, clips)
    return Evaluation(
        bundle=bundle.id,
        calibration=calibration["id"],
        clips=len(clips),
        labels=rows,
        macro_ap=mean_known([row.average_precision.value for row in rows]),
        error_before=calibration_error(before[known], features.targets[known]),
        error_after=calibration_error(scores[known], features.targets[known]),
        flagged_harmless=float((scores[harmless] >= thresholds).any(axis=1).mean()),
        subsets=subsets,
        evasions=evasions,
        swaps=swaps,
        mean_swap_gap=mean_known(list(swaps.values())),
        fail_safe_cases=cases,
        fail_safe_violations=broken,
        fusion_ms=time_head(head, features),
        curves={
            "before": reliability(before[known], features.targets[known]),
            "after": reliability(scores[known], features.targets[known]),
        },
    )


def score_clips(head: OpenVinoExecutor, clips: Features) -> tuple[Scores, Scores]:
    """Scores [N, L] and modality scores [N, M, L] of the exported head."""
    size = FUSION_CLASSIFIER.max_batch
    parts = []
    for start in range(0, len(clips), size):
        rows = np.arange(start, min(start + size, len(clips)))
        outputs = head.infer(clips.gather(rows))
        parts.append((outputs["scores"], outputs["modality_scores"]))
    return (
        np.concatenate([scores for scores, _ in parts]).astype(np.float64),
        np.concatenate([modality for _, modality in parts]).astype(np.float64),
    )


def undo_curves(modality: Scores, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> Scores:
    """The loudest modality [N, L] as it was before the curves that calibration.json names."""
    raw = modality.copy()
    for name, rows in (("visual", slice(0, 1)), ("text", slice(1, None))):
        for label, (slope, shift) in curves.get(name, {}).items():
            column = LABELS.index(label)
            part = modality[:, rows, column].clip(_UNCERTAIN, 1 - _UNCERTAIN)
            logits = (np.log(part / (1 - part)) - shift) / slope
            shown = modality[:, rows, column] > 0
            raw[:, rows, column] = np.where(shown, 1 / (1 + np.exp(-logits)), 0.0)
    loudest: Scores = raw.max(axis=1)
    return loudest


def read_thresholds(policy: Policy) -> Scores:
    """The score from which each label asks for more than `allow` [L]."""
    return np.array([effective(policy).by_label[label].enter.review for label in LABELS])


def measure_label(
    column: int, scores: Scores, before: Scores, clips: Features, thresholds: Scores
) -> LabelFigures:
    """All figures of one label."""
    known = clips.weights[:, column] > 0
    own = scores[known, column]
    truth = clips.targets[known, column].astype(np.float64)
    harmless = own[truth == 0]
    return LabelFigures(
        label=LABELS[column],
        positives=int(truth.sum()),
        average_precision=bootstrap(average_precision, own, truth),
        recall_at_p80=bootstrap(lambda s, t: recall_at_precision(s, t, 0.80), own, truth),
        recall_at_p95=bootstrap(lambda s, t: recall_at_precision(s, t, 0.95), own, truth),
        recall_at_fpr1=bootstrap(lambda s, t: recall_at_false_positives(s, t, 0.01), own, truth),
        flagged_harmless=float((harmless >= thresholds[column]).mean()),
        error_before=calibration_error(before[known, column], truth),
        error_after=calibration_error(own, truth),
    )


def measure_subsets(head: OpenVinoExecutor, clips: Features) -> dict[str, tuple[float, int]]:
    """Macro AP and clips with only frames, only texts, both, and each kind of text alone."""
    has_frames, has_texts = (clips.frame_rows > 0).any(axis=1), (clips.kinds > 0).any(axis=1)
    found = {}
    for name, keep in (
        ("visual only", has_frames & ~has_texts),
        ("text only", has_texts & ~has_frames),
        ("visual and text", has_frames & has_texts),
    ):
        found[name] = _measure_macro(head, clips.select(np.flatnonzero(keep)))
    texts = clips.select(np.flatnonzero(has_texts))
    unseen = replace(texts, frame_rows=np.zeros_like(texts.frame_rows))
    found["text, frames taken away"] = _measure_macro(head, unseen)
    for kind in TEXT_KINDS:
        code = np.where(unseen.kinds > 0, MODALITIES.index(kind), 0).astype(np.int32)
        found[f"all texts as {kind}"] = _measure_macro(head, replace(unseen, kinds=code))
    return found


def measure_evasions(
    head: OpenVinoExecutor, store: FeatureCache, clips: Features, thresholds: Scores
) -> dict[str, tuple[float, float]]:
    """Recall at the policy's thresholds of clips with harmful texts, plain and tricked."""
    harmful = [clip for clip in clips.clips if clip.labels and clip.texts]
    plain = _recall(head, _encode_texts(store, harmful), thresholds)
    found = {}
    for name, write in EVASIONS.items():
        generator = random.Random(_SEED)  # noqa: S311 - data, not secrets
        tricked = [
            replace(c, texts=tuple((kind, write(text, generator)) for kind, text in c.texts))
            for c in harmful
        ]
        found[name] = (plain, _recall(head, _encode_texts(store, tricked), thresholds))
    return found


def measure_swaps(scores: Scores, clips: Features) -> dict[str, float]:
    """For each set of swapped clips, the mean gap in the `hate` score over all pairs in it."""
    column = LABELS.index("hate")
    sets: dict[str, list[float]] = {}
    for row, clip in enumerate(clips.clips):
        if clip.swap is not None:
            sets.setdefault(clip.swap, []).append(float(scores[row, column]))
    return {
        name: mean_known([abs(a - b) for a, b in itertools.combinations(values, 2)])
        for name, values in sets.items()
    }


def find_violations(
    bundle: Bundle,
    policy: Policy,
    folder: Path,
    clips: Sequence[Clip],
) -> tuple[int, list[str]]:
    """Clips with something unseen that were allowed all the same, by case; must be none."""
    leaves = {
        leaf.name: OpenVinoExecutor(leaf_folder(bundle.folder, leaf.name), leaf) for leaf in LEAVES
    }

    def infer(calls: Sequence[LeafCall]) -> list[Arrays]:
        return [leaves[call.model.name].infer(call.inputs) for call in calls]

    pipeline = Pipeline(
        ServedBundle(
            bundle.digest,
            bundle.folder,
            {leaf.name: "1" for leaf in LEAVES},
            read_calibration(bundle.folder),
        ),
        policy,
        infer,
        server="evaluate",
    )
    frame = next(((folder / clip.frames[0]).read_bytes() for clip in clips if clip.frames), b"")
    cases: dict[str, tuple[list[bytes], list[bytes], dict[str, Any]]] = {
        "nothing sent": ([], [], {}),
        "texts but no frames": ([], [b"hello chat"], {}),
        "only an empty text": ([], [b""], {}),
        "frame is no picture": ([b"no picture"], [b"hello chat"], {}),
        "empty frame": ([b""], [b"hello chat"], {}),
        "text is broken UTF-8": ([frame], [b"\xff\xfe\xfd"], {}),
        "text too long to score": ([frame], [b"hello chat " * 1400], {}),
        "deadline passed": ([frame], [b"hello chat"], {"deadline_ms": 1}),
    }
    if len(frame) > 1:
        cases["frame cut in half"] = ([frame[: len(frame) // 2]], [b"hello chat"], {})
        cases["one bad frame of two"] = ([frame, b"x"], [b"hello chat"], {})
    broken = []
    for name, (frames, texts, extra) in cases.items():
        context = {"texts": [{"kind": "chat"} for _ in texts], **extra}
        outcome = pipeline.moderate([RawClip(json.dumps(context).encode(), frames, texts)])[0]
        if outcome.verdict is not None and outcome.verdict.action == "allow":
            broken.append(name)
    return len(cases), broken


def time_head(head: OpenVinoExecutor, clips: Features) -> float:
    """Median milliseconds of the fusion head for one clip, one thread."""
    rows = np.arange(min(len(clips), 16))
    batches = [clips.gather(rows[i : i + 1]) for i in rows]
    laps = []
    for turn in range(_TIMED):
        start = time.perf_counter()
        head.infer(batches[turn % len(batches)] | {"nonce": draw_nonces(1)})
        laps.append(time.perf_counter() - start)
    return float(np.median(laps)) * 1e3


def _measure_macro(head: OpenVinoExecutor, clips: Features) -> tuple[float, int]:
    if not len(clips):
        return float("nan"), 0
    scores, _ = score_clips(head, clips)
    known = clips.weights > 0
    return (
        mean_known(
            [
                average_precision(
                    scores[known[:, c], c], clips.targets[known[:, c], c].astype(np.float64)
                )
                for c in range(len(LABELS))
            ]
        ),
        len(clips),
    )


def _recall(head: OpenVinoExecutor, clips: Features, thresholds: Scores) -> float:
    scores, _ = score_clips(head, clips)
    return float(((scores >= thresholds) & (clips.targets > 0)).any(axis=1).mean())


def _encode_texts(store: FeatureCache, clips: Sequence[Clip]) -> Features:
    bare = tuple(replace(clip, frames=()) for clip in clips)
    return encode_dataset(Dataset(Path(), bare), store)

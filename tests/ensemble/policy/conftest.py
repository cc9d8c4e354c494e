from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from livewarden_client.verdict import Coverage, ModalityCoverage
from livewarden_client.wire import LABELS, MODALITIES
from livewarden_ensemble.context import Context, TextInfo
from livewarden_ensemble.fuse import ClipScores
from livewarden_ensemble.policy import Policy, load_policy

NOON_MS = 1_700_000_000_000
# The least that a policy can say: nothing over time, and texts that may be missing.
BASE: dict[str, Any] = {
    "policy": {"id": "test", "version": "1", "taxonomy": "t1.0"},
    "defaults": {"thresholds": {"review": 0.5, "restrict": 0.7, "block": 0.9}},
    "labels": {},
    "fail_safe": {
        "frames": {"on_missing": "ignore"},
        **{kind: {"on_missing": "ignore"} for kind in ("title", "chat", "asr", "ocr")},
    },
}


def merge(base: Any, change: Any) -> Any:
    """`base` with `change` merged into its mappings."""
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        return {**base, **{key: merge(base.get(key), value) for key, value in change.items()}}
    return change


@pytest.fixture(scope="session")
def make_policy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Policy]:
    """Make a policy of BASE with `change` merged in; `files` lie beside it."""

    def make(change: Mapping[str, Any] | None = None, **files: str) -> Policy:
        folder = tmp_path_factory.mktemp("policy")
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        path = folder / "policy.yaml"
        path.write_text(yaml.safe_dump(merge(BASE, change or {}), sort_keys=False))
        return load_policy(path)

    return make


def _make_scores(
    scores: Mapping[str, float] | None = None, *, rest: float = 0.0, frames: bool = True
) -> ClipScores:
    """Scores of a clip: `rest` for each label that `scores` does not name."""
    joint = np.array([(scores or {}).get(label, rest) for label in LABELS], np.float32)
    return ClipScores(
        joint,
        np.tile(joint, (len(MODALITIES), 1)),
        np.zeros((0, len(LABELS)), np.float32),
        np.zeros((0, len(LABELS)), np.float32),
        (frames, False, True, False, False),
    )


def _make_coverage(
    frames: Sequence[str] = ("ok",), texts: Sequence[str] = ("ok",), **given: Any
) -> Coverage:
    """Coverage of a clip with one state per frame, and one per chat line."""

    def cover(states: Sequence[str], whole: set[str]) -> ModalityCoverage:
        found = {
            state: tuple(i for i, other in enumerate(states) if other == state)
            for state in dict.fromkeys(states)
            if state != "ok"
        }
        seen = sum(state in whole | {"animated", "truncated", "too_large"} for state in states)
        return ModalityCoverage(len(states), seen, seen, found)

    missing = ["title", "asr", "ocr"]
    missing += [] if frames else ["visual"]
    missing += [] if texts else ["chat"]
    degraded = bool(set(frames) - {"ok"} or set(texts) - {"ok", "empty"})
    return Coverage(
        **{
            "frames": cover(frames, {"ok"}),
            "texts": cover(texts, {"ok", "empty"}),
            "missing": tuple(missing),
            "degraded": degraded,
            **given,
        }
    )


def _make_context(seq: int = 0, *, texts: int = 1, stream_id: str = "s", **given: Any) -> Context:
    """Context of clip `seq`, with `texts` chat lines."""
    infos = given.pop("infos", None) or (TextInfo("chat"),) * texts
    return Context(stream_id=stream_id, clip_seq=seq, texts=infos, **given)


@pytest.fixture(scope="session")
def corpus_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad") / "bad.yaml"


@pytest.fixture(scope="session")
def make_scores() -> Callable[..., ClipScores]:
    return _make_scores


@pytest.fixture(scope="session")
def make_coverage() -> Callable[..., Coverage]:
    return _make_coverage


@pytest.fixture(scope="session")
def make_context() -> Callable[..., Context]:
    return _make_context

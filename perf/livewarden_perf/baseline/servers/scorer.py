"""What every baseline computes: clips to scores, as one would write it without a pipeline.

Frames of all clips go through an encoder in one batch, and so do their texts. Settings come from
the environment, because some frameworks start their worker processes themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tokenizers
from clip_body import ClipBody
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]

# A few lengths only: inference libraries prepare themselves for each new shape.
_TOKEN_STEP = 16
_MAX_TOKENS = 128
FRAME_OUTPUTS = {
    "vision_encoder": ("vision_embedding", "vision_logits"),
    "nsfw_encoder": ("nsfw_features", "nsfw_probability"),
}
OUTPUTS = {
    **FRAME_OUTPUTS,
    "text_encoder": ("text_embedding",),
    "fusion_classifier": ("scores",),
}


class Engine(Protocol):
    """An inference library with the models loaded, and a JPEG decoder; safe from any thread."""

    def run(self, leaf: str, inputs: Tensors) -> Tensors:
        """The outputs of model `leaf` that OUTPUTS names."""

    def decode(self, jpeg: bytes) -> NDArray[np.uint8]:
        """A picture as RGB [224, 224, 3]."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one worker process runs: `parallel` clips or batches at a time on `threads` threads.

    It leaves a file in `runtime` once its models are loaded.
    """

    bundle: Path
    runtime: Path
    engine: str
    workers: int
    parallel: int
    batch: int
    threads: int
    port: int

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the variables that the command `livewarden perf baselines` sets."""
        numbers = {
            name: int(os.environ[f"BASELINE_{name.upper()}"])
            for name in ("workers", "parallel", "batch", "threads", "port")
        }
        bundle, runtime = (Path(os.environ[f"BASELINE_{name}"]) for name in ("BUNDLE", "RUNTIME"))
        return cls(bundle, runtime, os.environ["BASELINE_ENGINE"], **numbers)


def load_engine(settings: Settings) -> Engine:
    """Load the engine that is asked for; only its own library is imported."""
    if settings.engine == "onnxruntime":
        from onnx_engine import OnnxEngine  # noqa: PLC0415 - the other library stays unloaded

        return OnnxEngine(settings.bundle, settings.threads, settings.parallel)
    from openvino_engine import OpenVinoEngine  # noqa: PLC0415 - see above

    return OpenVinoEngine(settings.bundle, settings.threads, settings.parallel, tuple(OUTPUTS))


def load_tokenizer(bundle: Path) -> tokenizers.Tokenizer:
    """Load the models' tokenizer so that it pads and cuts."""
    tokenizer = tokenizers.Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.enable_padding(pad_to_multiple_of=_TOKEN_STEP)
    return tokenizer


def tokenise(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> Tensors:
    """Give the text encoder's inputs for `texts`."""
    encodings = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": np.array([one.ids for one in encodings], np.int32),
        "attention_mask": np.array([one.attention_mask for one in encodings], np.int32),
    }


def pad_rows(rows: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
    """Split `rows` [sum(counts), ...] by clip, padded with zeros: [clips, longest, ...]."""
    padded = np.zeros((len(counts), max(counts), *rows.shape[1:]), rows.dtype)
    start = 0
    for clip, count in enumerate(counts):
        padded[clip, :count] = rows[start : start + count]
        start += count
    return padded


class Scorer:
    """Clips, of at least one frame and one text each, to the scores of the labels."""

    def __init__(self, settings: Settings) -> None:
        self._engine = load_engine(settings)
        self._tokenizer = load_tokenizer(settings.bundle)
        self._map: Callable[..., Any] = map
        if settings.threads > settings.parallel:
            self._map = ThreadPoolExecutor(settings.threads // settings.parallel).map
        (settings.runtime / f"loaded-{os.getpid()}").touch()

    def score(self, clips: Sequence[ClipBody]) -> list[list[float]]:
        """One list of scores per clip."""
        frames = [frame for clip in clips for frame in clip.frames]
        views = {"frame": np.stack(list(self._map(self._engine.decode, frames)))}
        rows: Tensors = {}
        for leaf in FRAME_OUTPUTS:
            rows |= self._engine.run(leaf, views)
        tokens = tokenise(self._tokenizer, [text for clip in clips for text in clip.texts])
        texts = self._engine.run("text_encoder", tokens)["text_embedding"]
        shown, written = ([len(c.frames) for c in clips], [len(c.texts) for c in clips])
        inputs = {name: pad_rows(part, shown) for name, part in rows.items()}
        inputs["frame_mask"] = pad_rows(np.ones(len(frames), np.int32), shown)
        inputs["text_embedding"] = pad_rows(texts, written)
        kinds = np.array([kind for clip in clips for kind in clip.kinds], np.int32)
        inputs["text_kind"] = pad_rows(kinds, written)
        return self._engine.run("fusion_classifier", inputs)["scores"].tolist()

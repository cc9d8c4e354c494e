"""The Python models of a plain Triton ensemble: decode, one class for the encoders, fuse.

The ensemble has no batch axis, so the decoder's frames and texts become the batch of the encoders,
and Triton's dynamic batching merges those of several clips.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb  # noqa: TID251 - a baseline does without our serving.py
from openvino_engine import OpenVinoEngine
from scorer import FRAME_OUTPUTS, OUTPUTS, Settings, Tensors, load_tokenizer, tokenise

_FUSED = "fusion_classifier"


class Decode:
    """JPEGs to squares, texts to tokens."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """Load the tokenizer; the engine is here for its decoder, and loads no model."""
        settings = Settings.from_environment()
        self._engine = OpenVinoEngine(settings.bundle, 1, 1, ())
        self._tokenizer = load_tokenizer(settings.bundle)
        self._pool = ThreadPoolExecutor(settings.threads)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One clip per request."""
        return [_respond(self._read(request)) for request in requests]

    def _read(self, request: Any) -> Tensors:
        frames = _read_input(request, "jpegs").tolist()
        texts = [text.decode() for text in _read_input(request, "texts")]
        views = np.stack(list(self._pool.map(self._engine.decode, frames)))
        return {"frame": views, **tokenise(self._tokenizer, texts)}


class Encode:
    """An encoder: all frames, or all texts, of the requests that Triton has batched."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model that the folder is named after."""
        self._leaf = args["model_name"]
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        instances = config["instance_group"][0]["count"]
        settings = Settings.from_environment()
        threads = max(1, settings.threads // instances)
        self._engine = OpenVinoEngine(settings.bundle, threads, 1, (self._leaf,))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """All requests in one inference."""
        parts = [{name: _read_input(r, name) for name in self._inputs} for r in requests]
        batch = {name: np.concatenate([part[name] for part in parts]) for name in self._inputs}
        outputs = self._engine.run(self._leaf, batch)
        ends = np.cumsum([len(part[self._inputs[0]]) for part in parts])[:-1]
        split = {name: np.split(rows, ends) for name, rows in outputs.items()}
        return [
            _respond({name: rows[index] for name, rows in split.items()})
            for index in range(len(requests))
        ]


class Fuse:
    """The encoders' outputs of one clip to its scores."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002 - Triton's signature
        """Load the classifier."""
        self._engine = OpenVinoEngine(Settings.from_environment().bundle, 1, 1, (_FUSED,))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One clip per request."""
        return [_respond(self._engine.run(_FUSED, self._read(request))) for request in requests]

    def _read(self, request: Any) -> Tensors:
        names = [name for outputs in FRAME_OUTPUTS.values() for name in outputs]
        names += [*OUTPUTS["text_encoder"], "text_kind"]
        inputs = {name: _read_input(request, name)[None] for name in names}
        inputs["frame_mask"] = np.ones(inputs["nsfw_probability"].shape[:2], np.int32)
        return inputs


def _read_input(request: Any, name: str) -> Any:
    return pb.get_input_tensor_by_name(request, name).as_numpy()


def _respond(outputs: Tensors) -> Any:
    return pb.InferenceResponse(
        [pb.Tensor(name, np.ascontiguousarray(value)) for name, value in outputs.items()]
    )

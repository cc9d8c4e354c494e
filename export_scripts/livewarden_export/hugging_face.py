"""Encoders out of a transformers folder: ViT-like for frames, BERT-like for texts.

The wire fixes how wide an embedding is. A narrower one is filled up with zeros, which changes no
dot product, no cosine and no length; a wider one is refused by name, because only training can say
what to leave out.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from livewarden_export.encoders import Normalise, TextEncoder, normalise_pixels, pool_text
from livewarden_export.errors import SourceInvalid
from livewarden_export.onnx import export_torch
from livewarden_export.recipe import HuggingFaceSource, Pixels, Recipe, Source, Tensors
from livewarden_export.source import locate


class ViTEncoder(nn.Module):
    """A ViT-like classifier: embedding of its class token, filled up to the wire's width."""

    def __init__(self, network: nn.Module, pixels: Pixels, missing: int) -> None:
        super().__init__()
        self.network = network
        self.normalise = Normalise(pixels)
        self.missing = missing

    def forward(self, frame: Tensor, nonce: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding, logits and the untouched nonce."""
        body: Any = self.network.base_model
        head: Any = self.network.classifier
        token = body(self.normalise(frame)).last_hidden_state[:, 0]
        return nn.functional.pad(token, (0, self.missing)), head(token), nonce


class PaddedTextEncoder(nn.Module):
    """A BERT-like encoder whose embedding is filled up to the wire's width."""

    def __init__(self, bert: nn.Module, missing: int) -> None:
        super().__init__()
        self.encoder = TextEncoder(bert)
        self.missing = missing

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, nonce: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embedding and the untouched nonce."""
        embedding, echo = self.encoder(input_ids, attention_mask, nonce)
        return nn.functional.pad(embedding, (0, self.missing)), echo


def open_vision_encoder(recipe: Recipe) -> Source:
    """A folder that AutoModelForImageClassification reads, with a class token and 1000 classes."""
    folder = _find_folder(recipe)
    pixels = recipe.pixels
    assert pixels is not None
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    network.requires_grad_(requires_grad=False).eval()
    _check_width(recipe, "vision_logits", network.config.num_labels, exact=True)
    missing = _check_width(recipe, "vision_embedding", network.config.hidden_size)

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            answer = network(
                torch.from_numpy(normalise_pixels(inputs["frame"], pixels)),
                output_hidden_states=True,
            )
            # The last block's output before the final norm, which this way applies by itself.
            token = network.base_model.layernorm(answer.hidden_states[-1])[:, 0].numpy()
        return {
            "vision_embedding": np.pad(token, ((0, 0), (0, missing))),
            "vision_logits": answer.logits.numpy(),
            "echo": inputs["nonce"],
        }

    module = ViTEncoder(network, pixels, missing)
    return Source(functools.partial(export_torch, module, recipe), reference)


def open_text_encoder(recipe: Recipe) -> Source:
    """A folder that AutoModel reads as a BERT-like encoder; mean over tokens, length 1."""
    folder = _find_folder(recipe)
    bert = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager")
    bert.requires_grad_(requires_grad=False).eval()
    missing = _check_width(recipe, "text_embedding", bert.config.hidden_size)

    def reference(inputs: Tensors) -> dict[str, NDArray[Any]]:
        embedding = pool_text(bert, inputs)
        padded = np.pad(embedding, ((0, 0), (0, missing)))
        return {"text_embedding": padded, "echo": inputs["nonce"]}

    assert recipe.tokenizer is not None
    module = PaddedTextEncoder(bert, missing)
    write = functools.partial(export_torch, module, recipe)
    return Source(write, reference, locate(recipe.tokenizer))


def _find_folder(recipe: Recipe) -> Path:
    assert isinstance(recipe.source, HuggingFaceSource)
    folder = locate(recipe.source.folder)
    if not (folder / "config.json").is_file():
        raise SourceInvalid(f"{folder}: holds no config.json; it is no folder of transformers")
    return folder


def _check_width(recipe: Recipe, output: str, width: int, *, exact: bool = False) -> int:
    """How many numbers `output` lacks of the wire's width; SourceInvalid where it cannot fit."""
    wanted = recipe.model.output(output).dims[-1]
    if width > wanted or (exact and width != wanted):
        raise SourceInvalid(
            f"{recipe.model.name}: {output!r} is {width} wide; the wire says {wanted}. "
            "A narrower embedding is filled up with zeros; anything else needs a factory with a "
            "trained projection"
        )
    return wanted - width

"""Write two small Hugging Face folders beside this file: a ViT and an ELECTRA, random weights.

Stand-ins for your own checkpoints: what matters is that `models.yaml` beside them exports and
serves other architectures without a change of code.

    python examples/other-models/make_weights.py
    livewarden export --models examples/other-models/models.yaml --bundles /tmp/bundles
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers

SEED = 7
WORDS = 30522  # the vocabulary of the tokenizer that models.yaml names


def make_weights(folder: Path) -> None:
    """Write `vit` and `electra` into `folder`, the same numbers every time."""
    torch.manual_seed(SEED)
    vit = transformers.ViTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        patch_size=32,
    )
    vit.num_labels = 1000
    transformers.ViTForImageClassification(vit).save_pretrained(folder / "vit")
    electra = transformers.ElectraConfig(
        vocab_size=WORDS,
        embedding_size=32,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
    )
    transformers.ElectraModel(electra).save_pretrained(folder / "electra")


if __name__ == "__main__":
    make_weights(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

"""The exported encoders of a bundle, as training and evaluation ask them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import NSFW_ENCODER, TEXT_ENCODER, VISION_ENCODER, Model
from livewarden_ensemble.leaf import OpenVinoExecutor
from livewarden_export.bundle import LEAVES_FOLDER, OPENVINO_FOLDER, hash_file

# Answers for one batch of a leaf's inputs, by output name.
Answer = Callable[[Model, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Encoders:
    """Encoders that answer, their tokenizer, and what each kind of answers depends on.

    `digests` maps "texts" and "frames" to a hash that changes with the encoders of that kind.
    """

    answer: Answer
    tokenizer: Path
    digests: Mapping[str, str]


def open_encoders(bundle: Path, threads: int = 2) -> Encoders:
    """The encoders of the bundle in folder `bundle`; each is loaded when it is first asked."""
    opened: dict[str, OpenVinoExecutor] = {}

    def answer(model: Model, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if model.name not in opened:
            opened[model.name] = OpenVinoExecutor(
                leaf_folder(bundle, model.name), model, threads=threads
            )
        rows = len(next(iter(inputs.values())))
        return opened[model.name].infer({**inputs, "nonce": np.zeros((rows, 1), np.int64)})

    tokenizer = bundle / "tokenizer.json"
    digests = {
        "texts": _hash_files([tokenizer, *_list_files(bundle, TEXT_ENCODER)]),
        "frames": _hash_files(
            [*_list_files(bundle, VISION_ENCODER), *_list_files(bundle, NSFW_ENCODER)]
        ),
    }
    return Encoders(answer, tokenizer, digests)


def leaf_folder(bundle: Path, leaf: str) -> Path:
    """Where the bundle in folder `bundle` keeps the OpenVINO files of a leaf."""
    return bundle / LEAVES_FOLDER / leaf / OPENVINO_FOLDER


def _list_files(bundle: Path, model: Model) -> list[Path]:
    return sorted(leaf_folder(bundle, model.name).iterdir())


def _hash_files(files: Iterable[Path]) -> str:
    lines = "".join(f"{file.name} {hash_file(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()

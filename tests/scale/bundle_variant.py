"""Bundles that differ from the live one in their scores, and repositories to publish them into."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from link import link_or_copy
from onnx import numpy_helper

from livewarden_client.wire import FUSION_CLASSIFIER
from livewarden_export.bundle import (
    LEAVES_FOLDER,
    MANIFEST,
    ONNX_FILE,
    OPENVINO_FOLDER,
    SBOM,
    Bundle,
    seal_bundle,
    stage_bundle,
)
from livewarden_export.openvino import convert_onnx
from livewarden_export.triton_config import write_configs

ROOT = Path(__file__).parents[2]
TEXT_BIAS = "text_out.bias"  # of the fusion head: what every text's logits begin with


def make_variant(bundle: Bundle, bundles: Path, shift: float) -> Bundle:
    """The same encoders, linked, with another fusion head, through the exporter's own steps."""
    fusion = f"{LEAVES_FOLDER}/{FUSION_CLASSIFIER.name}"
    apart = {MANIFEST, SBOM}
    with stage_bundle(bundles) as staged:
        for path in bundle.folder.rglob("*"):
            name = path.relative_to(bundle.folder).as_posix()
            if path.is_file() and name not in apart and not name.startswith(fusion):
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, staged / name)
        graph = onnx.load(bundle.folder / fusion / ONNX_FILE)
        [bias] = [t for t in graph.graph.initializer if t.name == TEXT_BIAS]
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) - shift, bias.name))
        (staged / fusion).mkdir()
        onnx.save(graph, staged / fusion / ONNX_FILE)
        convert_onnx(
            staged / fusion / ONNX_FILE, FUSION_CLASSIFIER, staged / fusion / OPENVINO_FOLDER, "f32"
        )
        facts = {k: v for k, v in bundle.manifest.items() if k not in {"files", "digest"}}
        return seal_bundle(staged, {**facts, "key": f"shift {shift}"})


def make_repository(folder: Path) -> Path:
    """A repository of its own with nothing live, as a checkout has it."""
    repository = folder / "model_repository"
    repository.mkdir()
    write_configs(repository)
    shutil.copytree(
        ROOT / "model_repository/moderation/1",
        repository / "moderation/1",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return repository

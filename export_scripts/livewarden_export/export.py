"""One export, from sources to a sealed bundle: build, convert, prove, seal."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from livewarden_client import wire
from livewarden_ensemble.leaf import OpenVinoExecutor
from livewarden_export.bundle import (
    LEAVES_FOLDER,
    ONNX_FILE,
    OPENVINO_FOLDER,
    Bundle,
    seal_bundle,
    stage_bundle,
)
from livewarden_export.fusion.calibrate import describe_calibration
from livewarden_export.openvino import convert_onnx
from livewarden_export.parity import Artefact, Parity, check_parity, measure_parity
from livewarden_export.recipe import RECIPES, Precision, Recipe, Source, Tensors
from livewarden_export.sample import Case, find_tokenizer, frame_cases, fusion_cases, text_cases
from livewarden_export.stamp import Stamp

Report = Callable[[str], None]
Answers = Mapping[str, NDArray[Any]]


def export_bundle(bundles: Path, stamp: Stamp, report: Report) -> Bundle:
    """Export every recipe into a new bundle under `bundles`; `report` hears of each step.

    Raises GraphInvalid or ParityBreach, and leaves nothing behind where it does.
    """
    parities: list[Parity] = []
    references: dict[str, Answers] = {}
    with stage_bundle(bundles) as staged:
        for recipe in RECIPES:
            name = recipe.model.name
            report(f"{name}: load")
            source = recipe.load()
            folder = staged / LEAVES_FOLDER / name
            precision = stamp.precisions[name]
            report(f"{name}: export")
            write_leaf(recipe, source, folder, precision)
            report(f"{name}: parity")
            cases = make_cases(recipe, references)
            answers = [source.reference(case.inputs) for case in cases]
            references[name] = answers[-1]  # all pictures, or all sentences
            for artefact in open_artefacts(recipe, folder, precision):
                bounds = recipe.tolerances[artefact.precision]
                parities += measure_parity(name, artefact, cases, answers, bounds)
        check_parity(parities)
        report("bundle: seal")
        shutil.copyfile(find_tokenizer(), staged / "tokenizer.json")
        calibration = describe_calibration()
        (staged / "calibration.json").write_text(json.dumps(calibration, indent=2) + "\n")
        return seal_bundle(staged, {**stamp.to_facts(), "parity": [p.to_dict() for p in parities]})


def write_leaf(recipe: Recipe, source: Source, folder: Path, precision: Precision) -> None:
    """Write one leaf's artefacts for both targets into `folder`."""
    folder.mkdir(parents=True)
    source.write_onnx(folder / ONNX_FILE)
    convert_onnx(folder / ONNX_FILE, recipe.model, folder / OPENVINO_FOLDER, precision)


def open_artefacts(recipe: Recipe, folder: Path, precision: Precision) -> list[Artefact]:
    """All in `folder` that answers for the leaf: ONNX, OpenVINO in f32, and as it will serve."""
    session = onnxruntime.InferenceSession(
        str(folder / ONNX_FILE), providers=["CPUExecutionProvider"]
    )
    names = [tensor.name for tensor in recipe.model.outputs]

    def infer_onnx(inputs: Tensors) -> Answers:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    served: list[Precision] = ["f32"] if precision == "f32" else ["f32", precision]
    return [
        Artefact("onnx", "f32", infer_onnx),
        *(
            Artefact("openvino", kind, _open_openvino(recipe, folder, kind).infer)
            for kind in served
        ),
    ]


def make_cases(recipe: Recipe, references: Mapping[str, Answers]) -> list[Case]:
    """The real data for one leaf; `references` are the encoders' answers, for the fusion head."""
    match recipe.model:
        case wire.FUSION_CLASSIFIER:
            return fusion_cases(*(references[m.name] for m in wire.LEAVES[:3]))
        case wire.TEXT_ENCODER:
            return text_cases()
        case _:
            return frame_cases()


def _open_openvino(recipe: Recipe, folder: Path, precision: Precision) -> OpenVinoExecutor:
    return OpenVinoExecutor(folder / OPENVINO_FOLDER, recipe.model, precision, os.cpu_count() or 1)

"""One leaf on its way through an export: its graph, its cases, its source's answers, artefacts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnxruntime
from numpy.typing import NDArray

from livewarden_client import wire
from livewarden_ensemble.leaf import OpenVinoExecutor
from livewarden_export.bundle import LEAVES_FOLDER, ONNX_FILE, OPENVINO_FOLDER
from livewarden_export.calibration_frame import load_calibration_batches
from livewarden_export.errors import SourceInvalid
from livewarden_export.openvino import convert_onnx, run_precision
from livewarden_export.parity import Artefact, Infer, Parity, measure_parity
from livewarden_export.recipe import Models, Precision, Recipe, Source, Tensors
from livewarden_export.sample import Case, frame_cases, fusion_cases, text_cases
from livewarden_export.source import Sources

Report = Callable[[str], None]
Answers = Mapping[str, NDArray[Any]]

TOKENIZER_FILE: Final = "tokenizer.json"
_THREADS: Final = os.cpu_count() or 1


@dataclass(frozen=True, slots=True, eq=False)
class LeafWork:
    """One leaf on its way: its ONNX is in `folder`, and its source has answered every case."""

    recipe: Recipe
    source: Source
    folder: Path
    cases: Sequence[Case]
    answers: Sequence[Answers]

    @property
    def name(self) -> str:
        """The leaf's name."""
        return self.recipe.model.name

    @property
    def calibration(self) -> Sequence[Tensors]:
        """Real inputs for a quantiser: the calibration frames, or all sentences."""
        if self.recipe.calibration == "pictures":
            return load_calibration_batches()
        return [self.cases[-1].inputs]


def prepare_leaves(models: Models, staged: Path, report: Report) -> tuple[list[LeafWork], Path]:
    """Write tokenizer, calibration and every leaf's ONNX into `staged`, and ask every source.

    Gives the leaves in the wire's order and the tokenizer's place.
    """
    sources = Sources(models)
    encoder = sources.open(wire.TEXT_ENCODER.name)
    if encoder.tokenizer is None:
        raise SourceInvalid(f"{wire.TEXT_ENCODER.name}: its source names no tokenizer")
    tokenizer = staged / TOKENIZER_FILE
    shutil.copyfile(encoder.tokenizer, tokenizer)
    calibration = sources.open(wire.FUSION_CLASSIFIER.name).calibration
    if calibration is None:
        raise SourceInvalid(f"{wire.FUSION_CLASSIFIER.name}: its source gives no calibration")
    (staged / "calibration.json").write_text(json.dumps(calibration, indent=2) + "\n")
    works: list[LeafWork] = []
    for recipe in models.recipes:
        name = recipe.model.name
        report(f"{name}: load and export")
        source = sources.open(name)
        folder = staged / LEAVES_FOLDER / name
        write_leaf(source, folder)
        report(f"{name}: ask the source")
        cases = make_cases(recipe, tokenizer, {w.name: w.answers[-1] for w in works})
        answers = [source.reference(case.inputs) for case in cases]
        works.append(LeafWork(recipe, source, folder, cases, answers))
    return works, tokenizer


def write_leaf(source: Source, folder: Path) -> None:
    """Write one leaf's ONNX into the new folder `folder`."""
    folder.mkdir(parents=True)
    source.write_onnx(folder / ONNX_FILE)


def prove_openvino(
    work: LeafWork, precision: Precision, folder: Path, *, alone: bool = False
) -> tuple[list[Parity], Infer]:
    """Convert the leaf into `folder` and measure all that answers for it, down to `precision`.

    Gives the rows and the artefact as it will serve; `alone` measures only that one. Nothing is
    judged here.
    """
    convert_onnx(
        work.folder / ONNX_FILE,
        work.recipe.model,
        folder / OPENVINO_FOLDER,
        precision,
        work.calibration,
    )
    artefacts = open_openvino(work.recipe, folder, precision)
    if alone:
        del artefacts[:-1]
    else:
        artefacts.insert(0, open_onnx(work.recipe, work.folder / ONNX_FILE))
    rows = [
        row
        for artefact in artefacts
        for row in measure_parity(
            work.name,
            artefact,
            work.cases,
            work.answers,
            work.recipe.tolerances[artefact.precision],
        )
    ]
    return rows, artefacts[-1].infer


def open_onnx(recipe: Recipe, path: Path, precision: Precision = "f32") -> Artefact:
    """The ONNX file at `path` as something that answers, on ONNX Runtime and the CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in recipe.model.outputs]

    def infer(inputs: Tensors) -> Answers:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return Artefact("onnx", precision, infer)


def open_openvino(recipe: Recipe, folder: Path, precision: Precision) -> list[Artefact]:
    """The leaf's IR in `folder`, in f32 where it holds that, and as it will serve."""
    kinds: list[Precision] = ["f32", precision] if precision == "bf16" else [precision]
    return [
        Artefact(
            "openvino",
            kind,
            OpenVinoExecutor(
                folder / OPENVINO_FOLDER, recipe.model, run_precision(kind), _THREADS
            ).infer,
        )
        for kind in kinds
    ]


def make_cases(recipe: Recipe, tokenizer: Path, answers: Mapping[str, Answers]) -> list[Case]:
    """The real data for one leaf; `answers` are the encoders', for the fusion head."""
    match recipe.calibration:
        case "encoders":
            return fusion_cases(*(answers[m.name] for m in wire.LEAVES[:3]))
        case "sentences":
            return text_cases(tokenizer, recipe.profile["batch"], recipe.profile["tokens"])
        case "pictures":
            return frame_cases(recipe.profile["batch"])

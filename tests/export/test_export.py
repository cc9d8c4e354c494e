from pathlib import Path

import numpy as np
import onnx
import pytest

from livewarden_client import wire
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.leaf import supports_bf16
from livewarden_export import leaf_work
from livewarden_export.bundle import (
    LEAVES_FOLDER,
    ONNX_FILE,
    OPENVINO_FOLDER,
    hash_files,
    verify_bundle,
)
from livewarden_export.calibration_frame import load_calibration_batches
from livewarden_export.errors import GraphInvalid
from livewarden_export.export import export_bundle
from livewarden_export.fusion.head import load_reference
from livewarden_export.fusion.picture import SUPPORTED
from livewarden_export.leaf_work import write_leaf
from livewarden_export.model_file import load_models
from livewarden_export.openvino import convert_onnx, run_precision
from livewarden_export.publish import put_live
from livewarden_export.sample import PICTURES, load_frames, tokenize_texts
from livewarden_export.source import Sources, locate
from livewarden_export.stamp import read_stamp

MODELS = load_models(Path(__file__).parents[2] / "models.yaml")
TOKENIZER = locate(MODELS.find("text_encoder").tokenizer)


def test_pictures_are_recognised(executors):
    """The served vision encoder names what scikit-image's pictures show."""
    frames = load_frames()
    nonce = np.arange(len(frames))[:, None]
    logits = executors["vision_encoder"].infer({"frame": frames, "nonce": nonce})["vision_logits"]
    best = dict(zip(PICTURES, logits.argmax(axis=1), strict=True))
    assert best["coffee.png"] == 967  # espresso
    assert best["chelsea.png"] in {281, 282, 285}  # three kinds of cat
    assert best["motorcycle_left.png"] in {665, 670}  # moped, motor scooter


def test_no_picture_is_called_nsfw(executors):
    """The served open_nsfw finds nothing in pictures that are safe."""
    frames = load_frames()
    nonce = np.arange(len(frames))[:, None]
    outputs = executors["nsfw_encoder"].infer({"frame": frames, "nonce": nonce})
    assert outputs["nsfw_probability"].max() < 0.2


def test_close_sentences_are_close(executors):
    """The served text encoder gives two unit vectors that follow meaning, whatever the padding."""
    texts = ("that goal was amazing", "what a fantastic shot", "boil the pasta in salt water")
    short, long = (
        executors["text_encoder"].infer(tokenize_texts(texts, TOKENIZER, length))["text_embedding"]
        for length in (16, 64)
    )
    for half in np.split(short, 2, axis=1):
        np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-3)
    assert (short * long).sum(axis=1).min() > 2 * 0.999
    assert short[0] @ short[1] > short[0] @ short[2] + 0.2


def test_manifest_says_what_was_proven(exported):
    """The manifest holds a passed parity row for every output, runtime and precision."""
    served = exported.manifest["precision"]
    rows = {
        (row["leaf"], row["output"], row["runtime"], row["precision"])
        for row in exported.manifest["parity"]
        if row["passed"]
    }
    wanted = {
        (leaf.name, output.name, runtime, precision)
        for leaf in wire.LEAVES
        for output in leaf.outputs
        # An int8 graph is no f32 graph run coarser: it has no f32 of its own to compare.
        for runtime, precision in {
            ("onnx", "f32"),
            ("openvino", served[leaf.name] if served[leaf.name] == "int8" else "f32"),
            ("openvino", served[leaf.name]),
        }
    }
    assert rows == wanted
    assert len(exported.manifest["parity"]) == len(wanted)
    assert exported.manifest["labels"] == list(wire.LABELS)
    assert exported.manifest["taxonomy"] == wire.TAXONOMY_VERSION


def test_executor_serves_the_proven_precision(exported, executors):
    """On "auto" a leaf runs in the manifest's precision: bf16 for encoders, if the CPU has it."""
    served = {name: executor.precision for name, executor in executors.items()}
    proven = exported.manifest["precision"]
    assert served == {name: run_precision(precision) for name, precision in proven.items()}
    assert served["vision_encoder"] == ("bf16" if supports_bf16() else "f32")
    assert served["fusion_classifier"] == "f32"


def test_pipeline_can_read_the_bundle(exported, repository):
    """The pipeline's loader accepts pointer, calibration and tokenizer of an exported bundle."""
    put_live(exported, repository)
    bundle = load_bundle(repository / wire.MODERATION.name)
    assert bundle.digest == exported.id
    assert bundle.folder == exported.folder
    assert bundle.calibration.supported == SUPPORTED
    assert bundle.calibration.id == load_reference().facts["calibration"]
    assert bundle.tokenizer.read_bytes() == TOKENIZER.read_bytes()
    verify_bundle(exported)


@pytest.mark.parametrize("leaf", ["nsfw_encoder", "fusion_classifier"])
def test_export_is_reproducible(exported, tmp_path, leaf):
    """Exporting a leaf again gives the same bytes, so that a digest means its content."""
    recipe = MODELS.find(leaf)
    write_leaf(Sources(MODELS).open(leaf), tmp_path / leaf)
    onnx_file = tmp_path / leaf / ONNX_FILE
    precision = exported.manifest["precision"][leaf]
    samples = load_calibration_batches() if precision == "int8" else ()
    convert_onnx(onnx_file, recipe.model, tmp_path / leaf / OPENVINO_FOLDER, precision, samples)
    again = {f"{LEAVES_FOLDER}/{leaf}/{name}": h for name, h in hash_files(tmp_path / leaf).items()}
    assert len(again) == 3
    assert again.items() <= exported.manifest["files"].items()


def test_tensors_are_the_wire(exported):
    """Each ONNX graph lists the wire's inputs, the unused ones included, in the wire's order."""
    for recipe in MODELS.recipes:
        name = recipe.model.name
        graph = onnx.load(exported.folder / LEAVES_FOLDER / name / ONNX_FILE).graph
        assert [value.name for value in graph.input] == [t.name for t in recipe.model.inputs]


def test_nothing_stays_after_a_failure(tmp_path, monkeypatch):
    """An export that fails half way leaves no bundle and no staging folder."""

    def fail(source, folder):  # noqa: ARG001 - the signature of write_leaf
        folder.mkdir(parents=True)
        (folder / ONNX_FILE).write_bytes(b"half")
        raise GraphInvalid("a test")

    monkeypatch.setattr(leaf_work, "write_leaf", fail)
    with pytest.raises(GraphInvalid):
        export_bundle(MODELS, tmp_path, read_stamp(MODELS, bf16=False), print)
    assert list(tmp_path.iterdir()) == []

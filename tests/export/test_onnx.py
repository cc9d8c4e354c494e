from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto

from livewarden_client import wire
from livewarden_export.bundle import LEAVES_FOLDER, ONNX_FILE
from livewarden_export.errors import GraphInvalid
from livewarden_export.model_file import load_models
from livewarden_export.onnx import check_graph, export_torch
from livewarden_export.recipe import FactorySource, Range, Recipe, Target
from livewarden_export.source import Sources

MODELS = load_models(Path(__file__).parents[2] / "models.yaml")
TINY = Recipe(
    wire.Model(
        "tiny",
        "leaf",
        max_batch=8,
        inputs=(wire.Tensor("input_ids", "INT32", (-1,)), wire.NONCE),
        outputs=(wire.Tensor("total", "FP32", (1,)), wire.ECHO),
    ),
    source=FactorySource("nowhere:none"),
    profile={"batch": Range(1, 2, 8), "tokens": Range(2, 32, 128)},
    openvino=Target("f32"),
    tensorrt=Target("f32"),
    tolerances={},
    axes={"input_ids": "tokens"},
)


class _Sum(torch.nn.Module):
    def forward(self, input_ids, nonce):
        return input_ids.to(torch.float32).sum(dim=1, keepdim=True), nonce


class _FixedLength(torch.nn.Module):
    def forward(self, input_ids, nonce):
        weight = torch.ones(7, 1)
        return input_ids.to(torch.float32) @ weight, nonce


class _FixedOutput(torch.nn.Module):
    def forward(self, input_ids, nonce):
        return torch.ones(3, 1) * input_ids.max(), nonce


class _NoEcho(torch.nn.Module):
    def forward(self, input_ids, nonce):
        return input_ids.to(torch.float32).sum(dim=1, keepdim=True), nonce.to(torch.int32)


def test_dynamic_module_passes(tmp_path):
    """A module that leaves its axes alone exports, and the check agrees with itself later."""
    export_torch(_Sum(), TINY, tmp_path / ONNX_FILE)
    check_graph(tmp_path / ONNX_FILE, TINY)


@pytest.mark.parametrize("module", [_FixedLength, _FixedOutput, _NoEcho])
def test_module_off_the_contract_is_refused(tmp_path, module):
    """An axis fixed by tracing or an output of another type ends the export."""
    with pytest.raises(GraphInvalid, match="tiny"):
        export_torch(module(), TINY, tmp_path / ONNX_FILE)


@pytest.mark.parametrize("recipe", MODELS.recipes, ids=lambda recipe: recipe.model.name)
def test_exported_leaves_pass(exported, recipe):
    """Every exported leaf is what the wire says."""
    check_graph(exported.folder / LEAVES_FOLDER / recipe.model.name / ONNX_FILE, recipe)


def _rename_input(graph):
    graph.input[4].name = "frame_masks"
    for node in graph.node:
        node.input[:] = ["frame_masks" if name == "frame_mask" else name for name in node.input]


def _fix_batch(graph):
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3


def _fix_frames(graph):
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5


def _change_width(graph):
    graph.input[0].type.tensor_type.shape.dim[2].dim_value = 640


def _change_type(graph):
    graph.input[7].type.tensor_type.elem_type = TensorProto.FLOAT
    graph.output[4].type.tensor_type.elem_type = TensorProto.FLOAT


def _drop_output(graph):
    del graph.output[3]


def _untie_frames(graph):
    graph.input[0].type.tensor_type.shape.dim[1].dim_param = "elsewhere"


def _tie_texts_to_frames(graph):
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "texts":
                dim.dim_param = "frames"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename_input, "frame_masks"),
        (_fix_batch, "fixed by tracing"),
        (_fix_frames, "fixed by tracing"),
        (_change_width, "640"),
        (_change_type, "FLOAT"),
        (_drop_output, "outputs are"),
        (_untie_frames, "must share one length"),
        (_tie_texts_to_frames, "tied together"),
    ],
)
def test_every_deviation_is_named(exported, tmp_path, change, message):
    """A graph that differs from the contract in one point is refused, and the point is named."""
    source = exported.folder / LEAVES_FOLDER / "fusion_classifier" / ONNX_FILE
    model = onnx.load(source)
    change(model.graph)
    onnx.save(model, tmp_path / ONNX_FILE)
    with pytest.raises(GraphInvalid, match=message):
        check_graph(tmp_path / ONNX_FILE, MODELS.find("fusion_classifier"))


def test_missing_external_data_is_found(tmp_path):
    """A graph whose weights lie in a file that is not there is refused."""
    recipe = MODELS.find("nsfw_encoder")
    Sources(MODELS).open("nsfw_encoder").write_onnx(tmp_path / "inline.onnx")
    onnx.save(
        onnx.load(tmp_path / "inline.onnx"),
        tmp_path / ONNX_FILE,
        save_as_external_data=True,
        location="weights.data",
    )
    check_graph(tmp_path / ONNX_FILE, recipe)
    (tmp_path / "weights.data").unlink()
    with pytest.raises(GraphInvalid, match=r"weights\.data"):
        check_graph(tmp_path / ONNX_FILE, recipe)

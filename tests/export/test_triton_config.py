import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from livewarden_client import wire
from livewarden_export.triton_config import (
    CPU_INSTANCES,
    find_stale_configs,
    make_embedded_config,
    make_tensorrt_config,
    render_config,
    render_configs,
    write_configs,
)

MODELS = pytest.mark.parametrize("model", wire.MODELS, ids=lambda model: model.name)


def _list_tensors(config):
    return [
        (side, t.name, pb.DataType.Name(t.data_type), tuple(t.dims))
        for side, tensors in (("in", config.input), ("out", config.output))
        for t in tensors
    ]


@MODELS
def test_both_targets_agree_on_tensors(model):
    """Whatever a client or the pipeline sends fits either target."""
    embedded, tensorrt = make_embedded_config(model), make_tensorrt_config(model)
    assert _list_tensors(embedded) == _list_tensors(tensorrt)
    assert embedded.max_batch_size == tensorrt.max_batch_size == model.max_batch
    assert embedded.name == tensorrt.name == model.name


@MODELS
def test_tensors_are_the_wire(model):
    """Names, order, types, sizes, optional and ragged marks are the contract's."""
    config = make_embedded_config(model)
    types = {"BYTES": "TYPE_STRING"}
    expected = [
        (side, t.name, types.get(t.dtype, f"TYPE_{t.dtype}"), t.dims)
        for side, tensors in (("in", model.inputs), ("out", model.outputs))
        for t in tensors
    ]
    assert _list_tensors(config) == expected
    for tensor, declared in zip(model.inputs, config.input, strict=True):
        assert declared.optional == tensor.optional
        assert declared.allow_ragged_batch == tensor.ragged


@MODELS
def test_leaves_batch_without_delay_or_limit(model):
    """Every model batches; none delays, and no leaf has a queue limit that could hang a batch."""
    for config in (make_embedded_config(model), make_tensorrt_config(model)):
        assert config.HasField("dynamic_batching")
        if model.kind == "leaf":
            assert config.dynamic_batching == pb.ModelDynamicBatching()


def test_queue_of_callers_has_an_end():
    """What cannot be answered soon is refused at once, on both targets; batches do not wait."""
    for config in (make_embedded_config(wire.MODERATION), make_tensorrt_config(wire.MODERATION)):
        batching = config.dynamic_batching
        assert batching.default_queue_policy.max_queue_size >= 2 * wire.MODERATION.max_batch
        assert (batching.priority_levels, batching.default_priority_level) == (2, 2)
        assert batching.max_queue_delay_microseconds == 0


@MODELS
def test_targets_run_where_they_should(model):
    """Embedded: Python on the CPU. GPU target: leaves are plans on the GPU, the pipeline Python."""
    embedded, tensorrt = make_embedded_config(model), make_tensorrt_config(model)
    assert embedded.backend == "python"
    assert [(g.kind, g.count) for g in embedded.instance_group] == [
        (pb.ModelInstanceGroup.KIND_CPU, CPU_INSTANCES[model.name])
    ]
    if model.kind == "pipeline":
        assert tensorrt.instance_group == embedded.instance_group
        assert tensorrt.backend == "python"
    else:
        assert tensorrt.platform == "tensorrt_plan"
        assert not tensorrt.backend
        assert [g.kind for g in tensorrt.instance_group] == [pb.ModelInstanceGroup.KIND_GPU]


def test_instances_are_a_parameter():
    """The number of copies comes from the caller."""
    counts = {**CPU_INSTANCES, "nsfw_encoder": 7}
    config = text_format.Parse(
        render_configs(counts)["nsfw_encoder/config.pbtxt"], pb.ModelConfig()
    )
    assert config.instance_group[0].count == 7


def test_cuda_graphs_exist_where_shapes_repeat():
    """Encoders capture a graph per batch size and token length, all within the model's limits."""
    for model in (wire.VISION_ENCODER, wire.TEXT_ENCODER):
        cuda = make_tensorrt_config(model).optimization.cuda
        assert cuda.graphs
        assert all(spec.batch_size <= model.max_batch for spec in cuda.graph_spec)
    lengths = {tuple(spec.input["input_ids"].dim) for spec in cuda.graph_spec}
    assert lengths == {(length,) for length in wire.TOKEN_LENGTHS}
    assert not make_tensorrt_config(wire.FUSION_CLASSIFIER).optimization.cuda.graphs


@MODELS
def test_text_parses_back(model):
    """The written text is the message that was built."""
    config = make_tensorrt_config(model)
    assert text_format.Parse(render_config(config), pb.ModelConfig()) == config


def test_stale_files_are_found_and_mended(tmp_path):
    """A missing or edited file is stale; writing mends exactly those."""
    assert len(write_configs(tmp_path)) == 2 * len(wire.MODELS)
    assert find_stale_configs(tmp_path) == []
    edited = tmp_path / "text_encoder/config.pbtxt"
    edited.write_text(edited.read_text().replace("768", "769"))
    missing = tmp_path / "moderation/configs/tensorrt.pbtxt"
    missing.unlink()
    assert set(find_stale_configs(tmp_path)) == {edited, missing}
    assert set(write_configs(tmp_path)) == {edited, missing}
    assert find_stale_configs(tmp_path) == []

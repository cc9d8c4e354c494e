import pytest
from tritonclient.grpc import model_config_pb2 as pb

from livewarden_client import wire
from livewarden_export.check import (
    EDGES,
    check_repository,
    find_faults,
    measure_shared_memory,
    parse_version,
)
from livewarden_export.errors import ConfigInvalid
from livewarden_export.triton_config import (
    CPU_INSTANCES,
    make_embedded_config,
    make_tensorrt_config,
    write_configs,
)

OLD, NEW = (2, 51), (2, 80)


@pytest.fixture(params=[make_embedded_config, make_tensorrt_config])
def configs(request):
    """One target's generated configs, by model."""
    return {model.name: request.param(model) for model in wire.MODELS}


def test_generated_configs_fit(configs):
    """What is generated has no fault on the embedded server's version."""
    assert find_faults(configs, OLD) == []


def test_edges_are_all_that_fusion_reads_of_the_encoders():
    """Every input of the classifier that is an encoder's output is a checked edge."""
    made = {output.name for leaf in wire.LEAVES[:3] for output in leaf.outputs}
    read = {tensor.name for tensor in wire.FUSION_CLASSIFIER.inputs}
    assert {edge.tensor for edge in EDGES} == made & read
    assert len(EDGES) == 5


def _narrow_vision(configs):
    configs["vision_encoder"].output[0].dims[:] = [640]


def _retype_text(configs):
    configs["text_encoder"].output[0].data_type = pb.TYPE_FP16


def _rename_frame(configs):
    configs["nsfw_encoder"].input[0].name = "image"


def _lose_fusion(configs):
    del configs["fusion_classifier"]


def _shrink_batch(configs):
    configs["text_encoder"].max_batch_size = 16


def _rename_model(configs):
    configs["text_encoder"].name = "text"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _narrow_vision,
            "vision_encoder -> fusion_classifier: 'vision_embedding' leaves with [640]",
        ),
        (_retype_text, "text_encoder -> fusion_classifier: 'text_embedding' leaves as TYPE_FP16"),
        (_rename_frame, "moderation -> nsfw_encoder: 'frame' is not declared"),
        (_lose_fusion, "fusion_classifier: there is no config"),
        (_shrink_batch, "text_encoder: takes batches of 16, the pipeline sends up to 64"),
        (_rename_model, "text_encoder: its config calls it 'text'"),
    ],
)
def test_every_fault_names_its_edge(configs, change, message):
    """A wrong tensor, type, size, name or batch is named with the two models that disagree."""
    change(configs)
    assert any(fault.startswith(message) for fault in find_faults(configs, OLD))


def _limit_inflight(config):
    config.ensemble_scheduling.max_inflight_requests = 4


def _cache(config):
    config.response_cache.enable = True


def _delay(config):
    config.dynamic_batching.max_queue_delay_microseconds = 100


def _bound_queue(config):
    config.dynamic_batching.default_queue_policy.max_queue_size = 8


@pytest.mark.parametrize("change", [_limit_inflight, _cache, _delay, _bound_queue])
def test_old_servers_are_spared_what_they_cannot(configs, change):
    """A field that 2.51 lacks or breaks on is a fault there, and none on a new server."""
    change(configs["vision_encoder"])
    (fault,) = find_faults(configs, OLD)
    assert fault.startswith("vision_encoder: ")
    assert "this is 2.51" in fault
    assert find_faults(configs, NEW) == []


def test_the_queue_of_callers_may_end_on_an_old_server(configs):
    """A full queue of a step breaks 2.51; the callers of the pipeline are refused well."""
    _bound_queue(configs["moderation"])
    assert find_faults(configs, OLD) == []


def test_repository_is_checked_as_files(tmp_path):
    """Both targets' files are read; a fault names the file, and all faults are told at once."""
    write_configs(tmp_path)
    check_repository(tmp_path, "2.51.0")
    path = tmp_path / "text_encoder/configs/tensorrt.pbtxt"
    path.write_text(path.read_text().replace("768", "769"))
    (tmp_path / "nsfw_encoder/config.pbtxt").write_text("name: {")
    with pytest.raises(ConfigInvalid) as error:
        check_repository(tmp_path, "2.51.0")
    assert "configs/tensorrt.pbtxt: text_encoder -> fusion_classifier" in str(error.value)
    assert "nsfw_encoder/config.pbtxt" in str(error.value)


def test_shared_memory_counts_every_copy():
    """The need holds each leaf's full batch once per copy and once per caller, counted by hand."""
    vision = 64 * (224 * 224 * 3 + 8 + 1280 * 4 + 1000 * 4 + 8)
    more = {**CPU_INSTANCES, "vision_encoder": CPU_INSTANCES["vision_encoder"] + 1}
    assert measure_shared_memory(more) - measure_shared_memory() == vision + (1 << 20)
    assert measure_shared_memory() > (1 + CPU_INSTANCES["moderation"]) * vision


@pytest.mark.parametrize("text", ["", "new", "2", "2.x"])
def test_a_version_is_a_version(text):
    """Anything but numbers is refused; a tag behind them is not."""
    assert parse_version("2.73.0dev") == (2, 73)
    with pytest.raises(ConfigInvalid):
        parse_version(text)

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from livewarden_client.wire import NSFW_ENCODER, TEXT_ENCODER, VISION_ENCODER
from livewarden_perf.baseline.triton_repository import write_repository


@pytest.fixture
def configs(tmp_path):
    write_repository(tmp_path, Path("/code"), decoders=2, encoders=3)
    return {
        path.parent.name: text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        for path in tmp_path.glob("*/config.pbtxt")
    }


def test_every_tensor_of_a_step_has_a_source(configs):
    """Each step reads what the request or a step before it gives, of the same type and shape."""
    ensemble = configs["baseline"]
    known = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = configs[step.model_name]
        batch = [-1] if model.max_batch_size else []
        assert set(step.input_map) == {tensor.name for tensor in model.input}
        assert set(step.output_map) == {tensor.name for tensor in model.output}
        for tensor in model.input:
            source = step.input_map[tensor.name]
            assert known[source] == (tensor.data_type, batch + list(tensor.dims))
        for tensor in model.output:
            known[step.output_map[tensor.name]] = (tensor.data_type, batch + list(tensor.dims))
    for tensor in ensemble.output:
        assert known[tensor.name] == (tensor.data_type, list(tensor.dims))


def test_encoders_are_tuned_and_batched(configs):
    """Encoders batch dynamically up to the contract's size; copies are as asked."""
    for encoder in (VISION_ENCODER, NSFW_ENCODER, TEXT_ENCODER):
        config = configs[encoder.name]
        assert config.HasField("dynamic_batching")
        assert config.max_batch_size == encoder.max_batch
        assert config.instance_group[0].count == 3
    assert configs["decode"].instance_group[0].count == 2


def test_models_find_their_classes_by_path(tmp_path):
    """Triton's stubs read no PYTHONPATH: each model names the folder of its class."""
    write_repository(tmp_path, Path("/code"), decoders=1, encoders=1)
    for name, kind in (("decode", "Decode"), ("vision_encoder", "Encode"), ("fuse", "Fuse")):
        text = (tmp_path / name / "1" / "model.py").read_text()
        assert "sys.path.insert(0, '/code')" in text
        assert f"import {kind} as TritonPythonModel" in text
    assert not (tmp_path / "baseline" / "1" / "model.py").exists()

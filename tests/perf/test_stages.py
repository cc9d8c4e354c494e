import time
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing

from livewarden_client.clip import Clip
from livewarden_client.wire import ECHO, FUSION_CLASSIFIER, LEAVES, NONCE
from livewarden_ensemble.bundle import Bundle, Calibration
from livewarden_ensemble.policy import load_policy
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.stages import Meter, StageCosts, measure_stages
from livewarden_perf.standard_clip import one_frame_clip, standard_clip

POLICY = Path(__file__).parents[2] / "policies/default.yaml"
BURNED_MS = {"vision_encoder": 4.0, "nsfw_encoder": 8.0}


def burn(milliseconds):
    """Keep the processor busy."""
    end = time.process_time() + milliseconds / 1e3
    while time.process_time() < end:
        pass


def answer(call):
    """Answer a call as a leaf would, with zeros."""
    rows = len(call.inputs[NONCE.name])
    lengths = {"frame_scores": "frame_mask", "text_scores": "text_kind"}
    outputs = {ECHO.name: call.inputs[NONCE.name]}
    for tensor in call.model.outputs:
        if tensor.name != ECHO.name:
            axis = call.inputs[lengths[tensor.name]].shape[1] if -1 in tensor.dims else 0
            dims = [axis if dim == -1 else dim for dim in tensor.dims]
            outputs[tensor.name] = np.zeros((rows, *dims), np.float32)
    return outputs


def burn_and_answer(calls):
    """Answer calls, at the cost of their model."""
    for call in calls:
        burn(BURNED_MS.get(call.model.name, 0.0))
    return [answer(call) for call in calls]


@pytest.fixture
def bundle(tmp_path):
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    versions = {leaf.name: "1" for leaf in LEAVES}
    return Bundle("0" * 16, tmp_path, versions, Calibration("none", {}))


def test_every_stage_and_every_leaf_has_its_cost(bundle):
    """A leaf's cost is its own, and not its stage's as well."""
    clips = [standard_clip(0), standard_clip(1)]
    costs = measure_stages(bundle, load_policy(POLICY), burn_and_answer, clips, seconds=0)
    assert list(costs.stages) == [
        "read", "decode", "tokenise",
        "encode", "vision_encoder", "nsfw_encoder", "text_encoder",
        "fuse", "fusion_classifier",
        "decide",
    ]  # fmt: skip
    assert costs.runs == 8
    for leaf, burned in BURNED_MS.items():
        assert costs.stages[leaf] >= burned
    assert costs.stages["nsfw_encoder"] > costs.stages["vision_encoder"]
    assert costs.stages["decode"] > 1
    assert costs.stages["encode"] < sum(BURNED_MS.values())
    assert min(costs.stages.values()) > -0.01  # laps are rounded


def test_the_limit_is_cores_over_the_sum():
    """Two cores and 50 ms a clip make 40 clips a second."""
    costs = StageCosts({"decode": 20.0, "encode": 30.0}, elapsed_ms=99, runs=8, cores=2)
    assert costs.total_ms == 50
    assert costs.limit == 40


def test_waiting_is_no_cost():
    """Other programs' turns on the core do not make a leaf dearer."""
    meter = Meter()
    with meter.book("nsfw_encoder"):
        time.sleep(0.05)
    costs = meter.split_laps({"encode": meter.elapsed_ms["nsfw_encoder"] + 1.5})
    assert costs["nsfw_encoder"] < 25
    assert costs["encode"] == pytest.approx(1.5)


def test_a_clip_that_is_not_fully_scored_is_no_measurement(bundle):
    """Work that was skipped would count as fast."""
    broken = Clip([one_frame_clip(0).frames[0][:5000]])
    with pytest.raises(MeasurementInvalid, match="not fully scored"):
        measure_stages(bundle, load_policy(POLICY), burn_and_answer, [broken], seconds=0)


def test_a_leaf_that_fails_is_no_measurement(bundle):
    """A missing answer would count as a fast one."""

    def fail(calls):
        return [answer(call) if call.model is FUSION_CLASSIFIER else {} for call in calls]

    with pytest.raises(MeasurementInvalid):
        measure_stages(bundle, load_policy(POLICY), fail, [one_frame_clip(0)], seconds=0)

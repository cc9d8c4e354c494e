import numpy as np
import pytest
import torch

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, MODALITIES
from livewarden_export.fusion.head import FusionClassifier, Shape
from livewarden_export.prototype_head import SENTENCE, PrototypeHead

TEXT_WIDTH = FUSION_CLASSIFIER.input("text_embedding").dims[1]


def _embed(rows, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, SENTENCE)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=["prototype", "trained"])
def head(request):
    """Both heads with numbers of chance; the second with a joint look and curves that speak."""
    if request.param == "prototype":
        prototypes = {label: _embed(2, index) for index, label in enumerate(LABELS)}
        return PrototypeHead(prototypes, _embed(5, 99)).eval()
    torch.manual_seed(1)
    made = FusionClassifier(Shape(hidden=16, token=8)).eval()
    made.learned.fill_(1.0)
    made.item_curve.slope.fill_(1.5)
    made.clip_curve.shift.fill_(-0.5)
    return made


def _make_inputs(batch, frames, texts, seed=0):
    generator = np.random.default_rng(seed)
    words = generator.normal(size=(batch, texts, TEXT_WIDTH)).astype(np.float32)
    return {
        "vision_embedding": generator.normal(size=(batch, frames, 1280)).astype(np.float32),
        "vision_logits": generator.normal(scale=4, size=(batch, frames, 1000)).astype(np.float32),
        "nsfw_features": generator.normal(size=(batch, frames, 1024)).astype(np.float32),
        "nsfw_probability": generator.uniform(size=(batch, frames, 1)).astype(np.float32),
        "frame_mask": generator.integers(0, 2, (batch, frames)).astype(np.int32),
        "text_embedding": words / np.linalg.norm(words, axis=-1, keepdims=True),
        "text_kind": generator.integers(0, len(MODALITIES), (batch, texts)).astype(np.int32),
        "nonce": generator.integers(0, 2**62, (batch, 1)),
    }


def _run(head, inputs):
    names = [tensor.name for tensor in FUSION_CLASSIFIER.outputs]
    with torch.inference_mode():
        outputs = head(*(torch.from_numpy(inputs[t.name]) for t in FUSION_CLASSIFIER.inputs))
    return dict(zip(names, (output.numpy() for output in outputs), strict=True))


def test_modality_is_its_loudest_item(head):
    """A modality's score is the largest of its items, one kind of text at a time."""
    inputs = _make_inputs(4, 5, 6)
    outputs = _run(head, inputs)
    for row in range(4):
        frames = outputs["frame_scores"][row][inputs["frame_mask"][row] > 0]
        wanted = frames.max(axis=0) if len(frames) else np.zeros(len(LABELS))
        np.testing.assert_array_equal(outputs["modality_scores"][row, 0], wanted)
        for code in range(1, len(MODALITIES)):
            texts = outputs["text_scores"][row][inputs["text_kind"][row] == code]
            wanted = texts.max(axis=0) if len(texts) else np.zeros(len(LABELS))
            np.testing.assert_array_equal(outputs["modality_scores"][row, code], wanted)
    np.testing.assert_array_equal(outputs["echo"], inputs["nonce"])


def test_scores_stay_in_range(head):
    """All scores are in 0..1 and the joint score is never below the strongest modality."""
    outputs = _run(head, _make_inputs(8, 9, 9, seed=5))
    for name in ("scores", "modality_scores", "frame_scores", "text_scores"):
        assert outputs[name].min() >= 0
        assert outputs[name].max() <= 1
    assert (outputs["scores"] >= outputs["modality_scores"].max(axis=1)).all()


def test_padding_changes_nothing(head):
    """A clip scores the same alone and padded, even where the padding holds NaN."""
    inputs = _make_inputs(1, 3, 2, seed=3)
    alone = _run(head, inputs)
    padded = {}
    for tensor in FUSION_CLASSIFIER.inputs:
        array = inputs[tensor.name]
        if tensor.name == "nonce":
            padded[tensor.name] = array
            continue
        junk = np.nan if array.dtype == np.float32 else 0
        extra = np.full((1, 4, *array.shape[2:]), junk, array.dtype)
        padded[tensor.name] = np.concatenate([array, extra], axis=1)
    outputs = _run(head, padded)
    np.testing.assert_allclose(outputs["scores"], alone["scores"], atol=1e-6)
    np.testing.assert_allclose(outputs["modality_scores"], alone["modality_scores"], atol=1e-6)
    assert not outputs["frame_scores"][0, 3:].any()
    assert not outputs["text_scores"][0, 2:].any()


def test_nothing_but_padding_scores_zero(head):
    """A clip without any item scores 0 on every label, never NaN."""
    inputs = _make_inputs(2, 1, 1)
    inputs = {name: np.zeros_like(array) for name, array in inputs.items()}
    outputs = _run(head, inputs)
    for name in ("scores", "modality_scores", "frame_scores", "text_scores"):
        assert not outputs[name].any()

import numpy as np
import pytest
import torch

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, MODALITIES
from livewarden_export.fusion.head import FusionClassifier, Shape

TEXT_WIDTH = FUSION_CLASSIFIER.input("text_embedding").dims[1]


@pytest.fixture(scope="module")
def head():
    """An untrained head whose joint look and curves are not neutral."""
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


def test_one_bad_frame_among_many_counts_in_full(executors):
    """Sixty-three clean frames do not dilute the bad one in the exported reference head."""
    inputs = _make_inputs(1, 64, 1)
    inputs["vision_logits"][:] = 0
    inputs["nsfw_probability"][:] = 0.01
    inputs["nsfw_probability"][0, 40] = 0.97
    inputs["frame_mask"][:] = 1
    inputs["text_kind"][:] = 0
    scores = executors["fusion_classifier"].infer(inputs)["scores"][0]
    assert scores[LABELS.index("sexual_explicit")] >= 0.96


def test_unsupported_picture_labels_stay_zero(head):
    """A label that no picture signal supports scores 0 for frames, whatever they show."""
    outputs = _run(head, _make_inputs(2, 4, 1))
    assert not outputs["frame_scores"][..., LABELS.index("minor_safety")].any()
    assert outputs["frame_scores"][..., LABELS.index("scam_spam")].any()

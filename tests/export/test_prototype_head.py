import math

import numpy as np
import pytest
import torch

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, MODALITIES
from livewarden_export import prototype
from livewarden_export.prototype_head import SENTENCE, PrototypeHead

WIDTH = FUSION_CLASSIFIER.input("text_embedding").dims[1]
REST = ((0, 0), (0, 0), (0, WIDTH - SENTENCE))  # what the head does not read


def _embed(rows, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, SENTENCE)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


PROTOTYPES = {
    label: _embed(1 + index % 4, index) for index, label in enumerate(LABELS) if label != "hate"
}
BENIGN = _embed(5, 99)


@pytest.fixture(scope="module")
def head():
    """A head over random prototypes, with one label that has none."""
    return PrototypeHead(PROTOTYPES, BENIGN).eval()


def _make_inputs(batch, frames, texts, seed=0):
    generator = np.random.default_rng(seed)
    words = np.stack([_embed(texts, seed + row) for row in range(batch)])
    # Every other text lies near a prototype, so that high scores occur.
    for row in range(batch):
        for column in range(0, texts, 2):
            label = list(PROTOTYPES)[(row + column) % len(PROTOTYPES)]
            words[row, column] = words[row, column] * 0.3 + PROTOTYPES[label][0] * 0.7
    return {
        "vision_embedding": generator.normal(size=(batch, frames, 1280)).astype(np.float32),
        "vision_logits": generator.normal(scale=4, size=(batch, frames, 1000)).astype(np.float32),
        "nsfw_features": generator.normal(size=(batch, frames, 1024)).astype(np.float32),
        "nsfw_probability": generator.uniform(size=(batch, frames, 1)).astype(np.float32),
        "frame_mask": generator.integers(0, 2, (batch, frames)).astype(np.int32),
        "text_embedding": np.pad(words.astype(np.float32), REST),
        "text_kind": generator.integers(0, len(MODALITIES), (batch, texts)).astype(np.int32),
        "nonce": generator.integers(0, 2**62, (batch, 1)),
    }


def _run(head, inputs):
    names = [tensor.name for tensor in FUSION_CLASSIFIER.outputs]
    with torch.inference_mode():
        outputs = head(*(torch.from_numpy(inputs[t.name]) for t in FUSION_CLASSIFIER.inputs))
    return dict(zip(names, (output.numpy() for output in outputs), strict=True))


def _score_frame(logits, nsfw):
    weights = [math.exp(x - max(logits)) for x in logits]
    scores = []
    for label in LABELS:
        group = prototype.PICTURE_CLASSES.get(label, {})
        score = sum(weights[index] for index in group) / sum(weights)
        if label == "sexual_explicit":
            score = max(score, nsfw)
        if label == "sexual_suggestive":
            score = max(score, 1 - (1 - nsfw) ** 2)
        scores.append(score)
    return scores


def _score_text(vector):
    excess = max(0.0, max(float(row @ vector) for row in BENIGN) - prototype.BENIGN_FLOOR)
    scores = []
    for label in LABELS:
        if label not in PROTOTYPES:
            scores.append(0.0)
            continue
        likeness = max(float(row @ vector) for row in PROTOTYPES[label])
        logit = likeness - prototype.THRESHOLD - prototype.CONTRAST * excess
        scores.append(1 / (1 + math.exp(-prototype.SLOPE * logit)))
    return scores


def _score_clip(inputs, row):
    """The head, slowly: one item, one label, one modality at a time."""
    modality = [[0.0] * len(LABELS) for _ in MODALITIES]
    for index, seen in enumerate(inputs["frame_mask"][row]):
        if seen:
            scores = _score_frame(
                inputs["vision_logits"][row, index].tolist(),
                float(inputs["nsfw_probability"][row, index, 0]),
            )
            modality[0] = [max(pair) for pair in zip(modality[0], scores, strict=True)]
    for index, kind in enumerate(inputs["text_kind"][row]):
        if kind:
            scores = _score_text(inputs["text_embedding"][row, index, :SENTENCE])
            modality[kind] = [max(pair) for pair in zip(modality[kind], scores, strict=True)]
    joint = []
    for column in zip(*modality, strict=True):
        first, *others = sorted(column, reverse=True)
        joint.append(1 - (1 - first) * math.prod(1 - m * m for m in others))
    return modality, joint


@pytest.mark.parametrize(("batch", "frames", "texts"), [(1, 1, 1), (2, 3, 5), (4, 6, 2)])
def test_head_matches_a_plain_loop(head, batch, frames, texts):
    """The tensor code computes what the docstring says."""
    inputs = _make_inputs(batch, frames, texts)
    outputs = _run(head, inputs)
    for row in range(batch):
        modality, joint = _score_clip(inputs, row)
        np.testing.assert_allclose(outputs["modality_scores"][row], modality, atol=2e-5)
        np.testing.assert_allclose(outputs["scores"][row], joint, atol=2e-5)
    np.testing.assert_array_equal(outputs["echo"], inputs["nonce"])


def test_scores_stay_in_range(head):
    """All scores are in 0..1 and the joint score is never below the strongest modality."""
    outputs = _run(head, _make_inputs(8, 9, 9, seed=5))
    for name in ("scores", "modality_scores", "frame_scores", "text_scores"):
        assert outputs[name].min() >= 0
        assert outputs[name].max() <= 1
    assert (outputs["scores"] >= outputs["modality_scores"].max(axis=1)).all()
    assert outputs["scores"].max() > 0.5  # the data reaches high scores at all


def test_one_bad_frame_among_many_counts_in_full(head):
    """Sixty-three clean frames do not dilute the bad one."""
    inputs = _make_inputs(1, 64, 1)
    inputs["nsfw_probability"][:] = 0.01
    inputs["nsfw_probability"][0, 40] = 0.97
    inputs["frame_mask"][:] = 1
    inputs["text_kind"][:] = 0
    scores = _run(head, inputs)["scores"][0]
    assert scores[LABELS.index("sexual_explicit")] == pytest.approx(0.97)


def test_modalities_corroborate(head):
    """Two modalities at 0.6 say more than one; five weak ones do not add up to a hit."""

    def score(*kinds_at, level):
        inputs = _make_inputs(1, 1, 1)
        inputs["frame_mask"][:] = 0
        vector = PROTOTYPES["violence"][0]
        target = prototype.THRESHOLD + math.log(level / (1 - level)) / prototype.SLOPE
        rest = BENIGN[0] - (BENIGN[0] @ vector) * vector
        rest = _embed(1, 1234)[0] if not rest.any() else rest / np.linalg.norm(rest)
        away = -rest  # away from the benign sentence, so that it does not count
        near = target * vector + math.sqrt(1 - target**2) * away
        tiled = np.tile(near, (1, len(kinds_at), 1)).astype(np.float32)
        inputs["text_embedding"] = np.pad(tiled, REST)
        inputs["text_kind"] = np.array([kinds_at], np.int32)
        return _run(head, inputs)["scores"][0, LABELS.index("violence")]

    assert score(1, level=0.6) == pytest.approx(0.6, abs=0.02)
    assert score(1, 2, level=0.6) == pytest.approx(1 - 0.4 * (1 - 0.36), abs=0.02)
    assert score(1, 2, 3, 4, level=0.2) < 0.35

import json
from pathlib import Path

import numpy as np
import pytest

from livewarden_client.wire import LABELS, MODALITIES
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.policy_file import load_policy
from livewarden_ensemble.tokenise import Tokeniser
from livewarden_export.fusion.head import load_reference
from livewarden_export.sample import find_tokenizer

ROOT = Path(__file__).parents[3]
CLIPS = [
    json.loads(line)
    for line in (Path(__file__).parent / "handwritten.jsonl").read_text().splitlines()
]


@pytest.fixture(scope="module")
def score_clips(executors):
    """Clips of texts through the served encoder and head: scores [N, L]."""
    tokeniser = Tokeniser.from_file(find_tokenizer())

    def score(clips):
        rows = []
        for clip in clips:
            tokens = tokeniser.encode([normalise_text(t.encode()).text for _, t in clip])
            count = len(tokens.owners)
            words = executors["text_encoder"].infer(
                {
                    "input_ids": tokens.input_ids,
                    "attention_mask": tokens.attention_mask,
                    "nonce": np.zeros((count, 1), np.int64),
                }
            )["text_embedding"]
            kinds = [MODALITIES.index(clip[owner][0]) for owner in tokens.owners]
            head = {
                "vision_embedding": np.zeros((1, 1, 1280), np.float32),
                "vision_logits": np.zeros((1, 1, 1000), np.float32),
                "nsfw_features": np.zeros((1, 1, 1024), np.float32),
                "nsfw_probability": np.zeros((1, 1, 1), np.float32),
                "frame_mask": np.zeros((1, 1), np.int32),
                "text_embedding": words[None],
                "text_kind": np.array([kinds], np.int32),
                "nonce": np.zeros((1, 1), np.int64),
            }
            rows.append(executors["fusion_classifier"].infer(head)["scores"][0])
        return np.stack(rows)

    return score


@pytest.fixture(scope="module")
def thresholds():
    """Where the policy that ships asks for review [L]."""
    policy = load_policy(ROOT / "policies" / "default.yaml")
    return np.array([policy.thresholds[label].review for label in LABELS])


def test_handwritten_clips(score_clips, thresholds):
    """On clips that no generator wrote: recall at least 0.7 on the own label, FPR at most 0.1."""
    assert len(CLIPS) >= 40
    flags = (
        score_clips([[(t["kind"], t["text"]) for t in clip["texts"]] for clip in CLIPS])
        >= thresholds
    )
    own = [
        any(flags[row, LABELS.index(label)] for label in clip["labels"])
        for row, clip in enumerate(CLIPS)
        if clip["labels"]
    ]
    false = [flags[row].any() for row, clip in enumerate(CLIPS) if not clip["labels"]]
    assert len(false) >= len(CLIPS) / 2 - 1
    assert np.mean(own) >= 0.7
    assert np.mean(false) <= 0.1


def test_evasion_reads_the_same(score_clips):
    """Leetspeak, fullwidth, homoglyphs and spacing change a threat's score by little."""
    plain = "i will find you and kill you"
    wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in plain)
    tricks = [wide, "i w1ll find you and k1ll you", "i will find you and k i l l you"]
    scores = score_clips([[("chat", text)] for text in (plain, *tricks)])
    own = scores[:, LABELS.index("harassment_threat")]
    assert own[0] > 0.6
    assert (own > own[0] - 0.05).all()


def test_weights_are_small_and_named():
    """The committed head is at most 4 MB and says which calibration it carries."""
    head, facts = load_reference()
    size = sum(p.numel() * p.element_size() for p in head.state_dict().values())
    assert size <= 4 * 2**20
    assert facts["calibration"].startswith("platt-")
    assert (head.item_curve.slope > 0).all()
    assert (head.clip_curve.slope > 0).all()

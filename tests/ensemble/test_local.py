import json

import numpy as np
import pytest

from livewarden_client.wire import ECHO, LEAVES, NONCE, NSFW_ENCODER, VISION_ENCODER
from livewarden_ensemble import local
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.leaf_call import check_answer, split_call
from livewarden_ensemble.local import LocalLeaves


class FakeExecutor:
    """Takes the place of OpenVinoExecutor and remembers what it was made from."""

    made: dict

    def __init__(self, folder, model, *, threads, precision):
        self.model = model
        self.precision = "f32"
        self.made[model.name] = (folder, threads, precision)

    def infer(self, inputs):
        """Answer with zeros; one leaf fails."""
        if self.model is NSFW_ENCODER:
            raise RuntimeError("out of order")
        rows = len(inputs[NONCE.name])
        outputs = {t.name: np.zeros((rows, *t.dims), np.float32) for t in self.model.outputs}
        return outputs | {ECHO.name: inputs[NONCE.name]}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeExecutor, "made", {}, raising=False)
    monkeypatch.setattr(local, "OpenVinoExecutor", FakeExecutor)
    (tmp_path / "moderation").mkdir()
    (tmp_path / "bundle").mkdir()
    calibration = {"id": "none", "supported": {}}
    (tmp_path / "bundle/calibration.json").write_text(json.dumps(calibration))
    (tmp_path / "bundle/tokenizer.json").touch()
    versions = {leaf.name: str(number) for number, leaf in enumerate(LEAVES, 1)}
    pointer = {"bundle": "0" * 16, "path": "../bundle", "versions": versions}
    (tmp_path / "moderation/live.json").write_text(json.dumps(pointer))
    return tmp_path


def test_leaves_come_from_the_versions_that_are_live(repository):
    """Each leaf is compiled from the folder that the pointer names, with the threads asked for."""
    leaves = LocalLeaves(repository, threads=3, precision="f32")
    assert FakeExecutor.made == {
        leaf.name: (repository / leaf.name / str(number), 3, "f32")
        for number, leaf in enumerate(LEAVES, 1)
    }
    assert leaves.precisions == dict.fromkeys(FakeExecutor.made, "f32")


def test_each_call_is_answered_in_its_place(repository):
    """A batch over the limit is several calls; every answer carries its own nonces."""
    side = VISION_ENCODER.input("frame").dims
    calls = split_call(VISION_ENCODER, {"frame": np.zeros((70, *side), np.uint8)})
    answers = LocalLeaves(repository, threads=1)(calls)
    assert [len(answer[ECHO.name]) for answer in answers] == [64, 6]
    assert all(
        check_answer(call, answer) is answer for call, answer in zip(calls, answers, strict=True)
    )


def test_a_leaf_that_fails_is_heard(repository):
    """A golden answer or a benchmark must never rest on a leaf that did not run."""
    side = NSFW_ENCODER.input("frame").dims
    calls = split_call(NSFW_ENCODER, {"frame": np.zeros((1, *side), np.uint8)})
    with pytest.raises(RuntimeError, match="out of order"):
        LocalLeaves(repository, threads=1)(calls)


def test_a_repository_without_a_pointer_is_refused(tmp_path):
    """The message names the file and the command that writes it."""
    with pytest.raises(BundleInvalid, match=r"live\.json.*livewarden export"):
        LocalLeaves(tmp_path, threads=1)

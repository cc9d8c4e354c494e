import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from livewarden_client.wire import LABELS
from livewarden_ensemble.policy import load_policy
from livewarden_export.fusion import evaluate
from livewarden_export.fusion.dataset import Clip, load_dataset, write_dataset
from livewarden_export.fusion.evaluate import evaluate_bundle
from livewarden_export.fusion.head import load_head
from livewarden_export.fusion.report import write_evaluation
from livewarden_export.fusion.run import train_dataset

THREATS = ("i will find you and hurt you", "wait until i get my hands on you", "you are dead")
CASINO = ("free spins at our casino tonight", "bet now and double your money", "slots, jackpot!")
TALK = ("hello everyone", "nice play", "what is for dinner", "the rain stopped", "good morning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixty clips of three kinds in all splits, some with a picture, one set of swaps."""
    folder = tmp_path_factory.mktemp("data")
    grey = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(grey).save(folder / "a.png")
    clips = []
    for number in range(60):
        split = ("train", "train", "validation", "test")[number % 4]
        kinds = ((THREATS, "harassment_threat"), (CASINO, "gambling"), (TALK, None))
        texts, label = kinds[number % 3]
        clips.append(
            Clip(
                id=f"c{number}",
                split=split,
                group=f"g{number}",
                labels=(label,) if label else (),
                frames=("a.png",) if number % 5 == 0 else (),
                texts=(("chat", f"{texts[number % len(texts)]} {number}"),),
                swap=f"s{number // 8}" if label is None else None,
            )
        )
    write_dataset(folder, clips)
    return load_dataset(folder)


@pytest.fixture(scope="module")
def trained(data, exported, tmp_path_factory):
    """The folder of a short training."""
    out = tmp_path_factory.mktemp("run")
    train_dataset(data, out, bundle=exported.folder, epochs=2)
    return out


def test_training_writes_a_head_and_its_figures(trained):
    """Weights that load, metrics of every split, and the curves as a picture."""
    head = load_head(trained / "reference.safetensors")
    assert head.facts["calibration"].startswith("platt-")
    assert set(head.probes) == {"vision_embedding", "nsfw_features", "text_embedding"}
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["train"]["gambling"] > 0.5
    assert "<svg" in (trained / "training.svg").read_text()


def test_same_seed_same_head_and_resumed_too(data, exported, trained, tmp_path):
    """Training again gives the same numbers, in one go or stopped between two epochs."""
    wanted = load_head(trained / "reference.safetensors").head.state_dict()
    train_dataset(data, tmp_path, bundle=exported.folder, epochs=2)
    (tmp_path / "reference.safetensors").unlink()
    train_dataset(data, tmp_path, bundle=exported.folder, epochs=2)  # finds all epochs done
    again = load_head(tmp_path / "reference.safetensors").head.state_dict()
    for name, tensor in wanted.items():
        np.testing.assert_allclose(again[name].numpy(), tensor.numpy(), atol=1e-6, err_msg=name)


def test_another_plan_does_not_go_on_with_a_checkpoint(data, exported, trained):
    """A checkpoint of other settings is refused by name."""
    with pytest.raises(ValueError, match="of another plan or data set"):
        train_dataset(data, trained, bundle=exported.folder, epochs=2, seed=8)


def test_evaluation_says_everything(data, exported, tmp_path, models):
    """All sections are measured on the test split and written three ways."""
    policy = load_policy(models.decisions.policy)
    found = evaluate_bundle(exported, data, policy, tmp_path / "cache", lambda _step: None)
    assert found.clips == 15
    assert [row.label for row in found.labels] == list(LABELS)
    assert found.fail_safe_violations == []
    assert found.fail_safe_cases >= 10
    assert set(found.evasions) >= {"leetspeak", "fullwidth", "homoglyphs", "spacing"}
    assert 0 < found.fusion_ms < 50
    paths = write_evaluation(found, tmp_path / "out")
    assert [path.suffix for path in paths] == [".md", ".html", ".json"]
    assert "http" not in (tmp_path / "out/evaluation.html").read_text().replace("http://www.w3", "")


def test_a_pipeline_that_looks_away_is_caught(data, exported, models, monkeypatch):
    """The fail-safe check sees a pipeline that allows what was not seen."""

    class Blind:
        def __init__(self, *_args, **_settings):
            """Take whatever a pipeline takes."""

        def moderate(self, clips):
            return [SimpleNamespace(verdict=SimpleNamespace(action="allow")) for _ in clips]

    monkeypatch.setattr(evaluate, "Pipeline", Blind)
    policy = load_policy(models.decisions.policy)
    cases, broken = evaluate.find_violations(exported, policy, data.folder, data.clips)
    assert len(broken) == cases


def test_splits_must_hold_clips(exported, tmp_path):
    """A data set without a validation split is refused."""
    clips = [Clip("a", "train", "g", texts=(("chat", "hello"),))]
    write_dataset(tmp_path, [dataclasses.replace(clip) for clip in clips])
    with pytest.raises(ValueError, match="the validation split holds no clips"):
        train_dataset(load_dataset(tmp_path), tmp_path / "run", bundle=exported.folder)

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from livewarden_client.wire import LABELS, MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.leaf import supports_bf16
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_export.decision import load_decision_policy, make_clips
from livewarden_export.errors import SourceInvalid
from livewarden_export.export import export_bundle
from livewarden_export.model_file import load_models
from livewarden_export.publish import put_live
from livewarden_export.source import Sources
from livewarden_export.stamp import read_stamp

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/other-models"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The example with its weights, in a folder of its own at the same depth."""
    root = tmp_path_factory.mktemp("other")
    shutil.copytree(ROOT / "policies", root / "policies")
    target = root / "examples/other-models"
    shutil.copytree(EXAMPLE, target, ignore=shutil.ignore_patterns("vit", "electra"))
    sys.path.insert(0, str(target))
    try:
        from make_weights import make_weights  # noqa: PLC0415 - the example is no package
    finally:
        sys.path.remove(str(target))
    make_weights(target)
    return target


def test_other_architectures_export_and_serve(folder, repository, tmp_path):
    """A ViT and an ELECTRA pass the gate and answer clips through the pipeline, by data alone."""
    models = load_models(folder / "models.yaml")
    stamp = read_stamp(models, bf16=supports_bf16())
    assert any(name.startswith("vit/") for name in stamp.sources)
    bundle = export_bundle(models, tmp_path / "bundles", stamp, print)
    assert bundle.manifest["decisions"]["flips"] == 0
    put_live(bundle, repository)
    leaves = LocalLeaves(repository, threads=1)
    pipeline = Pipeline(
        load_bundle(repository / MODERATION.name),
        load_decision_policy(models.decisions),
        leaves,
        server="test",
    )
    _, clip = make_clips()[2]
    (outcome,) = pipeline.moderate([clip])
    assert outcome.verdict.coverage.failed == {}
    assert outcome.scores.shape == (len(LABELS),)
    assert np.isfinite(outcome.scores).any()
    assert outcome.verdict.provenance.bundle == bundle.id


def test_width_that_does_not_fit_names_the_tensor(folder, tmp_path):
    """An embedding wider than the wire's, or other classes, is refused with got and wanted."""
    copy = tmp_path / "examples/other-models"
    shutil.copytree(folder, copy)
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    import transformers  # noqa: PLC0415 - heavy, and only here

    for leaf, name, change, message in (
        ("text_encoder", "electra", {"hidden_size": 1024}, "'text_embedding' is 1024 wide; .* 768"),
        ("vision_encoder", "vit", {"num_labels": 10}, "'vision_logits' is 10 wide; .* 1000"),
    ):
        shutil.rmtree(copy / name)
        settings = json.loads((folder / name / "config.json").read_text())
        if "num_labels" in change:
            settings = {k: v for k, v in settings.items() if k not in {"id2label", "label2id"}}
        kind = {"electra": transformers.ElectraModel, "vit": transformers.ViTForImageClassification}
        config = kind[name].config_class(**{**settings, **change})
        kind[name](config).save_pretrained(copy / name)
        with pytest.raises(SourceInvalid, match=message):
            Sources(load_models(copy / "models.yaml")).open(leaf)

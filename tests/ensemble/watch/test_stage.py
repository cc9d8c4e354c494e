from __future__ import annotations

from pathlib import Path

import pytest

from livewarden_client.wire import LEAVES, MODELS
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.watch.stage import find_bundle, stage_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """Two bundles that begin alike, as far as finding them goes."""
    for name in ("abc1", "abd2"):
        (tmp_path / "bundles" / name).mkdir(parents=True)
        (tmp_path / "bundles" / name / "manifest.json").write_text("{}")
    return tmp_path / "bundles"


def test_a_bundle_is_found_by_its_first_digits_or_its_folder(bundles: Path) -> None:
    """Digits that fit one bundle mean it, and so does the path of its folder."""
    assert find_bundle("abd", bundles) == bundles / "abd2"
    assert find_bundle(str(bundles / "abc1"), Path("elsewhere")) == bundles / "abc1"


@pytest.mark.parametrize(("name", "told"), [("ab", "fits several"), ("x", "is none")])
def test_digits_that_mean_no_bundle_or_several_are_told(
    bundles: Path, name: str, told: str
) -> None:
    """The error says which bundles there are."""
    with pytest.raises(BundleInvalid, match=rf"{told} .*abc1, abd2"):
        find_bundle(name, bundles)


def test_a_stage_has_every_model_and_one_version_of_each_leaf(tmp_path: Path) -> None:
    """Configs and pipeline are the repository's; a file that is missing there is named."""
    bundle = tmp_path / "abc1"
    for leaf in LEAVES:
        (bundle / "leaves" / leaf.name / "openvino").mkdir(parents=True)
        (bundle / "leaves" / leaf.name / "openvino" / "model.xml").write_text(leaf.name)
    digest = "abc1" + "0" * 60
    manifest = f'{{"schema": "livewarden.bundle/v1", "digest": "{digest}", "files": {{}}}}'
    (bundle / "manifest.json").write_text(manifest)
    stage = tmp_path / "stage"
    stage.mkdir()
    stage_bundle(bundle, ROOT / "model_repository", stage)
    assert all((stage / model.name / "config.pbtxt").is_file() for model in MODELS)
    assert all((stage / leaf.name / "1" / "model.xml").read_text() == leaf.name for leaf in LEAVES)
    with pytest.raises(BundleInvalid, match=r"config\.pbtxt: is missing"):
        stage_bundle(bundle, tmp_path / "nowhere", tmp_path / "stage")

from pathlib import Path

import pytest

from livewarden_client import wire
from livewarden_ensemble.leaf import OpenVinoExecutor, supports_bf16
from livewarden_export.bundle import LEAVES_FOLDER, OPENVINO_FOLDER, Bundle, find_bundle
from livewarden_export.export import export_bundle
from livewarden_export.model_file import load_models
from livewarden_export.recipe import Models
from livewarden_export.stamp import read_stamp

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def models() -> Models:
    """The models that ship."""
    return load_models(ROOT / "models.yaml")


@pytest.fixture(scope="session")
def exported(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The reference models: what `make export` left for this very code, else exported here."""
    stamp = read_stamp(models, bf16=supports_bf16())
    ready = find_bundle(ROOT / "bundles", stamp.key)
    return ready or export_bundle(models, tmp_path_factory.mktemp("bundles"), stamp, print)


@pytest.fixture(scope="session")
def executors(exported: Bundle) -> dict[str, OpenVinoExecutor]:
    """Every leaf of the exported bundle as it would serve."""
    leaves = exported.folder / LEAVES_FOLDER
    return {
        leaf.name: OpenVinoExecutor(leaves / leaf.name / OPENVINO_FOLDER, leaf)
        for leaf in wire.LEAVES
    }


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty model repository."""
    folder = tmp_path / "model_repository"
    for model in wire.MODELS:
        (folder / model.name).mkdir(parents=True)
    return folder

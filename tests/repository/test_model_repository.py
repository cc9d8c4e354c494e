import ast
from pathlib import Path

import pytest

from livewarden_client.wire import MODELS, MODERATION
from livewarden_ensemble.integrity import MODEL_CODE
from livewarden_export.triton_config import find_stale_configs

REPOSITORY = Path(__file__).parents[2] / "model_repository"


def test_committed_configs_are_generated():
    """No config was edited by hand, and none is missing."""
    assert find_stale_configs(REPOSITORY) == []


def test_repository_holds_exactly_the_wire_models():
    """There is a folder for every model and for nothing else."""
    folders = {path.name for path in REPOSITORY.iterdir() if path.is_dir()}
    assert folders == {model.name for model in MODELS}


CODE = {
    "ModerationPipeline": (REPOSITORY / MODERATION.name / "1/model.py").read_text(),
    "OpenVinoLeaf": MODEL_CODE,
}


@pytest.mark.parametrize("name", CODE)
def test_model_file_is_one_import(name):
    """model.py holds a docstring and one import, nothing else: the code is in the package."""
    tree = ast.parse(CODE[name])
    assert ast.get_docstring(tree)
    (statement,) = tree.body[1:]
    assert isinstance(statement, ast.ImportFrom)
    assert statement.module == "livewarden_ensemble.serving"
    assert [(alias.name, alias.asname) for alias in statement.names] == [
        (name, "TritonPythonModel")
    ]

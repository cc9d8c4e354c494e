from __future__ import annotations

from pathlib import Path

import pytest

from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.integrity import PIPELINE_CODE, check_pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """The folder of `moderation` as it is installed."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.py").write_text(PIPELINE_CODE)
    (tmp_path / "configs").mkdir()
    return tmp_path


def test_the_code_that_ships_is_the_code_that_is_checked(pipeline: Path):
    """The file in the repository is the one that a start asks for."""
    shipped = ROOT / "model_repository" / "moderation" / "1" / "model.py"
    assert shipped.read_text() == PIPELINE_CODE
    check_pipeline(pipeline)


def test_one_changed_letter_is_refused(pipeline: Path):
    """Code that is not ours is named, and no server starts with it."""
    (pipeline / "1" / "model.py").write_text(PIPELINE_CODE + "\n")
    with pytest.raises(BundleInvalid, match=r"model\.py: is missing or was changed"):
        check_pipeline(pipeline)


@pytest.mark.parametrize("name", ["1/sitecustomize.py", "1/model.so", "2/model.py", "10/model.py"])
def test_added_code_is_refused(pipeline: Path, name: str):
    """Neither a file beside model.py nor another version is taken."""
    (pipeline / name).parent.mkdir(exist_ok=True)
    (pipeline / name).write_text(PIPELINE_CODE)
    with pytest.raises(BundleInvalid, match="was added"):
        check_pipeline(pipeline)


def test_link_in_place_of_the_code_is_refused(pipeline: Path):
    """A link leads to where nothing is checked."""
    model = pipeline / "1" / "model.py"
    model.rename(pipeline / "elsewhere.py")
    model.symlink_to(pipeline / "elsewhere.py")
    with pytest.raises(BundleInvalid, match=r"model\.py: was added"):
        check_pipeline(pipeline)


def test_compiled_code_is_deleted(pipeline: Path):
    """Python would run a compiled file in place of the source that was checked."""
    compiled = pipeline / "1" / "__pycache__"
    compiled.mkdir()
    (compiled / "model.cpython-311.pyc").write_bytes(b"x")
    check_pipeline(pipeline)
    assert not list(compiled.iterdir())


def test_replicas_may_delete_it_at_the_same_time(pipeline: Path, monkeypatch: pytest.MonkeyPatch):
    """Two servers on one repository start side by side: what the other deleted is no fault."""
    compiled = pipeline / "1" / "__pycache__"
    compiled.mkdir()
    compiled_file = compiled / "model.cpython-311.pyc"
    compiled_file.write_bytes(b"x")
    unlink = Path.unlink

    def lose(path: Path, *, missing_ok: bool = False) -> None:
        unlink(path)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", lose)
    check_pipeline(pipeline)
    assert not compiled_file.exists()

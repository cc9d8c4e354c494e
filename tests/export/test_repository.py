import json
import shutil

import pytest

from livewarden_client.wire import LEAVES, MODELS
from livewarden_export import repository as module
from livewarden_export.bundle import LEAVES_FOLDER, OPENVINO_FOLDER, seal_bundle, stage_bundle
from livewarden_export.errors import ExportFailed
from livewarden_export.repository import put_live


def _make_bundle(bundles, mark):
    with stage_bundle(bundles) as staged:
        for leaf in LEAVES:
            folder = staged / LEAVES_FOLDER / leaf.name / OPENVINO_FOLDER
            folder.mkdir(parents=True)
            (folder / "model.xml").write_text(f"{leaf.name} {mark}")
            (folder / "model.bin").write_text(mark)
        return seal_bundle(staged, {})


def _read_live(repository):
    return json.loads((repository / "moderation/live.json").read_text())


def _read_marks(repository):
    return {(repository / leaf.name / "1/model.xml").read_text().split()[1] for leaf in LEAVES}


def test_pointer_leads_to_the_bundle(tmp_path, repository):
    """The pointer names digest, versions and a relative path that leads from its own folder."""
    bundle = _make_bundle(tmp_path / "bundles", "one")
    pointer = put_live(bundle, repository)
    live = _read_live(repository)
    assert live["bundle"] == bundle.id
    assert (pointer.parent / live["path"]).resolve() == bundle.folder.resolve()
    assert not live["path"].startswith("/")
    assert live["versions"] == {leaf.name: "1" for leaf in LEAVES}
    assert _read_marks(repository) == {"one"}


def test_files_are_linked_not_copied(tmp_path, repository):
    """On one file system the repository costs no second copy of the weights."""
    bundle = _make_bundle(tmp_path / "bundles", "one")
    put_live(bundle, repository)
    source = bundle.folder / LEAVES_FOLDER / LEAVES[0].name / OPENVINO_FOLDER / "model.bin"
    assert (repository / LEAVES[0].name / "1/model.bin").samefile(source)


def test_other_file_system_gets_a_copy(tmp_path, repository, monkeypatch):
    """Where linking is impossible the files are copied."""

    def refuse(*_paths):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(module.os, "link", refuse)
    put_live(_make_bundle(tmp_path / "bundles", "one"), repository)
    assert _read_marks(repository) == {"one"}


def test_switching_and_repeating(tmp_path, repository):
    """Putting another bundle live replaces every file; doing it twice changes nothing."""
    one = _make_bundle(tmp_path / "bundles", "one")
    two = _make_bundle(tmp_path / "bundles", "two")
    put_live(one, repository)
    for _ in range(2):
        put_live(two, repository)
        assert _read_marks(repository) == {"two"}
        assert _read_live(repository)["bundle"] == two.id
    assert not list(repository.rglob("*.new"))
    assert (
        one.folder / LEAVES_FOLDER / LEAVES[0].name / OPENVINO_FOLDER / "model.bin"
    ).read_text() == "one"


def test_half_a_switch_has_no_pointer(tmp_path, repository, monkeypatch):
    """Dying between two leaves leaves a repository that no server starts on, not a mixture."""
    put_live(_make_bundle(tmp_path / "bundles", "one"), repository)
    two = _make_bundle(tmp_path / "bundles", "two")
    place = module._place_file
    calls = []

    def die_half_way(source, target):
        calls.append(target)
        if len(calls) == 4:
            raise KeyboardInterrupt
        place(source, target)

    monkeypatch.setattr(module, "_place_file", die_half_way)
    with pytest.raises(KeyboardInterrupt):
        put_live(two, repository)
    assert not (repository / "moderation/live.json").exists()
    monkeypatch.setattr(module, "_place_file", place)
    put_live(two, repository)
    assert _read_marks(repository) == {"two"}


def test_folder_that_is_no_repository_is_refused(tmp_path, repository):
    """A repository without one of the models is named, and nothing is written to it."""
    shutil.rmtree(repository / MODELS[2].name)
    with pytest.raises(ExportFailed, match=MODELS[2].name):
        put_live(_make_bundle(tmp_path / "bundles", "one"), repository)
    assert not list(repository.rglob("*.xml"))

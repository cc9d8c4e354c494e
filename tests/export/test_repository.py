import itertools
import json
import os
import shutil
import signal
import sys

import msgspec
import pytest

from livewarden_client.wire import LABELS, LEAVES, MODELS, TAXONOMY_VERSION, WIRE_VERSION
from livewarden_ensemble.bundle import Pointer, Release, Share, read_pointer
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.integrity import (
    PLAN_FILE,
    TENSORRT_FOLDER,
    check_repository,
    find_orphans,
    hold_repository,
    remove_orphans,
)
from livewarden_export import repository as module
from livewarden_export.bundle import (
    LEAVES_FOLDER,
    OPENVINO_FOLDER,
    read_bundle,
    seal_bundle,
    stage_bundle,
    verify_bundle,
)
from livewarden_export.errors import ExportFailed
from livewarden_export.publish import (
    drop_unfit,
    flip_back,
    flip_live,
    put_live,
    roll_back,
    share_streams,
)
from livewarden_export.repository import write_pointer

CONTRACT = {"wire_version": WIRE_VERSION, "taxonomy": TAXONOMY_VERSION, "labels": list(LABELS)}


def _make_bundle(bundles, mark, *, plans=False):
    with stage_bundle(bundles) as staged:
        for leaf in LEAVES:
            folder = staged / LEAVES_FOLDER / leaf.name / OPENVINO_FOLDER
            folder.mkdir(parents=True)
            (folder / "model.xml").write_text(f"{leaf.name} {mark}")
            (folder / "model.bin").write_text(mark)
            if plans:
                plan = staged / LEAVES_FOLDER / leaf.name / TENSORRT_FOLDER / PLAN_FILE
                plan.parent.mkdir()
                plan.write_text(f"plan {mark}")
        return seal_bundle(staged, CONTRACT)


def _read_live(repository):
    return json.loads((repository / "moderation/live.json").read_text())


def _read_marks(repository, role="live"):
    release = read_pointer(repository / "moderation").list_releases()[role]
    return {
        (repository / leaf / version / "model.xml").read_text().split()[1]
        for leaf, version in release.versions.items()
    }


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


def test_plans_are_served_beside_the_embedded_target(tmp_path, repository):
    """A bundle built for a GPU serves both targets from one folder, and both are checked."""
    put_live(_make_bundle(tmp_path / "bundles", "one", plans=True), repository)
    plan = repository / LEAVES[0].name / "1" / PLAN_FILE
    assert plan.read_text() == "plan one"
    assert _read_marks(repository) == {"one"}
    check_repository(repository)
    plan.unlink()
    plan.write_text("plan two")
    with pytest.raises(BundleInvalid, match=f"{PLAN_FILE}: was changed"):
        check_repository(repository)


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
    check_repository(repository)


def test_the_one_before_stays_and_older_ones_go(tmp_path, repository):
    """Live and previous keep their version folders, whatever their order; the rest is removed."""
    one, two, three = (_make_bundle(tmp_path / "bundles", mark) for mark in ("one", "two", "three"))
    put_live(one, repository)
    put_live(two, repository)
    put_live(two, repository)  # again: nothing changes
    assert _read_marks(repository) == {"two"}
    assert _read_marks(repository, "previous") == {"one"}
    assert roll_back(repository).bundle == one.id
    assert _read_marks(repository, "previous") == {"two"}
    put_live(three, repository)
    assert _read_marks(repository) == {"three"}
    assert _read_marks(repository, "previous") == {"one"}
    folders = {path.name for path in (repository / LEAVES[0].name).iterdir() if path.is_dir()}
    assert folders == {"1", "3"}
    check_repository(repository)


def test_a_bundle_of_another_contract_is_not_kept(tmp_path, repository):
    """What no server of today could load is no bundle to roll back to; others stay."""
    first, second = (_make_bundle(tmp_path / "bundles", mark) for mark in ("one", "two"))
    put_live(first, repository)
    put_live(second, repository)
    pointer = read_pointer(repository / "moderation")
    assert pointer.previous.bundle == first.id
    assert drop_unfit(pointer, repository) == pointer
    manifest = first.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"contract": "', '"contract": "0'))
    assert drop_unfit(pointer, repository).previous is None


def test_nothing_to_roll_back_to_is_said(tmp_path, repository):
    """The first bundle has none before it."""
    with pytest.raises(ExportFailed, match="no bundle to roll back to"):
        roll_back(repository)
    put_live(_make_bundle(tmp_path / "bundles", "one"), repository)
    with pytest.raises(ExportFailed, match="no bundle to roll back to"):
        roll_back(repository)


ONE, TWO, THREE = (
    Release(bundle, f"../../bundles/{bundle}", {leaf.name: version for leaf in LEAVES})
    for bundle, version in (("aa", "1"), ("bb", "2"), ("cc", "3"))
)


def _point(live, **others):
    return Pointer(live.bundle, live.path, live.versions, **others)


@pytest.mark.parametrize(
    ("before", "release", "after"),
    [
        (None, ONE, _point(ONE)),
        (_point(ONE), TWO, _point(TWO, previous=ONE)),
        (_point(TWO, previous=ONE), ONE, _point(ONE, previous=TWO)),
        (_point(TWO, previous=ONE), TWO, _point(TWO, previous=ONE)),
        (_point(ONE, canary=Share(TWO, 5)), TWO, _point(TWO, previous=ONE)),
        (_point(ONE, shadow=Share(TWO, 9)), TWO, _point(TWO, previous=ONE)),
        (
            _point(ONE, shadow=Share(THREE, 9)),
            TWO,
            _point(TWO, previous=ONE, shadow=Share(THREE, 9)),
        ),
    ],
)
def test_flips(before, release, after):
    """Each switch, as a table: what was live becomes previous, a canary ends, a shadow stays."""
    assert flip_live(before, release) == after


def test_flipping_back_twice_changes_nothing():
    """A rollback can itself be taken back."""
    pointer = _point(TWO, previous=ONE)
    assert flip_back(flip_back(pointer)) == pointer


def test_share_is_kept_beside_the_live_bundle(tmp_path, repository):
    """Canary and shadow get folders of their own, and 0 percent removes them."""
    one, two = (_make_bundle(tmp_path / "bundles", mark) for mark in ("one", "two"))
    with pytest.raises(ExportFailed, match="no bundle is live"):
        share_streams(two, repository, "canary", 5, print)
    put_live(one, repository)
    with pytest.raises(ExportFailed, match="cannot be its own shadow"):
        share_streams(one, repository, "shadow", 5, print)
    share_streams(two, repository, "canary", 5, print)
    assert _read_live(repository)["canary"]["percent"] == 5
    assert _read_marks(repository, "canary") == {"two"}
    share_streams(two, repository, "canary", 0, print)
    assert "canary" not in _read_live(repository)
    assert not (repository / LEAVES[0].name / "2").exists()


def test_failure_half_way_leaves_what_was_live(tmp_path, repository, monkeypatch):
    """A full disk between two leaves: the error is named, the live bundle whole, nothing left."""
    one, two = (_make_bundle(tmp_path / "bundles", mark) for mark in ("one", "two"))
    put_live(one, repository)
    before = (repository / "moderation/live.json").read_bytes()
    fill = module.fill_version
    calls = []

    def fill_disk(leaf, version):
        calls.append(version)
        fill(leaf, version)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", str(version))

    monkeypatch.setattr(module, "fill_version", fill_disk)
    with pytest.raises(OSError, match="No space left on device"):
        put_live(two, repository)
    assert (repository / "moderation/live.json").read_bytes() == before
    assert find_orphans(repository) == []
    check_repository(repository)
    monkeypatch.setattr(module, "fill_version", fill)
    put_live(two, repository)
    assert _read_marks(repository) == {"two"}


def test_folder_that_is_no_repository_is_refused(tmp_path, repository):
    """A repository without one of the models is named, and nothing is written to it."""
    shutil.rmtree(repository / MODELS[2].name)
    with pytest.raises(ExportFailed, match=MODELS[2].name):
        put_live(_make_bundle(tmp_path / "bundles", "one"), repository)
    assert not list(repository.rglob("*.xml"))


def test_two_at_once_is_a_clear_error(tmp_path, repository):
    """Whoever comes second is told so, for a repository and for a folder of bundles."""
    bundle = _make_bundle(tmp_path / "bundles", "one")
    with hold_repository(repository) as held:
        assert held
        with pytest.raises(ExportFailed, match="another command is changing it"):
            put_live(bundle, repository)
    with (
        stage_bundle(tmp_path / "bundles"),
        pytest.raises(ExportFailed, match="another export is at work"),
        stage_bundle(tmp_path / "bundles"),
    ):
        pass
    put_live(bundle, repository)


DAMAGE = {
    "weights of a version": lambda r, _: _rewrite(r / "text_encoder/1/model.bin"),
    "code of a version": lambda r, _: (r / "nsfw_encoder/1/model.py").write_text("import os"),
    "file too many": lambda r, _: (r / "nsfw_encoder/1/sitecustomize.py").write_text(""),
    "compiled code": lambda r, _: _make_folder(r / "text_encoder/1/__pycache__"),
    "missing version": lambda r, _: shutil.rmtree(r / "vision_encoder/1"),
    "missing weights": lambda r, _: (r / "vision_encoder/1/model.xml").unlink(),
    "label order": lambda _, b: _edit_manifest(b, labels=list(LABELS[::-1])),
    "file of the bundle": lambda _, b: (b.folder / "sbom.cdx.json").write_text("{}"),
}


def _rewrite(path):
    path.unlink()  # the link alone, not the bundle's file
    path.write_text("other")


def _make_folder(path):
    path.unlink()
    path.mkdir()


def _edit_manifest(bundle, **changes):
    path = bundle.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("weights of a version", "text_encoder/1/model.bin"),
        ("code of a version", "nsfw_encoder/1/model.py"),
        ("file too many", "nsfw_encoder/1/sitecustomize.py"),
        ("compiled code", "text_encoder/1/__pycache__"),
        ("missing version", "vision_encoder/1"),
        ("missing weights", "vision_encoder/1/model.xml"),
        ("label order", "manifest.json: labels"),
        ("file of the bundle", "sbom.cdx.json"),
    ],
)
def test_changed_repository_is_refused_by_file(tmp_path, repository, name, named):
    """What a start begins with: any file that is not as it was sealed is named."""
    bundle = _make_bundle(tmp_path / "bundles", "one")
    put_live(bundle, repository)
    check_repository(repository)
    DAMAGE[name](repository, bundle)
    with pytest.raises(BundleInvalid, match=named):
        check_repository(repository)


def test_deleted_bundle_is_given_up(tmp_path, repository):
    """Bundles deleted by hand, then a new export: it goes live, and nothing names the old one."""
    bundles = tmp_path / "bundles"
    put_live(_make_bundle(bundles, "one"), repository)
    shutil.rmtree(bundles)
    with pytest.raises(BundleInvalid, match="there is no such bundle"):
        check_repository(repository)
    put_live(_make_bundle(bundles, "two"), repository)
    assert "previous" not in _read_live(repository)
    check_repository(repository)
    shutil.rmtree(bundles)
    put_live(_make_bundle(bundles, "two"), repository)
    check_repository(repository)


def test_damaged_version_is_staged_anew(tmp_path, repository):
    """Publishing the live bundle again mends a version folder that was changed."""
    bundle = _make_bundle(tmp_path / "bundles", "one")
    put_live(bundle, repository)
    _rewrite(repository / "text_encoder/1/model.bin")
    put_live(bundle, repository)
    assert set(_read_live(repository)["versions"].values()) == {"2"}
    check_repository(repository)


def test_foreign_version_is_removed_before_a_start(tmp_path, repository):
    """Triton runs what it finds: a version that no pointer names is gone before it looks."""
    put_live(_make_bundle(tmp_path / "bundles", "one"), repository)
    foreign = repository / LEAVES[1].name / "7"
    foreign.mkdir()
    (foreign / "model.py").write_text("import os")
    check_repository(repository)
    assert not foreign.exists()
    assert remove_orphans(repository) == []


def _count_calls(work):
    """How many calls of functions, also of C, `work` makes."""
    calls = itertools.count()
    sys.setprofile(lambda *_event: next(calls))
    try:
        work()
    finally:
        sys.setprofile(None)
    return next(calls)


def _kill_at_call(number, work):
    """Run `work` in a child that SIGKILL ends at its call `number`; whether it came to that."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()

        def count(*_event):
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_publish_killed_20_times_is_never_half_done(tmp_path, repository):
    """SIGKILL at 20 calls spread over a publish: the repository serves one whole bundle."""
    one, two = (_make_bundle(tmp_path / "bundles", mark) for mark in ("one", "two"))
    put_live(one, repository)
    total = _count_calls(lambda: put_live(two, repository))
    killed = 0
    seen = set()
    for moment in range(20):
        live = _read_live(repository)["bundle"]
        target = two if live == one.id else one
        # Without a copy to come back to, each publish has to stage anew.
        pointer = read_pointer(repository / "moderation")
        write_pointer(repository, msgspec.structs.replace(pointer, previous=None))
        remove_orphans(repository)
        killed += _kill_at_call(
            total * moment // 19, lambda target=target: put_live(target, repository)
        )
        check_repository(repository)
        marks = _read_marks(repository)
        assert len(marks) == 1
        seen |= marks
        assert find_orphans(repository) == []
    assert killed >= 15
    assert seen == {"one", "two"}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_export_killed_20_times_leaves_whole_bundles_only(tmp_path):
    """SIGKILL at 20 calls of staging and sealing: each folder that has a name verifies."""
    bundles = tmp_path / "bundles"
    total = _count_calls(lambda: _make_bundle(bundles, "first"))
    killed = sum(
        _kill_at_call(total * moment // 19, lambda m=moment: _make_bundle(bundles, f"b{m}"))
        for moment in range(20)
    )
    assert killed >= 15
    last = _make_bundle(bundles, "last")
    names = {path.name for path in bundles.iterdir()}
    assert last.id in names
    for name in names:
        assert not name.startswith(".")
        verify_bundle(read_bundle(bundles / name))

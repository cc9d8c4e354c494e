import hashlib
import json

import pytest

from livewarden_export.bundle import (
    MANIFEST,
    Bundle,
    find_bundle,
    hash_files,
    read_bundle,
    seal_bundle,
    stage_bundle,
    verify_bundle,
)
from livewarden_export.errors import BundleBroken

FILES = {
    "tokenizer.json": b"{}",
    "leaves/a/model.onnx": b"onnx",
    "leaves/a/openvino/model.bin": b"",
}


def _make_bundle(bundles, key="k", files=FILES) -> Bundle:
    with stage_bundle(bundles) as staged:
        for name, content in files.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes(content)
        return seal_bundle(staged, {"key": key})


def test_digest_is_the_hash_of_the_file_list(tmp_path):
    """The digest is SHA-256 over the sorted lines "path sha256"; the folder is its first 16."""
    bundle = _make_bundle(tmp_path)
    lines = [f"{name} {hashlib.sha256(FILES[name]).hexdigest()}" for name in sorted(FILES)]
    expected = hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
    assert bundle.digest == expected
    assert bundle.folder == tmp_path / expected[:16]
    assert bundle.id == expected[:16]
    assert [path.name for path in tmp_path.iterdir()] == [bundle.id]


def test_sealed_bundle_reads_back(tmp_path):
    """What was sealed is what is read, and it verifies."""
    bundle = _make_bundle(tmp_path)
    again = read_bundle(bundle.folder)
    assert again == bundle
    verify_bundle(again)


def test_content_decides_the_name(tmp_path):
    """Another byte or another path gives another bundle; the old one stays."""
    one = _make_bundle(tmp_path)
    two = _make_bundle(tmp_path, files={**FILES, "tokenizer.json": b"[]"})
    three = _make_bundle(tmp_path, files={**FILES, "extra": b""})
    assert len({one.id, two.id, three.id}) == 3
    verify_bundle(one)


def test_same_content_is_sealed_once(tmp_path):
    """The same files under another key keep the folder and take over the new manifest."""
    first = _make_bundle(tmp_path, key="old")
    inode = (first.folder / "tokenizer.json").stat().st_ino
    second = _make_bundle(tmp_path, key="new")
    assert second.folder == first.folder
    assert (first.folder / "tokenizer.json").stat().st_ino == inode
    assert find_bundle(tmp_path, "new") == second
    assert find_bundle(tmp_path, "old") is None


def test_failure_while_staging_leaves_nothing(tmp_path):
    """An error before the seal removes the half-filled folder."""

    def die_half_way():
        with stage_bundle(tmp_path) as staged:
            (staged / "half").write_bytes(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        die_half_way()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: (f / "leaves/a/model.onnx").write_bytes(b"onnX"), "leaves/a/model.onnx"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda f: (f / "leaves/more").write_bytes(b""), "leaves/more"),
    ],
)
def test_changed_bundle_is_refused_by_file(tmp_path, damage, named):
    """A changed, missing or added file is named, and such a bundle is not found again."""
    bundle = _make_bundle(tmp_path)
    damage(bundle.folder)
    with pytest.raises(BundleBroken, match=named):
        verify_bundle(bundle)
    assert find_bundle(tmp_path, "k") is None


def test_forged_manifest_is_refused(tmp_path):
    """Changing a file and its hash in the manifest does not help: the digest tells."""
    bundle = _make_bundle(tmp_path)
    (bundle.folder / "tokenizer.json").write_bytes(b"forged")
    manifest = {**bundle.manifest, "files": hash_files(bundle.folder)}
    (bundle.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleBroken, match="another digest"):
        verify_bundle(read_bundle(bundle.folder))


@pytest.mark.parametrize("text", [None, "not json", "[]", '{"schema": "livewarden.bundle/v9"}'])
def test_unusable_manifest_is_named(tmp_path, text):
    """A missing, broken or foreign manifest is a clear error."""
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BundleBroken, match=MANIFEST):
        read_bundle(tmp_path)

import hashlib
import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.signature import SIGNATURE, sign_bundle, verify_bundle_signature
from livewarden_export.bundle import (
    MANIFEST,
    SBOM,
    Bundle,
    find_bundle,
    hash_files,
    read_bundle,
    seal_bundle,
    stage_bundle,
    verify_bundle,
)
from livewarden_export.errors import BundleBroken, ExportFailed
from livewarden_export.sbom import write_sbom

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
    files = {**FILES, SBOM: (bundle.folder / SBOM).read_bytes()}
    lines = [f"{name} {hashlib.sha256(files[name]).hexdigest()}" for name in sorted(files)]
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


def test_full_disk_is_one_clear_error(tmp_path):
    """No space left half way: the folder is named, and only whole bundles are there."""
    kept = _make_bundle(tmp_path)

    def fill_disk():
        with stage_bundle(tmp_path) as staged:
            (staged / "half").write_bytes(b"x")
            raise OSError(28, "No space left on device")

    with pytest.raises(ExportFailed, match=r"No space left on device; nothing was exported"):
        fill_disk()
    assert [path.name for path in tmp_path.iterdir()] == [kept.id]


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


def test_bill_of_materials_is_valid_and_the_same_each_time(tmp_path):
    """CycloneDX 1.6 by its own schema, naming sources, tools and files, with no time in it."""
    facts = {"sources": {"torch-model": "1.0 sha256:ab"}, "tools": {"numpy": "1.26.4"}}
    for name in ("a", "b"):
        write_sbom(tmp_path / name, facts, {"leaves/x/model.onnx": "0" * 64})
    text = (tmp_path / "a").read_text()
    assert text == (tmp_path / "b").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {part["name"] for part in json.loads(text)["components"]}
    assert names == {"torch-model", "numpy", "leaves/x/model.onnx"}


def test_manifest_says_where_it_was_made(tmp_path):
    """Commit, processor and GPUs stand in the manifest and do not change the digest."""
    manifest = _make_bundle(tmp_path).manifest
    assert {"git", "cpu", "gpu"} <= manifest.keys()
    assert manifest["cpu"]["cores"] >= 1


def test_signature_holds_for_one_key_and_one_content(tmp_path, keys):
    """Signed by our key it passes; unsigned, by another key, or with a manifest edited it fails."""
    bundle = _make_bundle(tmp_path)
    with pytest.raises(BundleInvalid, match=r"signature\.json: is missing"):
        verify_bundle_signature(bundle.folder, keys / "release.pub")
    sign_bundle(bundle.folder, keys / "release.key")
    verify_bundle(bundle)
    verify_bundle_signature(bundle.folder, keys / "release.pub")
    with pytest.raises(BundleInvalid, match=r"signature\.json: is no signature of this bundle"):
        verify_bundle_signature(bundle.folder, keys / "other.pub")
    path = bundle.folder / MANIFEST
    path.write_text(path.read_text().replace('"key": "k"', '"key": "x"'))
    with pytest.raises(BundleInvalid, match=r"manifest\.json"):
        verify_bundle_signature(bundle.folder, keys / "release.pub")


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"dsseEnvelope": {}}'])
def test_broken_signature_is_refused(tmp_path, keys, content):
    """Whatever stands in the signature's file, the answer is one clear error."""
    bundle = _make_bundle(tmp_path)
    (bundle.folder / SIGNATURE).write_text(content)
    with pytest.raises(BundleInvalid, match="is no signature"):
        verify_bundle_signature(bundle.folder, keys / "release.pub")


def test_unusable_key_is_named(tmp_path, keys):
    """A public key cannot sign, and nothing is left of the try."""
    bundle = _make_bundle(tmp_path)
    with pytest.raises(BundleInvalid, match=r"release\.pub: cannot sign"):
        sign_bundle(bundle.folder, keys / "release.pub")
    assert [path.name for path in tmp_path.iterdir()] == [bundle.id]

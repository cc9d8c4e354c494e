from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from block import ROOT, list_pages, read_blocks
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from link import link_or_copy
from PIL import Image

from livewarden_client.wire import MODERATION
from livewarden_ensemble.bundle import load_bundle, read_pointer
from livewarden_ensemble.server import Server
from livewarden_export.bundle import MANIFEST, SBOM, Bundle, read_bundle, seal_bundle, stage_bundle

REPOSITORY = ROOT / "model_repository"
# What lies where the documents' commands are typed, beside models and bundles.
CHECKOUT = ("policies", "examples/other-models", "models.yaml", "constraints.txt")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One real server for every block that asks one."""
    if not (REPOSITORY / "moderation" / "live.json").exists():
        pytest.fail("no live bundle: run `make export` first")
    with Server(
        repository=REPOSITORY, grpc_port=0, http_port=0, metrics_port=0, health_port=0
    ) as server:
        yield server


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A small picture of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(noise).resize((640, 480)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle like the live one, that differs in the name of its calibration alone."""
    live = read_bundle(load_bundle(REPOSITORY / MODERATION.name).folder)
    with stage_bundle(tmp_path_factory.mktemp("release")) as staged:
        _link(live.folder, staged, leave_out={MANIFEST, SBOM, "calibration.json"})
        calibration = json.loads((live.folder / "calibration.json").read_bytes())
        (staged / "calibration.json").write_text(json.dumps({**calibration, "id": "another"}))
        facts = {k: v for k, v in live.manifest.items() if k not in {"files", "digest"}}
        return seal_bundle(staged, {**facts, "key": "of the documents"})


@pytest.fixture
def checkout(tmp_path: Path, release: Bundle, jpeg: bytes) -> Path:
    """A copy of a checkout after `make export`, with the files that the documents' commands name.

    Large files are linked where that can be: what a command replaces or deletes is gone here alone.
    """
    folder = tmp_path / "livewarden"
    _link(REPOSITORY, folder / "model_repository", leave_out=set())
    pointer = folder / "model_repository" / "moderation" / "live.json"
    _own(pointer)
    pipeline = REPOSITORY / MODERATION.name
    served = read_pointer(pipeline).list_releases().values()
    for bundle in {release.folder, *((pipeline / one.path).resolve() for one in served)}:
        _link(bundle, folder / "bundles" / bundle.name, leave_out=set())
    for name in CHECKOUT:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    for name in ("my-policy.yaml", "policies/live.yaml"):
        shutil.copy(ROOT / "policies" / "default.yaml", folder / name)
    for name in ("a.jpg", "b.png", "frame1.jpg", "frame2.jpg"):
        (folder / name).write_bytes(jpeg)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for name in ("release", "policy"):
        (folder / f"{name}.key").write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


def _link(source: Path, target: Path, leave_out: set[str]) -> None:
    for path in source.rglob("*"):
        name = path.relative_to(source)
        if path.is_file() and name.as_posix() not in leave_out:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, target / name)


def _own(path: Path) -> None:
    """Make a linked file one of its own, before somebody writes into it."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With -v: what became of every block of the documents."""
    if terminalreporter.config.option.verbose < 1:
        return
    terminalreporter.section("blocks of the documents")
    for page in list_pages():
        for block in read_blocks(page.read_text(), page.relative_to(ROOT).as_posix()):
            what = f"{block.kind}: {block.note}" if block.kind else "run here"
            terminalreporter.write_line(f"{block!s:<36} {block.language or '?':<8} {what}")

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from livewarden_client.wire import LABELS, LEAVES, MODALITIES
from livewarden_ensemble.bundle import POINTER, load_bundle
from livewarden_ensemble.errors import BundleInvalid

POINTS: dict[str, Any] = {
    "bundle": "sha256:ab",
    "path": "../../bundles/ab",
    "versions": {leaf.name: str(index) for index, leaf in enumerate(LEAVES, start=1)},
}
CALIBRATION: dict[str, Any] = {
    "id": "c-1",
    "supported": {"visual": [LABELS[4], LABELS[0]], "chat": [LABELS[7], LABELS[0]]},
    "temperature": 1.5,
}


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """The folder of the model `moderation`, with a pointer to a bundle beside it."""
    pipeline = tmp_path / "repository" / "moderation"
    pipeline.mkdir(parents=True)
    bundle = tmp_path / "bundles" / "ab"
    bundle.mkdir(parents=True)
    (pipeline / POINTER).write_text(json.dumps(POINTS))
    (bundle / "calibration.json").write_text(json.dumps(CALIBRATION))
    (bundle / "tokenizer.json").write_text("{}")
    return pipeline


def test_a_bundle_is_found_through_its_pointer(pipeline: Path) -> None:
    """The pointer's path is relative to the pipeline's own folder."""
    bundle = load_bundle(pipeline)
    assert bundle.folder == pipeline.parents[1] / "bundles" / "ab"
    assert bundle.tokenizer == bundle.folder / "tokenizer.json"
    assert bundle.digest == "sha256:ab"
    assert bundle.versions == POINTS["versions"]
    assert bundle.calibration.id == "c-1"


def test_labels_that_no_modality_speaks_to_are_unsupported(pipeline: Path) -> None:
    """What the calibration leaves out is listed in the order of the taxonomy."""
    bundle = load_bundle(pipeline)
    assert bundle.list_unsupported() == tuple(
        label for index, label in enumerate(LABELS) if index not in {0, 4, 7}
    )


def test_a_calibration_of_nothing_supports_nothing(pipeline: Path) -> None:
    """Empty support is a fact, not an error."""
    file = pipeline.parents[1] / "bundles" / "ab" / "calibration.json"
    file.write_text('{"id":"c-0","supported":{}}')
    assert load_bundle(pipeline).list_unsupported() == LABELS


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bundle": None}, "Expected `str`, got `null` - at `$.bundle`"),
        ({"digest": "x"}, "Object contains unknown field `digest`"),
        (
            {"versions": {"vision_encoder": "1"}},
            "names no version of nsfw_encoder, text_encoder, fusion_classifier",
        ),
        ({"versions": {**POINTS["versions"], "vision_encoder": "new"}}, "matching regex"),
        ({"versions": {**POINTS["versions"], "vision_encoder": "0"}}, "matching regex"),
        ({"versions": {**POINTS["versions"], "vision_encoder": 3}}, "Expected `str`, got `int`"),
    ],
    ids=["null", "unknown", "missing leaves", "no number", "zero", "not a string"],
)
def test_a_pointer_that_cannot_be_followed_is_refused(
    pipeline: Path, change: dict[str, Any], problem: str
) -> None:
    """The message names the pointer's file and what is wrong in it."""
    (pipeline / POINTER).write_text(json.dumps({**POINTS, **change}))
    with pytest.raises(BundleInvalid) as caught:
        load_bundle(pipeline)
    assert str(caught.value).startswith(f"{pipeline / POINTER}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": 4}, "Expected `str`, got `int` - at `$.id`"),
        ({"supported": {"audio": []}}, f"unknown modality 'audio'; known: {MODALITIES[0]}, "),
        ({"supported": {"chat": ["hat"]}}, f"unknown label 'hat'; known: {LABELS[0]}, "),
    ],
    ids=["id", "modality", "label"],
)
def test_a_calibration_of_another_contract_is_refused(
    pipeline: Path, change: dict[str, Any], problem: str
) -> None:
    """A misspelt label must not turn into an unsupported one in silence."""
    file = pipeline.parents[1] / "bundles" / "ab" / "calibration.json"
    file.write_text(json.dumps({**CALIBRATION, **change}))
    with pytest.raises(BundleInvalid) as caught:
        load_bundle(pipeline)
    assert str(caught.value).startswith(f"{file}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"bundle":"\xff"}', b"null"])
def test_files_that_are_not_json_are_refused(pipeline: Path, raw: bytes) -> None:
    """Pointer and calibration are read the same way, and fail the same way."""
    for file in (
        pipeline.parents[1] / "bundles" / "ab" / "calibration.json",
        pipeline / POINTER,
    ):
        file.write_bytes(raw)
        with pytest.raises(BundleInvalid) as caught:
            load_bundle(pipeline)
        assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("name", ["live.json", "calibration.json", "tokenizer.json"])
def test_a_missing_file_is_named_with_what_to_do(pipeline: Path, name: str) -> None:
    """Nothing exported yet: the message says which command does it."""
    [file] = pipeline.parents[1].rglob(name)
    file.unlink()
    with pytest.raises(BundleInvalid, match="livewarden export") as caught:
        load_bundle(pipeline)
    assert str(file) in str(caught.value)

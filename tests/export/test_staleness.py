from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from livewarden_ensemble.probe import STALENESS
from livewarden_export.staleness import compare_facts, find_staleness

THEN = {
    "code": "c",
    "recipes": "r",
    "labels": ["a"],
    "taxonomy": "t1.0",
    "wire_version": 1,
    "tools": {"openvino": "1"},
    "sources": {"weights": "w"},
    "precision": "not compared",
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"code": "d"}, ["the code of the export"]),
        ({"recipes": "s"}, ["models.yaml or the policy that it names"]),
        ({"labels": ["a", "b"], "wire_version": 2}, ["the labels", "the wire contract"]),
        ({"tools": {"openvino": "2"}}, ["openvino"]),
        ({"sources": {"other": "w"}}, ["other", "weights"]),
    ],
)
def test_what_changed_is_named(changed: dict[str, object], told: list[str]):
    """Each part that decides what an export gives is compared, and called by its name."""
    assert list(compare_facts(THEN, {**THEN, **changed})) == told


def test_the_doctor_finds_it():
    """The entry point of the installation leads here."""
    loaded = [entry.load() for entry in entry_points(group=STALENESS)]
    assert loaded == [find_staleness]

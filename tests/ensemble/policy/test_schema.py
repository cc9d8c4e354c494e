from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.policy.schema import build_policy_schema

POLICIES = Path(__file__).parents[3] / "policies"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = build_policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_the_built_one() -> None:
    """policies/policy.schema.json is what the types say; `build_policy_schema` writes it anew."""
    published = json.loads((POLICIES / "policy.schema.json").read_text())
    assert published == build_policy_schema()


def test_the_policy_that_ships_is_valid_and_names_the_schema(
    validator: jsonschema.Draft202012Validator,
) -> None:
    """Editors find the schema by the file's first line, and find nothing wrong."""
    path = POLICIES / "default.yaml"
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=policy.schema.json\n")
    assert list(validator.iter_errors(yaml.safe_load(text))) == []
    load_policy(path)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"hate": {"treshold": 1}}},
        {"labels": {"hate": {"thresholds": {"review": 1.5}}}},
        {"labels": {"hate": {"cooldown": "5"}}},
        {"labels": {"hate": {"dsa": "VIOLENT"}}},
        {"regions": {"XX": {}}},
        {"policy": {"id": "a", "version": "1", "taxonomy": "t9"}},
        {"fail_safe": {"frames": {"on_corrupt": "allow"}}},
    ],
)
def test_the_schema_refuses_what_an_editor_can_see(
    change: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    """Unknown keys, ranges, forms and lists of names are in the schema."""
    good = yaml.safe_load((POLICIES / "default.yaml").read_text())
    assert list(validator.iter_errors({**good, **change}))

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from livewarden_client.wire import ACTIONS, MODALITIES, TEXT_KINDS, VERDICT_SCHEMA
from livewarden_ensemble import schema
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.context import parse_context
from livewarden_ensemble.errors import LeafFailed, MalformedRequest
from livewarden_ensemble.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "client" / "livewarden_client" / "schema"


def read_schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((COMMITTED / name).read_bytes())
    return found


@pytest.fixture
def context_schema() -> Draft202012Validator:
    return Draft202012Validator(read_schema("context.v1.json"))


@pytest.fixture
def verdict_schema() -> Draft202012Validator:
    return Draft202012Validator(read_schema("verdict.v1.json"))


def test_the_committed_files_are_what_the_types_say() -> None:
    """Whoever changes a type regenerates the schemas."""
    rendered = {path.name: text for path, text in schema.render_schemas().items()}
    assert {path.name: path.read_text() for path in COMMITTED.iterdir()} == rendered


@pytest.mark.parametrize("name", ["context.v1.json", "verdict.v1.json"])
def test_each_schema_stands_on_its_own(name: str) -> None:
    """It is valid draft 2020-12, has a name, a title, and a description for each type."""
    found = read_schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["$id"] == f"urn:livewarden:schema:{name.split('.', maxsplit=1)[0]}:v1"
    assert found["title"]
    for definition in found["$defs"].values():
        assert definition["description"]
        assert "  " not in definition["description"]


def test_closed_sets_of_words_are_enumerated() -> None:
    """Actions and kinds are enums, maps are objects, the schema's own name is fixed."""
    verdict, context = read_schema("verdict.v1.json")["$defs"], read_schema("context.v1.json")
    assert set(verdict["Verdict"]["properties"]["action"]["enum"]) == set(ACTIONS)
    assert verdict["Verdict"]["properties"]["schema"] == {"const": VERDICT_SCHEMA}
    per_modality = verdict["LabelVerdict"]["properties"]["per_modality"]
    assert per_modality == {"type": "object", "additionalProperties": {"type": "number"}}
    kinds = context["$defs"]["TextInfo"]["properties"]["kind"]["enum"]
    assert set(kinds) == set(TEXT_KINDS)


def test_real_verdicts_validate(
    verdict_schema: Draft202012Validator,
    make_pipeline: Callable[..., Pipeline],
    make_clip: Callable[..., RawClip],
    leaves: Any,
) -> None:
    """Allowed, blocked, degraded, failed and empty: every verdict keeps to the schema."""
    clips = [
        make_clip([(0, 0, 0)], ["good evening"], request_id="r"),
        make_clip([(255, 0, 0), b"junk"], [(kind, "attack") for kind in TEXT_KINDS]),
        make_clip([(255, 0, 0)], frame_ts_ms=[5], pass_through={"a": [None]}, state="s"),
        make_clip([], [b"\xff"], deadline_ms=1_750_000_000_000),
        make_clip(),
    ]
    outcomes = make_pipeline().moderate(clips)
    leaves.spoil["fusion_classifier"] = lambda call, _: LeafFailed(call.model.name, "gone")
    outcomes += make_pipeline().moderate(clips)
    seen = set()
    for outcome in outcomes:
        verdict = json.loads(msgspec.json.encode(outcome.verdict))
        verdict_schema.validate(verdict)
        seen |= {verdict["action"], *(key for one in verdict["labels"] for key in one)}
    assert seen >= {"allow", "review", "block", "per_modality"}


@pytest.mark.parametrize(
    "change",
    [
        {"action": "permit"},
        {"schema": "livewarden.verdict/v2"},
        {"labels": [{"id": "hate", "score": None}]},
        {"reasons": [{"code": "x", "action": "review"}]},
        {"coverage": {}},
        {"timings_ms": {"total": "3"}},
    ],
)
def test_a_verdict_of_another_form_does_not_validate(
    verdict_schema: Draft202012Validator,
    make_pipeline: Callable[..., Pipeline],
    make_clip: Callable[..., RawClip],
    change: dict[str, Any],
) -> None:
    """The schema is no rubber stamp."""
    [outcome] = make_pipeline().moderate([make_clip([(0, 0, 0)])])
    good = json.loads(msgspec.json.encode(outcome.verdict))
    assert verdict_schema.is_valid(good)
    assert not verdict_schema.is_valid({**good, **change})


@pytest.mark.parametrize(
    "context",
    [
        {},
        {
            "request_id": "r",
            "clip_seq": 2**53,
            "frame_ts_ms": [0, 1],
            "texts": [{"kind": kind, "ts_ms": 0, "author_ref": None} for kind in TEXT_KINDS],
            "region": "DE",
            "deadline_ms": 1_750_000_000_000,
            "state": None,
            "options": {"explain": False},
            "pass_through": [{"any": 1.5}],
        },
        {"deadlin_ms": 1_750_000_000_000},
        {"deadline_ms": 800},
        {"clip_seq": -1},
        {"clip_seq": True},
        {"texts": [{}]},
        {"texts": [{"kind": MODALITIES[0]}]},
        {"texts": [{"kind": "chat"}] * 65},
        {"region": "D E"},
        {"region": "DE\n"},
        {"request_id": "x" * 257},
        {"options": None},
        [],
    ],
)
def test_the_schema_takes_the_contexts_that_the_parser_takes(
    context_schema: Draft202012Validator, context: Any
) -> None:
    """A caller who checks against the schema is neither refused nor surprised."""
    try:
        parse_context(json.dumps(context).encode())
    except MalformedRequest:
        parses = False
    else:
        parses = True
    assert context_schema.is_valid(context) is parses


def test_check_names_the_stale_file_and_write_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--check` exits 1 for a missing or changed file; after `--write` it exits 0."""
    monkeypatch.setattr(schema, "FOLDER", tmp_path / "schema")
    run = CliRunner().invoke
    missing = run(schema.main, ["--check"])
    assert missing.exit_code == 1
    assert "context.v1.json, verdict.v1.json" in missing.output
    assert run(schema.main, ["--write"]).exit_code == 0
    assert run(schema.main, ["--check"]).exit_code == 0
    file = tmp_path / "schema" / "verdict.v1.json"
    file.write_text(file.read_text().replace("integer", "number", 1))
    stale = run(schema.main, ["--check"])
    assert stale.exit_code == 1
    assert "verdict.v1.json" in stale.output
    assert "context.v1.json" not in stale.output
    assert "--write" in stale.output
    assert run(schema.main, []).exit_code == 2

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from livewarden_client import verdict as verdict_module
from livewarden_client import wire as wire_module
from livewarden_client.wire import (
    ACTIONS,
    LABELS,
    MAX_CONTEXT_BYTES,
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    MAX_MS,
    MAX_TAG_CHARS,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    MIN_UNIX_MS,
    MODERATION,
    VERDICT_SCHEMA,
    WIRE_VERSION,
)
from livewarden_ensemble.context import Context, Options, TextInfo, parse_context
from livewarden_ensemble.coverage import FrameState, TextState

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
KINDS = [kind for kind in vars(verdict_module).values() if is_dataclass(kind)]
NAMES = (
    *(tensor.name for tensor in (*MODERATION.inputs, *MODERATION.outputs)),
    *Context.__struct_fields__,
    *TextInfo.__struct_fields__,
    *Options.__struct_fields__,
    *(field.name for kind in KINDS for field in fields(kind)),
    *ACTIONS,
    VERDICT_SCHEMA,
)


SCHEMAS = Path(wire_module.__file__).parent / "schema"
TAG, HEX = "^[A-Za-z0-9_.:/-]*$(?!\\n)", "^[0-9a-f]*$(?!\\n)"
DEFINITIONS = {
    name: definition
    for file in ("context.v1.json", "verdict.v1.json")
    for name, definition in json.loads((SCHEMAS / file).read_text())["$defs"].items()
}


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_page_names_every_tensor_and_field(name: str) -> None:
    """Whatever goes over the wire stands in docs/wire.md, as code."""
    assert re.search(rf"`{re.escape(name)}(\[\])?`", PAGE)


def test_page_gives_the_real_limits() -> None:
    """Limits in the page are those of the contract."""
    assert PAGE.startswith(f"# Wire version {WIRE_VERSION}\n")
    for said in (
        f"at most {MAX_FRAMES} of {MAX_FRAME_BYTES // 2**20} MiB each",
        f"at most {MAX_TEXTS} of {MAX_TEXT_BYTES // 2**10} KiB each",
        f"at most {MAX_CONTEXT_BYTES // 2**10} KiB; required",
        f"[1, {len(LABELS)}]",
        f"up to {MODERATION.max_batch} clips",
    ):
        assert said in PAGE


def test_example_is_a_request_that_the_server_reads() -> None:
    """The curl example holds valid JSON, tensors of the contract and a context that parses."""
    (body,) = re.findall(r"<!-- example: request -->.*?-d '(.*?)'\n```", PAGE, re.DOTALL)
    request = json.loads(body)
    for tensor in request["inputs"]:
        assert tensor["datatype"] == MODERATION.input(tensor["name"]).dtype
        assert tensor["shape"] == [1, len(tensor["data"])]
    assert [MODERATION.output(tensor["name"]).name for tensor in request["outputs"]] == ["verdict"]
    inputs = {tensor["name"]: tensor["data"] for tensor in request["inputs"]}
    context = parse_context(inputs["context"][0].encode())
    assert [text.kind for text in context.texts] == ["title", "chat"]
    assert len(inputs["texts"]) == len(context.texts)


def say_type(schema: dict[str, Any]) -> str:  # noqa: C901, PLR0911 - a case for each form
    """Say in the page's words what values `schema` accepts."""
    match schema:
        case {"$ref": ref}:
            return ref.rpartition("/")[2]
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return "action" if set(values) == set(ACTIONS) else ", ".join(f"`{v}`" for v in values)
        case {"anyOf": [inner, {"type": "null"}]}:
            return f"{say_type(inner)} or null"
        case {"type": "array", "prefixItems": items}:
            return f"[{', '.join(say_type(item) for item in items)}]"
        case {"type": "array", "items": item}:
            most = f", {schema['maxItems']}" if "maxItems" in schema else ""
            return f"array of {say_type(item)}{most}"
        case {"type": "object", "additionalProperties": item}:
            return f"map of {say_type(item)}"
        case {"type": "string", "pattern": pattern, "maxLength": most}:
            assert most == MAX_TAG_CHARS
            return {TAG: "tag", HEX: f"hex, {most}"}[pattern]
        case {"type": "integer", "minimum": least, "maximum": most}:
            known = {(MIN_UNIX_MS, MAX_MS): "Unix ms", (0, MAX_MS): "stream ms"}
            return known.get((least, most)) or f"integer, {least} to 2^{most.bit_length() - 1}"
        case {"type": kind}:
            return f"{kind}, {schema['maxLength']}" if "maxLength" in schema else kind
    return "JSON"


def say_default(name: str, field: str) -> str:
    """Say what an absent field means; empty where it is never absent."""
    definition = DEFINITIONS[name]
    schema = definition["properties"][field]
    if field in definition["required"] or "const" in schema:
        return ""
    if "default" not in schema or isinstance(schema["default"], dict):
        return "`{}`"
    return f"`{json.dumps(schema['default'])}`"


def read_tables() -> dict[str, dict[str, tuple[str, str, str]]]:
    """Read every table whose first column is a field: {object: {field: (type, default, what)}}."""
    tables: dict[str, dict[str, tuple[str, str, str]]] = {}
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        rows = [re.split(r" *\| *", row) for row in section.splitlines() if row.startswith("| `")]
        if title in DEFINITIONS:
            tables[title] = {row[1].strip("`"): (row[2], row[3], row[4]) for row in rows}
    return tables


@pytest.mark.parametrize("name", DEFINITIONS)
def test_page_specifies_every_field(name: str) -> None:
    """Each object of the schemas has its table: every field, its type, range and default."""
    table = read_tables()[name]
    assert list(table) == list(DEFINITIONS[name]["properties"])
    for field, schema in DEFINITIONS[name]["properties"].items():
        said_type, said_default, what = table[field]
        assert said_type == say_type(schema), field
        assert said_default == say_default(name, field), field
        assert what, field


def test_page_gives_the_ranges_of_its_types() -> None:
    """The page's own words for types have the limits of the contract."""
    assert f"at most {MAX_TAG_CHARS} of `A-Z a-z 0-9 _ . : / -`" in PAGE
    assert f"{MIN_UNIX_MS} to {MAX_MS}" in PAGE
    assert f"0 to {MAX_MS}" in PAGE
    for state in (*FrameState, *TextState):
        assert f"`{state}`" in PAGE


def test_links_lead_to_files() -> None:
    """What the page refers to is in the repository."""
    folder = Path(__file__).parents[2] / "docs"
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in link]
    assert len(links) >= 4
    assert [link for link in links if not (folder / link).exists()] == []

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from livewarden_client import verdict as verdict_module
from livewarden_client.wire import (
    ACTIONS,
    LABELS,
    MAX_CONTEXT_BYTES,
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    MODERATION,
    VERDICT_SCHEMA,
    WIRE_VERSION,
)
from livewarden_ensemble.context import Context, Options, TextInfo, parse_context

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


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_page_names_every_tensor_and_field(name: str) -> None:
    """Whatever goes over the wire stands in docs/wire.md, as code."""
    assert re.search(rf"`{re.escape(name)}(\[\])?`", PAGE)


def test_page_names_no_other_context_field() -> None:
    """The page's table of the context has exactly the fields that the server accepts."""
    table = PAGE.split("## Context")[1].split("## Verdict")[0]
    first_cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(Context.__struct_fields__)


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

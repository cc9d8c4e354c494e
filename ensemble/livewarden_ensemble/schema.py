"""The JSON Schemas of context and verdict, generated from the types that the server uses.

The files lie in the client's package, for callers in any language. Regenerate them with
`python -m livewarden_ensemble.schema --write`.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Final

import click
import msgspec

import livewarden_client
from livewarden_client.verdict import Verdict
from livewarden_client.wire import VERDICT_SCHEMA
from livewarden_ensemble.context import Context

FOLDER: Final = Path(livewarden_client.__file__).parent / "schema"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def build_schemas() -> dict[str, dict[str, Any]]:
    """Build each schema, by the name of its file."""
    context = _describe(Context, "context", "The context of a clip, as the caller sends it")
    verdict = _describe(Verdict, "verdict", "The verdict on a clip, as the server sends it")
    verdict["$defs"]["Verdict"]["properties"]["schema"] = {"const": VERDICT_SCHEMA}
    return {"context.v1.json": context, "verdict.v1.json": verdict}


def _describe(kind: type, name: str, title: str) -> dict[str, Any]:
    body = msgspec.json.schema(kind)
    for definition in body["$defs"].values():
        # Docstrings come with the indentation and the line ends of their source.
        definition["description"] = " ".join(inspect.cleandoc(definition["description"]).split())
    return {
        "$schema": _DIALECT,
        "$id": f"urn:livewarden:schema:{name}:v1",
        "title": title,
        **body,
    }


def render_schemas() -> dict[Path, str]:
    """Render each schema as it is committed, by its path."""
    return {
        FOLDER / name: json.dumps(schema, indent=2) + "\n"
        for name, schema in build_schemas().items()
    }


@click.command(
    epilog="Example: python -m livewarden_ensemble.schema --check",
)
@click.option(
    "--write/--check",
    "write",
    required=True,
    help="Write the schema files, or fail where one of them is not what --write would write.",
)
def main(write: bool) -> None:  # noqa: FBT001 - click's flag
    """Generate the JSON Schemas of context and verdict from their Python types."""
    if write:
        FOLDER.mkdir(exist_ok=True)
        for path, text in render_schemas().items():
            path.write_text(text, encoding="utf-8")
        return
    stale = [
        path.name
        for path, text in render_schemas().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if stale:
        raise click.ClickException(
            f"{', '.join(stale)} in {FOLDER} is not up to date; "
            "run `python -m livewarden_ensemble.schema --write`"
        )


if __name__ == "__main__":
    main()

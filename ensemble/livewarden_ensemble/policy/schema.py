"""The JSON Schema of policy files, for editors; made from the document's types."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from livewarden_client.wire import LABELS, TAXONOMY_VERSION
from livewarden_ensemble.dsa_table import CATEGORIES
from livewarden_ensemble.policy.document import Document
from livewarden_ensemble.policy.region import REGIONS

SCHEMA_URI: Final = "https://json-schema.org/draft/2020-12/schema"
# What keeps a last newline out is no regular expression of JavaScript's.
_NO_NEWLINE: Final = r"(?!\n)"


def build_policy_schema() -> dict[str, Any]:
    """Build the schema of policy files: what an editor needs to check and to complete them.

    It accepts what `load_policy` reads, but for what one key says about another.
    """
    schema: dict[str, Any] = msgspec.json.schema(Document)
    parts = schema["$defs"]
    document = parts["Document"]["properties"]
    for owner in (parts["Document"], parts["LayerPart"]):
        labels = _find_mapping(owner["properties"]["labels"])
        # Editors complete from the enumeration; aliases are names that only the file knows.
        labels["propertyNames"] = {"anyOf": [{"enum": list(LABELS)}, labels["propertyNames"]]}
    _find_mapping(document["regions"])["propertyNames"] = {"enum": sorted(REGIONS)}
    parts["Header"]["properties"]["taxonomy"]["enum"] = [TAXONOMY_VERSION]
    dsa = parts["LabelPart"]["properties"]["dsa"]
    for option in dsa["anyOf"]:
        if option.get("type") == "string":
            option.clear()
            option["enum"] = list(CATEGORIES)
    _strip(schema)
    return {"$schema": SCHEMA_URI, "title": "Livewarden policy", **schema}


def _find_mapping(schema: dict[str, Any]) -> dict[str, Any]:
    options = schema.get("anyOf", [schema])
    return next(option for option in options if option.get("type") == "object")


def _strip(value: Any) -> None:
    """Take out what only Python's regular expressions need."""
    if isinstance(value, dict):
        if isinstance(pattern := value.get("pattern"), str):
            value["pattern"] = pattern.removesuffix(_NO_NEWLINE)
        for inner in value.values():
            _strip(inner)
    elif isinstance(value, list):
        for inner in value:
            _strip(inner)

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import service_pb2

PROTO = (Path(__file__).parents[2] / "examples" / "node" / "kserve.proto").read_text()
DESCRIPTOR = service_pb2.DESCRIPTOR
SCALARS = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
}
MESSAGES = re.findall(r"^message (\w+) ", PROTO, re.MULTILINE)
CALLS = re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\)", PROTO)


def render(message: Any, indent: str = "") -> str:
    """Write the definition of `message` in proto3, with everything that is inside it."""
    inner = indent + "  "
    nested = [one for one in message.nested_types if not one.GetOptions().map_entry]
    parts = [render(one, inner) for one in nested]
    real = [one for one in message.oneofs if not one.name.startswith("_")]
    for oneof in real:
        fields = "".join(f"{inner}  {render_field(field)}\n" for field in oneof.fields)
        parts.append(f"{inner}oneof {oneof.name} {{\n{fields}{inner}}}\n")
    parts += [
        f"{inner}{render_field(field)}\n"
        for field in message.fields
        if field.containing_oneof not in real
    ]
    return f"{indent}message {message.name} {{\n{''.join(parts)}{indent}}}\n"


def render_field(field: Any) -> str:
    kind = SCALARS.get(field.type) or field.message_type.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        kind = f"map<{SCALARS[key.type]}, {SCALARS.get(value.type) or value.message_type.name}>"
    elif field.is_repeated:
        kind = f"repeated {kind}"
    return f"{kind} {field.name} = {field.number};"


@pytest.mark.parametrize("name", MESSAGES)
def test_message_is_that_of_the_protocol(name: str) -> None:
    """Names, numbers and types are those that tritonclient was generated from."""
    assert render(DESCRIPTOR.message_types_by_name[name]) in PROTO


def test_calls_are_those_of_the_protocol() -> None:
    """The service has its real name, and each call the types of the protocol."""
    assert f"package {DESCRIPTOR.package};" in PROTO
    (service,) = DESCRIPTOR.services_by_name.values()
    assert f"service {service.name} {{" in PROTO
    assert CALLS
    for name, asked, answered in CALLS:
        method = service.methods_by_name[name]
        assert (method.input_type.name, method.output_type.name) == (asked, answered)


def test_every_message_that_is_named_is_defined() -> None:
    """The file stands for itself: nothing is imported, nothing is missing."""
    assert "import" not in PROTO
    used = {name for call in CALLS for name in call[1:]}
    used |= set(re.findall(r"(?:map<string, |repeated |^ +)([A-Z]\w+)", PROTO, re.MULTILINE))
    assert used - set(re.findall(r"message (\w+)", PROTO)) == set()

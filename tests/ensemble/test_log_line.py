from __future__ import annotations

import json

import pytest

from livewarden_ensemble.log_line import format_line, format_notice
from livewarden_ensemble.supervisor import Cause, Notice, Phase
from livewarden_ensemble.trace import read_trace

HEAD = "W1123 10:14:33.393084 1485 pb_stub.cc:405] "
CUT = "the record of a clip was cut"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (HEAD + '"a \\"b\\"\\nc"', {"level": "warning", "message": 'a "b"\nc', "event": "log"}),
        (HEAD + "plain", {"message": "plain", "source": "pb_stub.cc:405"}),
        ("no head at all", {"level": "info", "message": "no head at all"}),
        (HEAD + json.dumps('{"event": "clip", "action": "block"}'), {"action": "block"}),
        (HEAD + json.dumps('{"event": "clip", "acti'), {"event": "log", "level": "warning"}),
        (HEAD + json.dumps('{"event": "clip", "i": "mine')[:-1], {"message": CUT}),
        (HEAD + '"broken \\', {"message": "broken \\"}),
        ("", {"message": ""}),
    ],
)
def test_any_line_becomes_one_object(line: str, fields: dict):
    """Triton's head is taken apart, a clip's record taken over, anything else kept as it is."""
    written = format_line(line)
    assert "\n" not in written
    read = json.loads(written)
    assert {key: read.get(key) for key in fields} == fields
    assert read["time"].endswith("+00:00")


def test_a_notice_says_what_ailed_the_server():
    """Phase, cause and sentence; a server that is well has the level info."""
    sick = json.loads(format_notice(Notice(Phase.HEALING, "leaf died", Cause.PROCESS)))
    assert (sick["phase"], sick["cause"], sick["level"]) == ("healing", "process", "warning")
    assert json.loads(format_notice(Notice(Phase.READY)))["level"] == "info"


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"traceparent": PARENT, "other": "x"}, {"traceparent": PARENT}),
        (
            {"Traceparent": PARENT, "TraceState": "k=v"},
            {"traceparent": PARENT, "tracestate": "k=v"},
        ),
        ({"traceparent": PARENT, "tracestate": "k" * 513}, {"traceparent": PARENT}),
        ({"traceparent": 7}, {}),
        ({"traceparent": "00-words of a caller-b-01", "tracestate": "k=v"}, {}),
        ({"traceparent": PARENT + "\n"}, {}),
        ({"tracestate": "k=v"}, {}),
        ("[]", {}),
        ("", {}),
        ("no json", {}),
    ],
)
def test_trace_context_is_found_among_parameters(parameters: str | dict, found: dict):
    """Header names in any case; nothing else, and nothing that has not the standard's form."""
    given = parameters if isinstance(parameters, str) else json.dumps(parameters)
    assert read_trace(given) == found

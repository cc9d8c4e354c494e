from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client import Verdict, verdict_to_json
from livewarden_client.errors import ServerError
from livewarden_client.verdict import (
    Coverage,
    Evidence,
    LabelVerdict,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Reason,
    Thresholds,
)
from livewarden_client.verdict_json import decode_verdict
from livewarden_client.wire import ACTIONS

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**53)
ACTION = st.sampled_from(ACTIONS)


def tuples_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=3).map(tuple)


MODALITY = st.builds(
    ModalityCoverage,
    COUNTS,
    COUNTS,
    COUNTS,
    st.dictionaries(NAMES, tuples_of(COUNTS), max_size=2),
)
VERDICTS = st.builds(
    Verdict,
    request_id=NAMES,
    action=ACTION,
    reasons=tuples_of(st.builds(Reason, NAMES, ACTION, NAMES, st.none() | NAMES)),
    labels=tuples_of(
        st.builds(
            LabelVerdict,
            NAMES,
            FLOATS,
            ACTION,
            st.builds(Thresholds, FLOATS, FLOATS, FLOATS),
            st.dictionaries(NAMES, FLOATS, max_size=2),
            st.booleans(),
        )
    ),
    evidence=tuples_of(
        st.builds(
            Evidence,
            NAMES,
            NAMES,
            NAMES,
            FLOATS,
            NAMES,
            st.none() | COUNTS,
            st.none() | st.tuples(COUNTS, COUNTS),
        )
    ),
    coverage=st.builds(
        Coverage,
        MODALITY,
        MODALITY,
        tuples_of(NAMES),
        st.dictionaries(NAMES, NAMES, max_size=2),
        tuples_of(NAMES),
        st.booleans(),
    ),
    provenance=st.builds(
        Provenance,
        NAMES,
        st.dictionaries(NAMES, NAMES, max_size=2),
        NAMES,
        st.builds(PolicyRef, NAMES, NAMES, NAMES, tuples_of(NAMES)),
        NAMES,
        COUNTS,
        NAMES,
    ),
    timings_ms=st.dictionaries(NAMES, FLOATS, max_size=2),
    stream_id=NAMES,
    clip_seq=COUNTS,
    nonce=NAMES,
    label=st.none() | NAMES,
    state=st.none() | NAMES,
    pass_through=st.none() | NAMES | st.lists(COUNTS, max_size=3),
)


@given(VERDICTS)
def test_what_the_server_encodes_is_decoded_as_it_was(verdict: Verdict) -> None:
    """The server's encoder, then ours back: an equal verdict, tuples and all."""
    assert decode_verdict(msgspec.json.encode(verdict)) == verdict


@given(VERDICTS)
def test_verdict_is_encoded_as_the_server_does(verdict: Verdict) -> None:
    """Our JSON holds the same values under the same names, in the same order, as the server's."""
    ours = json.loads(verdict_to_json(verdict), object_pairs_hook=list)
    theirs = json.loads(msgspec.json.encode(verdict), object_pairs_hook=list)
    assert ours == theirs
    assert decode_verdict(verdict_to_json(verdict, indent=2).encode()) == verdict


def test_fields_of_a_newer_server_are_ignored(verdict: Verdict) -> None:
    """A field that this client does not know changes nothing, on any level."""
    value = json.loads(verdict_to_json(verdict))
    for owner in (value, value["labels"][0], value["coverage"]["frames"]):
        owner["later"] = {"a": [1]}
    assert decode_verdict(json.dumps(value).encode()) == verdict


def test_fields_with_a_default_may_be_left_out(verdict: Verdict) -> None:
    """A server that leaves out what is at its default is understood."""
    value = json.loads(verdict_to_json(verdict))
    del value["state"], value["coverage"]["texts"]["states"], value["evidence"][0]["kind"]
    assert decode_verdict(json.dumps(value).encode()) == verdict


BROKEN: list[tuple[str, list[Any], Any]] = [
    ("$.action: expected one of allow, review, restrict, block", ["action"], "secret"),
    ("$.labels[1].score: expected a number, got a str", ["labels", 1, "score"], "secret"),
    ("$.labels[1].score: expected a number, got null", ["labels", 1, "score"], None),
    ("$.labels[1].score: expected a number, got a bool", ["labels", 1, "score"], True),
    ("$.labels[0].per_modality.*: expected", ["labels", 0, "per_modality", "visual"], "secret"),
    ("$.labels: expected an array, got an object", ["labels"], {}),
    ("$.coverage: expected an object, got an array", ["coverage"], []),
    ("$.timings_ms: expected an object", ["timings_ms"], "secret"),
    ("$.clip_seq: expected an integer, got a bool", ["clip_seq"], True),
    ("$.clip_seq: expected an integer, got a float", ["clip_seq"], 1.0),
    ("$.label: expected a string, got a int", ["label"], 3),
    ("$.evidence[0].span: expected 2 items, got 3", ["evidence", 0, "span"], [1, 2, 3]),
    ("$.coverage.degraded: expected true or false", ["coverage", "degraded"], 1),
    ("schema", ["schema"], "secret/v9"),
]


@pytest.mark.parametrize(("said", "path", "wrong"), BROKEN, ids=[b[0] for b in BROKEN])
def test_broken_verdict_is_a_server_error(
    verdict: Verdict, said: str, path: list[Any], wrong: Any
) -> None:
    """A verdict of a wrong form is never half believed; the error says where, and no value."""
    value = json.loads(verdict_to_json(verdict))
    owner = value
    for step in path[:-1]:
        owner = owner[step]
    owner[path[-1]] = wrong
    with pytest.raises(ServerError) as caught:
        decode_verdict(json.dumps(value).encode())
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_score_that_is_no_number_is_a_server_error(verdict: Verdict, number: str) -> None:
    """Python's JSON reads NaN; a verdict with it is refused, as no comparison with it holds."""
    raw = verdict_to_json(verdict).replace('"score":0.97', f'"score":{number}', 1)
    assert number in raw
    with pytest.raises(ServerError, match="not valid JSON"):
        decode_verdict(raw.encode())


@pytest.mark.parametrize("field", ["request_id", "action", "labels", "coverage", "provenance"])
def test_missing_field_is_a_server_error(verdict: Verdict, field: str) -> None:
    """A verdict without a field that it must have is refused, naming the field."""
    value = json.loads(verdict_to_json(verdict))
    del value[field]
    with pytest.raises(ServerError, match=f"lacks the field '{field}'"):
        decode_verdict(json.dumps(value).encode())


@pytest.mark.parametrize(
    "raw", [b"", b"secret", b"\xff", b"null", b"[]", b'{"a": NaN}', b"[" * 100_000]
)
def test_what_is_no_verdict_is_a_server_error(raw: bytes) -> None:
    """Whatever else a far side answers ends as one typed error, without a word of it."""
    with pytest.raises(ServerError) as caught:
        decode_verdict(raw)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_repr_shows_nothing_that_the_caller_passed_through(verdict: Verdict) -> None:
    """A verdict in a log line must not carry the caller's own content."""
    assert "secret" not in repr(replace(verdict, pass_through={"note": "secret"}))

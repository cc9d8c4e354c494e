from __future__ import annotations

import hashlib
import hmac
import json

from hypothesis import given
from hypothesis import strategies as st

from livewarden_ensemble.audit_chain import (
    MAX_LINE_BYTES,
    START,
    follow,
    read_line,
    seal,
    write_line,
)

KEY = b"k" * 32


def chain_lines(records: list[bytes]) -> list[bytes]:
    lines, chain = [], START
    for record in records:
        chain = seal(record, chain, KEY)
        lines.append(write_line(record, chain))
    return lines


RECORDS = st.lists(st.dictionaries(st.text(), st.integers()), min_size=1, max_size=6).map(
    lambda bodies: [json.dumps(body).encode() for body in bodies]
)


@given(RECORDS)
def test_chain_is_what_its_definition_says(records: list[bytes]) -> None:
    """Each seal is HMAC-SHA256 over the seal before and the record; each line is JSON."""
    lines = chain_lines(records)
    previous = "0" * 64
    for record, line in zip(records, lines, strict=True):
        previous = hmac.new(KEY, previous.encode() + record, hashlib.sha256).hexdigest()
        assert json.loads(line) == {"chain": previous, "record": json.loads(record)}


@given(RECORDS)
def test_following_gives_back_every_record(records: list[bytes]) -> None:
    """A whole chain is followed to its end, and the ends of its lines add up."""
    lines = chain_lines(records)
    links = list(follow(lines, START, KEY, start=7))
    assert [link.record for link in links] == records
    assert links[-1].end == 7 + sum(map(len, lines))


@given(RECORDS, st.data())
def test_following_stops_before_the_first_change(records: list[bytes], data: st.DataObject) -> None:
    """Whatever byte is changed, the links end before the line that holds it."""
    lines = chain_lines(records)
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[number]) - 1))
    changed = bytearray(lines[number])
    changed[place] ^= data.draw(st.integers(1, 255))
    lines[number] = bytes(changed)
    assert len(list(follow(lines, START, KEY))) == number


@given(RECORDS, st.data())
def test_following_stops_where_lines_are_missing(records: list[bytes], data: st.DataObject) -> None:
    """Without one of its lines, a chain ends where that line was."""
    lines = chain_lines(records)
    number = data.draw(st.integers(0, len(lines) - 1))
    del lines[number]
    assert len(list(follow(lines, START, KEY))) == number


def test_other_key_or_other_beginning_gives_nothing() -> None:
    """A chain can be followed only with its key, and from its own beginning."""
    lines = chain_lines([b"{}", b"{}"])
    assert list(follow(lines, START, b"x" * 32)) == []
    assert list(follow(lines, "1" * 64, KEY)) == []


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(line: bytes) -> None:
    """What is no line of ours is None, never an exception."""
    assert read_line(line) is None


def test_endless_line_is_not_ours() -> None:
    """A line longer than the limit is refused, however well formed."""
    record = b'"' + b"x" * MAX_LINE_BYTES + b'"'
    assert read_line(write_line(record, seal(record, START, KEY))) is None

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.wire import LABELS
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.state_token import (
    MAC_BYTES,
    MAX_TOKEN,
    StateKeys,
    open_state,
    parse_keys,
    read_keys,
    seal_state,
)
from livewarden_ensemble.stream_state import FRESH, WINDOW, LabelMemory, StreamState

KEYS = parse_keys("a:" + "11" * 32)
MS = st.integers(0, 2**53)
BITS = st.integers(0, 2**WINDOW - 1)
MEMORIES = st.builds(
    LabelMemory,
    level=st.integers(0, 3),
    peak=st.floats(0, 1),
    confirming=BITS,
    repeating=BITS,
    held_ms=st.tuples(MS, MS, MS),
    violations=st.integers(0, 2**31),
    violated_ms=MS,
    offended_ms=MS,
)
PLAIN = st.builds(
    StreamState,
    seq=st.integers(-1, 2**53),
    ms=MS,
    clips=st.lists(st.tuples(MS, MS), max_size=WINDOW).map(tuple),
    labels=st.dictionaries(st.sampled_from(LABELS), MEMORIES),
)
STATES = st.builds(
    lambda state, shadows: StreamState(state.seq, state.ms, state.clips, state.labels, shadows),
    PLAIN,
    st.dictionaries(st.text(max_size=20), PLAIN, max_size=2),
)
STREAMS = st.text(min_size=1, max_size=30)


def full_state() -> StreamState:
    """The largest state that there can be, with values that compress badly."""
    memory = {
        label: LabelMemory(3, 0.123456789 + i / 97, 2**31 + i, 2**30 + i * 7919, (
            1_700_000_000_000 + i, 1_700_000_000_001 + i * 31, 1_700_000_000_002 + i * 17),
            1000 + i, 1_700_000_000_003 + i, 1_700_000_000_004 + i)
        for i, label in enumerate(LABELS)
    }  # fmt: skip
    clips = tuple((i * 3, i * 1_999) for i in range(WINDOW))
    plain = StreamState(2**40, 1_700_000_000_000, clips, memory)
    shadows = {f"{'x' * 64}@{'1' * 63}{n}": plain for n in range(2)}
    return StreamState(2**40, 1_700_000_000_000, clips, memory, shadows)


@given(state=STATES, stream_id=STREAMS)
def test_what_is_sealed_is_opened(state: StreamState, stream_id: str) -> None:
    """A token gives back the very state, for its stream."""
    token = seal_state(state, stream_id, KEYS)
    assert token is not None
    assert open_state(token, stream_id, KEYS) == state


def test_the_largest_state_fits() -> None:
    """All labels, all clips and two shadows stay far within what a context may carry."""
    token = seal_state(full_state(), "s" * 256, KEYS)
    assert token is not None
    assert len(token) < MAX_TOKEN // 2
    assert open_state(token, "s" * 256, KEYS) == full_state()


def test_a_small_state_is_small() -> None:
    """A stream of a few quiet clips travels in under 150 characters."""
    state = StreamState(5, 1_700_000_000_000, tuple((i, i * 2000) for i in range(6)))
    token = seal_state(state, "s", KEYS)
    assert token is not None
    assert len(token) < 150


@given(data=st.data(), state=STATES)
def test_no_flipped_bit_is_accepted(data: st.DataObject, state: StreamState) -> None:
    """Any one bit that changes makes the token refused, with a fresh state."""
    token = seal_state(state, "s", KEYS)
    assert token is not None
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    opened = open_state(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode(), "s", KEYS)
    assert opened.fault is not None
    assert (opened.seq, opened.labels) == (-1, {})


@given(st.text(max_size=200) | st.binary(max_size=200).map(
    lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()))  # fmt: skip
def test_no_foreign_text_is_accepted_or_raises(text: str) -> None:
    """Whatever a caller sends as state, it is refused, and nothing breaks."""
    assert open_state(text, "s", KEYS).fault is not None


def test_every_fault() -> None:
    """Each way to be refused has its name."""
    token = seal_state(full_state(), "s", KEYS)
    assert token is not None
    other = parse_keys("a:" + "22" * 32)
    unknown = parse_keys("b:" + "11" * 32)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    newer = base64.urlsafe_b64encode(b"\2" + raw[1:]).rstrip(b"=").decode()
    assert open_state(token, "s", other).fault == "forged"
    assert open_state(token, "s", unknown).fault == "unknown_key"
    assert open_state(token, "t", KEYS).fault == "foreign"
    assert open_state(newer, "s", KEYS).fault == "version"
    assert open_state(token[:30], "s", KEYS).fault == "malformed"
    assert open_state(token + "=", "s", KEYS).fault == "malformed"
    assert open_state("", "s", KEYS).fault == "malformed"
    assert open_state("A" * (MAX_TOKEN + 1), "s", KEYS).fault == "too_large"


def test_a_token_has_one_spelling() -> None:
    """Base64's spare bits and other alphabets do not make a second token of the same bytes."""
    for length in range(8):
        state = StreamState(1, 2, (), {}, {"x" * length: FRESH})
        token = seal_state(state, "s", KEYS)
        assert token is not None
        if len(token) % 4:
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            twin = token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]
            assert open_state(twin, "s", KEYS).fault is not None
        if "-" in token or "_" in token:
            swapped = token.replace("-", "+").replace("_", "/")
            assert open_state(swapped, "s", KEYS).fault == "malformed"


def test_keys_rotate() -> None:
    """The first key signs; tokens of the older ones are opened until they are taken away."""
    old = parse_keys("k1:" + "11" * 32)
    both = parse_keys(f"k2:{'22' * 32} k1:{'11' * 32}")
    new = parse_keys("k2:" + "22" * 32)
    state = StreamState(1, 2)
    before, after = (seal_state(state, "s", keys) for keys in (old, both))
    assert open_state(before, "s", both) == open_state(after, "s", both) == state
    assert open_state(after, "s", new) == state
    assert open_state(before, "s", new).fault == "unknown_key"


def test_no_token_is_a_fresh_state() -> None:
    """Nothing sent is no fault, and neither is a token without a stream."""
    assert open_state(None, "s", KEYS) == FRESH
    assert open_state("x", "", KEYS) == FRESH


def test_a_fault_never_travels() -> None:
    """A state that began with a refused token is sealed without that."""
    token = seal_state(StreamState(1, 2, fault="forged"), "s", KEYS)
    assert open_state(token, "s", KEYS).fault is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"),
        ("abc", "line 1: is not"),
        ("a:zz", "line 1: is not"),
        ("a:123", "line 1: is not"),
        (f"{'a' * 17}:{'11' * 32}", "line 1: is not"),
        (f"a:{'11' * 32} b:11", "'b' has 1 bytes; at least 16"),
        (f"a:{'11' * 32},a:{'22' * 32}", "'a' stands here twice"),
    ],
)
def test_bad_keys_are_refused_without_repeating_them(text: str, said: str) -> None:
    """A server does not start with keys that it cannot use, and shows no secret."""
    with pytest.raises(ServerFailed, match=said) as refused:
        parse_keys(text)
    assert "1111" not in str(refused.value)
    assert "1111" not in repr(StateKeys({"a": b"1111"}))


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """The file goes first; comments and lines are read; neither means no keys."""
    file = tmp_path / "keys"
    file.write_text(f"# new\nk2:{'22' * 32}  # from Monday on\nk1:{'11' * 32}\n")
    environment = {
        "LIVEWARDEN_STATE_KEYS_FILE": str(file),
        "LIVEWARDEN_STATE_KEYS": "k9:" + "99" * 32,
    }
    keys = read_keys(environment)
    assert keys is not None
    assert list(keys.keys) == ["k2", "k1"]
    assert keys.signing[0] == "k2"
    del environment["LIVEWARDEN_STATE_KEYS_FILE"]
    assert read_keys(environment) == parse_keys("k9:" + "99" * 32)
    assert read_keys({}) is None
    with pytest.raises(ServerFailed, match="cannot be read"):
        read_keys({"LIVEWARDEN_STATE_KEYS_FILE": str(tmp_path / "none")})


def test_the_mac_is_long_enough() -> None:
    """128 bits at least."""
    assert MAC_BYTES >= 16

from __future__ import annotations

import numpy as np
import pytest

from livewarden_ensemble.answer_cache import AnswerCache, read_cache_limit
from livewarden_ensemble.errors import ServerFailed

ROW = np.arange(6, dtype=np.uint8).reshape(2, 3)


def answer(value: float, size: int = 4) -> dict[str, np.ndarray]:
    return {"embedding": np.full(size, value, np.float32)}


def test_what_was_kept_is_found() -> None:
    """An answer comes back for the same input, and for no other."""
    cache = AnswerCache(1 << 20)
    key = cache.digest("text", ROW)
    assert cache.find("text", key) is None
    cache.keep(key, answer(3))
    np.testing.assert_array_equal(
        cache.find("text", cache.digest("text", ROW.copy()))["embedding"], 3
    )
    assert cache.take_counts() == {"text": (1, 1)}
    assert cache.take_counts() == {}


@pytest.mark.parametrize(
    "other", [ROW + 1, ROW.reshape(3, 2), ROW.astype(np.int32), ROW[:1], ROW.ravel()]
)
def test_inputs_that_differ_in_anything_have_other_keys(other: np.ndarray) -> None:
    """Bytes, shape, type and encoder all count."""
    cache = AnswerCache(1 << 20)
    assert cache.digest("frame", other) != cache.digest("frame", ROW)
    assert cache.digest("frame", ROW) != cache.digest("text", ROW)


def test_views_that_are_not_contiguous_have_the_key_of_what_they_show() -> None:
    """A strided input and its copy are the same input."""
    cache = AnswerCache(1 << 20)
    wide = np.repeat(ROW, 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    assert cache.digest("frame", wide) == cache.digest("frame", ROW)


def test_keys_of_one_process_say_nothing_to_another() -> None:
    """The digest is keyed at random, so that nobody can aim at an entry."""
    assert AnswerCache(1).digest("frame", ROW) != AnswerCache(1).digest("frame", ROW)


def test_the_bound_holds_and_the_least_used_goes() -> None:
    """Whatever is kept, the cost stays below the bound; what was asked for lately stays."""
    cache = AnswerCache(5000)
    for number in range(20):
        cache.keep(bytes([number]), answer(number, size=100))
        assert cache.find("text", bytes([0])) is not None
        assert 0 < cache.held_bytes <= 5000
    assert cache.find("text", bytes([19])) is not None
    assert cache.find("text", bytes([1])) is None


def test_an_answer_over_the_whole_bound_is_not_kept() -> None:
    """It would throw out everything else and then itself."""
    cache = AnswerCache(5000)
    cache.keep(b"small", answer(1))
    cache.keep(b"large", answer(2, size=5000))
    assert cache.find("text", b"small") is not None
    assert cache.find("text", b"large") is None


def test_what_is_kept_is_a_copy() -> None:
    """The caller's arrays may change, and the batch that they are a part of may go."""
    cache = AnswerCache(5000)
    mine = answer(1)
    cache.keep(b"k", mine)
    mine["embedding"][:] = 9
    np.testing.assert_array_equal(cache.find("text", b"k")["embedding"], 1)


def test_a_bound_of_nothing_is_off() -> None:
    """The off switch: nothing is kept."""
    cache = AnswerCache(0)
    assert not cache.enabled
    cache.keep(b"k", answer(1))
    assert cache.find("text", b"k") is None
    assert cache.held_bytes == 0


@pytest.mark.parametrize(("text", "limit"), [(None, 64 << 20), ("0", 0), ("5", 5 << 20)])
def test_the_bound_comes_from_the_environment(text: str | None, limit: int) -> None:
    """It is given in MiB."""
    environment = {} if text is None else {"LIVEWARDEN_CACHE_MIB": text}
    assert read_cache_limit(environment) == limit


@pytest.mark.parametrize("text", ["", "-1", "64MiB", "1.5", "²"])
def test_a_bound_that_is_no_number_is_refused(text: str) -> None:
    """A server does not start with a setting that it would have to guess."""
    with pytest.raises(ServerFailed, match="LIVEWARDEN_CACHE_MIB"):
        read_cache_limit({"LIVEWARDEN_CACHE_MIB": text})

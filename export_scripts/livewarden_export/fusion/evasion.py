"""Ways of writing a text so that people read it and a model may not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

_LEET: Final = str.maketrans("aeiost", "431057")
_HOMOGLYPHS: Final = str.maketrans("aceopxyi", "асеорхуі")  # noqa: RUF001 - Cyrillic on purpose
_WIDE: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_SPELT: Final = 0.4  # share of the words that a writer changes
_SHORTEST: Final = 3


def write_leet(text: str, generator: random.Random) -> str:
    """Digits for letters in some words: k1ll."""
    return _change_words(text, generator, lambda word: word.translate(_LEET))


def write_wide(text: str, _generator: random.Random) -> str:
    """The fullwidth forms of all letters."""
    return text.translate(_WIDE)


def write_homoglyphs(text: str, _generator: random.Random) -> str:
    """Cyrillic letters that look Latin."""
    return text.translate(_HOMOGLYPHS)


def write_spaced(text: str, generator: random.Random) -> str:
    """Letters of some words pulled apart: k i l l."""
    return _change_words(text, generator, " ".join)


def write_invisible(text: str, _generator: random.Random) -> str:
    """A zero-width space inside every word."""
    return "".join(char + "\u200b" if char.isalnum() else char for char in text)


EVASIONS: Final[Mapping[str, Callable[[str, random.Random], str]]] = MappingProxyType(
    {
        "leetspeak": write_leet,
        "fullwidth": write_wide,
        "homoglyphs": write_homoglyphs,
        "spacing": write_spaced,
        "invisible": write_invisible,
    }
)


def _change_words(text: str, generator: random.Random, change: Callable[[str], str]) -> str:
    words = text.split()
    long = [i for i, word in enumerate(words) if len(word) >= _SHORTEST]
    chosen = set(generator.sample(long, max(1, round(_SPELT * len(long)))) if long else ())
    return " ".join(change(word) if i in chosen else word for i, word in enumerate(words))

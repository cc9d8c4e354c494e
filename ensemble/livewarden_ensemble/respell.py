"""Respelling: words written so that a blocklist misses them, as the encoder should read them.

What counts as a word is the encoder's own vocabulary, so that "mp3", "covid19" and "2nd" stay what
they are while "k1ll" and "k i l l" become the word that people read.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

# A run of at least three single letters, digits or signs with one separator between each.
_APART: Final = re.compile(
    r"(?<![^\s])[A-Za-z](?:([ ._\-*])[A-Za-z0-9@$](?:\1[A-Za-z0-9@$])+)(?![^\s.,!?])"
)
_SIGNED: Final = re.compile(r"[A-Za-z0134579@$]{3,}")
_SIGN: Final = re.compile(r"[013457@$]")
_BETWEEN: Final = re.compile(r"[A-Za-z][013457@$]{1,2}[A-Za-z]")
# 1 stands for i more often than for l; the second table is tried where the first finds no word.
_TABLES: Final = tuple(str.maketrans("013457@$", letters) for letters in ("oieastas", "oleastas"))
_LONGEST: Final = 16  # letters of a word that is looked for in a run
_LONE: Final = frozenset("aiu")  # letters that are words by themselves in chat
_UNKNOWN_COST: Final = 3.0  # of a letter that belongs to no word, in words


def respell_text(text: str, words: AbstractSet[str]) -> str:
    """Join letters that stand apart, and read digits and signs inside a word as letters.

    `words` are lower-case words. A run of letters becomes as few words as it can be cut into. A
    word with digits changes if the outcome is in `words`, or if a digit stands between two of its
    letters; words in `words` never do.
    """
    text = _APART.sub(lambda run: _join_letters(run[0], run[1], words), text)
    return (
        _SIGNED.sub(lambda word: _read_signs(word[0], words), text) if _SIGN.search(text) else text
    )


def _join_letters(run: str, separator: str, words: AbstractSet[str]) -> str:
    letters = _read_signs(run.replace(separator, ""), words)
    return letters if letters.lower() in words else " ".join(_cut_words(letters, words))


def _read_signs(word: str, words: AbstractSet[str]) -> str:
    if not _SIGN.search(word) or word.lower() in words or not any(map(str.isalpha, word)):
        return word
    readings = [word.translate(table) for table in _TABLES]
    known = [reading for reading in readings if reading.lower() in words]
    if known:
        return known[0]
    return readings[0] if _BETWEEN.search(word) and not re.search("[29]", word) else word


def _cut_words(letters: str, words: AbstractSet[str]) -> list[str]:
    """Cut `letters` into the fewest known words; letters of none stay together."""
    small = letters.lower()
    costs = [0.0]
    starts = [0]
    for end in range(1, len(letters) + 1):
        cost, start = min(
            (costs[start] + _price(small[start:end], words), start)
            for start in range(max(0, end - _LONGEST), end)
        )
        costs.append(cost)
        starts.append(start)
    parts: list[str] = []
    end = len(letters)
    while end:
        start = starts[end]
        parts.insert(0, letters[start:end])
        end = start
    return parts


def _price(part: str, words: AbstractSet[str]) -> float:
    if part in words and (len(part) > 1 or part in _LONE):
        return 1.0 if len(part) > 1 else 1.5
    return _UNKNOWN_COST * len(part)

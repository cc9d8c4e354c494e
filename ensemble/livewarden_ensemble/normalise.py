"""Texts: bytes of a caller to the words a reader sees, in letters the tokenizer knows.

Every step undoes one way of writing a word so that people read it and a model does not. Their
order matters: what is invisible goes first, because it would split a run of combining marks and
so smuggle it past the cap that keeps Unicode normalisation from taking quadratic time.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from confusable_homoglyphs import confusables

from livewarden_client.wire import MAX_TEXT_BYTES
from livewarden_ensemble.coverage import TextState

# UAX #15 calls a text stream-safe if no run of combining marks is longer.
MAX_MARKS: Final = 30
# WordPiece makes one [UNK] of a word over 100 characters, and so sees nothing of it.
MAX_WORD: Final = 50


@dataclass(frozen=True, slots=True)
class NormalisedText:
    """A text as it is scored, and the tricks that were undone in it.

    `had_invisible`: characters that show nothing stood inside a Latin, Greek or Cyrillic word, or
    letters were put in reverse by an override; joiners in emoji and in scripts that need them do
    not count. `had_confusable`: a word mixed Latin letters with others that look like them.
    """

    text: str = field(repr=False)
    state: TextState
    had_invisible: bool = False
    had_confusable: bool = False


def normalise_text(raw: bytes) -> NormalisedText:
    """Normalise one text in UTF-8; whatever the bytes hold, it does not raise.

    Over MAX_TEXT_BYTES, or over as many characters once compatibility forms are spelt out, the
    rest is cut and the state is TOO_LARGE. Broken bytes become U+FFFD, which the tokenizer drops.
    """
    text, state = _read_utf8(raw)
    if text.isascii() and text.isprintable():
        return _tidy(_undo_spelling(text), state)

    had_invisible = _HIDDEN.search(text) is not None
    if _RLO in text:
        had_invisible = True
        text = "\n".join(map(_undo_overrides, text.splitlines()))
    text = _DROPPED.sub("", _BLANK.sub(" ", text))

    text = unicodedata.normalize("NFKC", _LONG_MARKS.sub(r"\1", text))
    if len(text) > MAX_TEXT_BYTES:  # U+FDFA alone is 18 characters
        text, state = text[:MAX_TEXT_BYTES], TextState.TOO_LARGE

    spelt = _WORD.sub(_spell_latin, text)
    return _tidy(
        _undo_spelling(_SCRIPT_BORDER.sub(" ", _LATIN_MARKS.sub("", spelt))),
        state,
        had_invisible=had_invisible,
        had_confusable=spelt != text,
    )


def _read_utf8(raw: bytes) -> tuple[str, TextState]:
    if len(raw) > MAX_TEXT_BYTES:
        end = MAX_TEXT_BYTES
        while end > MAX_TEXT_BYTES - 4 and raw[end] & 0xC0 == 0x80:  # noqa: PLR2004 - UTF-8
            end -= 1
        return raw[:end].decode(errors="replace"), TextState.TOO_LARGE
    try:
        return raw.decode(), TextState.OK
    except UnicodeDecodeError:
        return raw.decode(errors="replace"), TextState.INVALID_UTF8


def _tidy(
    text: str, state: TextState, *, had_invisible: bool = False, had_confusable: bool = False
) -> NormalisedText:
    """Split what is too long for a word, make each gap one space, and call nothing EMPTY."""
    if len(text) > MAX_WORD:
        text = _LONG_WORD.sub(_split_word, text)
    text = " ".join(text.split())
    if not text and state is TextState.OK:
        state = TextState.EMPTY
    return NormalisedText(text, state, had_invisible, had_confusable)


# Letters pulled apart, three or more in a row: "k i l l".
_SPACED: Final = re.compile(r"(?<![^\s])[A-Za-z](?: [A-Za-z0-9]){2,}(?![^\s])")
# A word of letters with a digit among them or in front: "k1ll", "5end". "mp3", "2nd", "10am" and
# "covid19" are left as they are.
_LEET_WORD: Final = re.compile(
    r"\b(?:[013457](?=[A-Za-z]{3})|[A-Za-z])[A-Za-z0-9]*[A-Za-z013457]\b"
)
_LEET_INSIDE: Final = re.compile(r"^[013457]|[A-Za-z][013457]+[A-Za-z]")
_LEET: Final = str.maketrans("013457", "oieast")


def _undo_spelling(text: str) -> str:
    """Join letters that were pulled apart, and read digits inside a word as the letters meant."""
    return _LEET_WORD.sub(_read_leet, _SPACED.sub(lambda run: run[0].replace(" ", ""), text))


def _read_leet(word: re.Match[str]) -> str:
    return word[0].translate(_LEET) if _LEET_INSIDE.search(word[0]) else word[0]


def _split_word(word: re.Match[str]) -> str:
    run = word[0]
    return " ".join(run[start : start + MAX_WORD] for start in range(0, len(run), MAX_WORD))


# --- Reversed text --------------------------------------------------------------------------------

_RLO, _PDF, _PDI = "\u202e", "\u202c", "\u2069"
_MAX_LEVEL: Final = 125  # UAX #9, BD2
_RIGHT_TO_LEFT: Final = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+"
# What keeps its inner order when the text around it is turned: a phrase from right to left, or a
# single character.
_ATOM: Final = re.compile(f"{_RIGHT_TO_LEFT}(?: +{_RIGHT_TO_LEFT})*|.", re.DOTALL)


@dataclass(slots=True)
class _Run:
    """Text between an opening sign of direction and its end; a level is odd from right to left."""

    level: int
    backwards: bool
    isolate: bool
    atoms: list[str] = field(default_factory=list)


# Opening sign: odd level, Latin letters turned, isolate.
_OPENERS: Final = {
    "\u202a": (False, False, False),  # LRE
    "\u202b": (True, False, False),  # RLE
    "\u202d": (False, False, False),  # LRO
    _RLO: (True, True, False),
    "\u2066": (False, False, True),  # LRI
    "\u2067": (True, False, True),  # RLI
    "\u2068": (False, False, True),  # FSI
}


def _undo_overrides(line: str) -> str:
    """Put in reading order what stands between a right-to-left override and its end (UAX #9).

    Letters that run from right to left by themselves keep their order: they read the same under
    an override. An override inside another changes nothing, an embedding turns Latin back.
    """
    runs = [_Run(0, backwards=False, isolate=False)]
    too_deep = 0
    for atom in _ATOM.findall(line):
        if atom in _OPENERS:
            odd, backwards, isolate = _OPENERS[atom]
            level = runs[-1].level + 1
            level += level % 2 != odd
            if too_deep or level > _MAX_LEVEL:
                too_deep += 1
            else:
                runs.append(_Run(level, backwards, isolate))
        elif atom in (_PDF, _PDI):
            if too_deep:
                too_deep -= 1
            elif atom == _PDF and len(runs) > 1 and not runs[-1].isolate:
                _close_run(runs)
            elif atom == _PDI and any(run.isolate for run in runs):
                while not _close_run(runs).isolate:
                    pass
        else:
            runs[-1].atoms.append(atom)
    while len(runs) > 1:
        _close_run(runs)
    return "".join(runs[0].atoms)


def _close_run(runs: list[_Run]) -> _Run:
    run = runs.pop()
    if run.backwards != runs[-1].backwards:
        run.atoms.reverse()
    runs[-1].atoms += run.atoms
    return run


# --- Classes of characters, as the insides of regular expression brackets -------------------------

# Unicode's Default_Ignorable_Code_Point, controls that are no white space, and the formats of
# annotations and hieroglyphs.
_INVISIBLE_CLASS: Final = (
    "\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Circles and keycaps around a letter: the tokenizer knows no word with one.
_ENCLOSING_CLASS: Final = "\u0488\u0489\u1abe\u20dd-\u20e0\u20e2-\u20e4\ua670-\ua672"
# Letters and symbols that are as wide as a space and show nothing.
_BLANK_CLASS: Final = "\u115f\u1160\u2800\u3164\uffa0"
_LATIN_CLASS: Final = "0-9A-Za-zªº\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff"
# What Unicode normalisation sorts: marks, and the few letters that fall apart into marks.
_MARK_CLASS: Final = "".join(
    char
    for char in map(chr, range(0x300, 0x1F000))
    if unicodedata.combining(unicodedata.normalize("NFKD", char)[0])
)

_DROPPED: Final = re.compile(f"[{_INVISIBLE_CLASS}{_ENCLOSING_CLASS}]+")
_BLANK: Final = re.compile(f"[{_BLANK_CLASS}]")
_HIDDEN: Final = re.compile(
    f"(?<=[{_LATIN_CLASS}\u0370-\u052f])[{_INVISIBLE_CLASS}]+(?=[{_LATIN_CLASS}\u0370-\u052f])"
)
_LONG_MARKS: Final = re.compile(f"([{_MARK_CLASS}]{{{MAX_MARKS}}})[{_MARK_CLASS}]+")
# After NFKC, a mark on a Latin letter belongs to no letter of an alphabet; the tokenizer drops it.
_LATIN_MARKS: Final = re.compile(f"(?<=[{_LATIN_CLASS}])[{_MARK_CLASS}]+")
_WORD: Final = re.compile(f"[\\w{_MARK_CLASS}]+")
# WordPiece makes one [UNK] of a whole word if it knows one part of it not, as in "word😂".
_FOREIGN_CLASS: Final = f"^\\s!-~{_LATIN_CLASS}{_MARK_CLASS}\u2010-\u2027\ufffd"
_SCRIPT_BORDER: Final = re.compile(
    f"(?<=[{_LATIN_CLASS}])(?=[{_FOREIGN_CLASS}])|(?<=[{_FOREIGN_CLASS}])(?=[{_LATIN_CLASS}])"
)
_IN_WORD: Final = r"[^\s!-/:-@\[-`{-~]"  # as WordPiece sees words, punctuation beyond ASCII aside
_LONG_WORD: Final = re.compile(f"(?<!{_IN_WORD}){_IN_WORD}{{{MAX_WORD + 1},}}")


# --- Letters that look Latin ----------------------------------------------------------------------


def _load_homoglyphs() -> dict[int, str]:
    """Letters and digits that look like one ASCII letter, from Unicode's confusables (UTS #39).

    Without those of Latin alphabets: a dotless i is what a Turkish word is spelt with.
    """
    return {
        ord(char): twin["c"]
        for char, twins in confusables.confusables_data.items()
        if len(char) == 1 and ord(char) >= 0x180 and char.isalnum()  # noqa: PLR2004 - Latin ends
        for twin in twins
        if len(twin["c"]) == 1 and twin["c"].isascii() and twin["c"].isalpha()
    }


_HOMOGLYPHS: Final = _load_homoglyphs()
# Capital iota, Ukrainian I and palochka look like l among small letters and like I among capitals.
_CAPITAL_HOMOGLYPHS: Final = {**_HOMOGLYPHS, 0x0399: "I", 0x0406: "I", 0x04C0: "I"}
_ASCII_LETTER: Final = re.compile("[A-Za-z]")


def _spell_latin(word: re.Match[str]) -> str:
    """Map look-alikes to Latin in a word that has a Latin letter; other words stay as they are."""
    letters = word[0]
    if letters.isascii() or not _ASCII_LETTER.search(letters):
        return letters
    return letters.translate(_CAPITAL_HOMOGLYPHS if letters.isupper() else _HOMOGLYPHS)

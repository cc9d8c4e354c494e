"""Folding: texts in the forms that blocklists are searched in, each with the way back.

Phrases are folded as well, but never varied: a variant is what a writer made of a phrase, so it is
undone in the text. Undoing is tried both ways where it is not certain (1 is i or l).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.normalise import normalise_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class View:
    """A folded text. Character i of `text` stands at `starts[i]` of the source; None: at i.

    The source is the text as it was sent, or as it was normalised where `normalised` is true.
    `varied` says that leetspeak, stretching or spacing was undone.
    """

    text: str = field(repr=False)
    starts: Sequence[int] | None = field(repr=False)
    normalised: bool = False
    varied: bool = False

    def find_span(self, start: int, end: int) -> tuple[int, int]:
        """The range of the source that shows [start, end) of the view."""
        if self.starts is None:
            return start, end
        return self.starts[start], self.starts[end - 1] + 1


def fold_phrase(phrase: str) -> str:
    """Fold one entry of a list; empty where nothing of it can ever be seen."""
    return normalise_text(phrase.encode(errors="surrogatepass")).text.casefold()


def fold_text(raw: bytes) -> Iterator[View]:
    """The views of one text in UTF-8: as sent, normalised, and with what disguises words undone."""
    sent = raw.decode(errors="replace")
    plain = _fold(sent)
    yield View(*plain)
    normalised = normalise_text(raw).text
    if normalised != sent:
        plain = _fold(normalised)
        yield View(*plain, normalised=True)
    text, starts = plain
    places = range(len(text)) if starts is None else starts
    yield from _undo_disguises(text, places)


def _fold(text: str) -> tuple[str, Sequence[int] | None]:
    if text.isascii():
        return text.lower(), None
    folded = text.casefold()
    if len(folded) == len(text):
        return folded, None
    letters = [char.casefold() for char in text]
    starts = [index for index, part in enumerate(letters) for _ in part]
    return "".join(letters), starts


# What stands for a letter inside a word that has letters too. 1 and | are i or l, tried in turn.
_LEET: Final[dict[int, int]] = str.maketrans("034578@$+", "oeastbast")
_ONES: Final[tuple[dict[int, int], ...]] = (
    str.maketrans("1|!", "iii"),
    str.maketrans("1|!", "lll"),
)
_TOKEN: Final = re.compile(r"[\w@$+|!]+")
_DISGUISE: Final = re.compile(r"[0134578@$+|!]")
_STRETCHED: Final = re.compile(r"(\w)\1{2,}")
# Letters and what stands between them share no character: with one, matching could explode.
_SPACED: Final = re.compile(
    r"(?<!\w)(?:(?:[^\W_]|[@$])(?:[^\w@$]|_){1,3}){2,}(?:[^\W_]|[@$])(?!\w)"
)


def _undo_leet(text: str, ones: dict[int, int]) -> str:
    def spell(found: re.Match[str]) -> str:
        token = found[0]
        word = token.rstrip("@$+|!")  # "hate!" ends in a mark, not in an i
        if word.isalpha() or not any(map(str.isalpha, word)):
            return token
        return word.translate(_LEET).translate(ones) + token[len(word) :]

    return _TOKEN.sub(spell, text)


def _undo_disguises(text: str, places: Sequence[int]) -> Iterator[View]:
    leet = _DISGUISE.search(text) is not None
    spaced = _SPACED.search(text) is not None
    stretched = _STRETCHED.search(text) is not None
    if not (leet or spaced or stretched):
        return
    seen = {text}
    for joined, ones, keep in itertools.product(
        (False, True) if spaced else (False,),
        (0, 1) if leet else (None,),
        (1, 2) if stretched else (0,),
    ):
        varied, where = text, list(places)
        if joined:
            varied, where = _join_spaced(varied, where)
        if ones is not None:
            varied = _undo_leet(varied, _ONES[ones])
        if keep:
            varied, where = _cut_stretched(varied, where, keep)
        if varied not in seen:
            seen.add(varied)
            yield View(varied, where, normalised=True, varied=True)


def _join_spaced(text: str, places: list[int]) -> tuple[str, list[int]]:
    """Take out what stands between the letters of "w o r d"."""
    kept = set(range(len(text)))
    for run in _SPACED.finditer(text):
        kept -= {i for i in range(*run.span()) if not (text[i].isalnum() or text[i] in "@$")}
    order = sorted(kept)
    return "".join(text[i] for i in order), [places[i] for i in order]


def _cut_stretched(text: str, places: list[int], keep: int) -> tuple[str, list[int]]:
    """Cut "wooord" down to `keep` of each letter that stands three times or more."""
    dropped: set[int] = set()
    for run in _STRETCHED.finditer(text):
        dropped.update(range(run.start() + keep, run.end()))
    order = [i for i in range(len(text)) if i not in dropped]
    return "".join(text[i] for i in order), [places[i] for i in order]

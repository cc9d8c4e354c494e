"""Blocklists and allow-phrases: all phrases of a policy in one automaton, patterns in RE2.

Both take time linear in the text, whatever the list and the text are: RE2 has no backtracking, and
refuses what it cannot do without (look-around, back-references, huge repetitions).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import ahocorasick  # type: ignore[import-not-found]  # ships no types
import re2  # type: ignore[import-untyped]  # same

from livewarden_ensemble.policy.fold import View, fold_phrase, fold_text
from livewarden_ensemble.policy.hit import ListHit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from livewarden_ensemble.context import TextInfo

# Hits of one list in one text that are reported; more of them say nothing new.
MAX_HITS: Final = 8
_MAX_PROGRAM: Final = 1 << 20
# Scripts that write no spaces between words: a match needs no border there.
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff]")


def compile_pattern(pattern: str) -> Any:
    """Compile one RE2 pattern, which ignores case; ValueError says why it cannot be used."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MAX_PROGRAM
    try:
        compiled = re2.compile(pattern, options)
        if compiled.search("") is not None:
            raise ValueError("matches the empty text, and so every text")
    except re2.error as error:
        said = error.args[0] if error.args else ""
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ValueError(f"is no pattern that RE2 can run in linear time: {said}") from None
    return compiled


@dataclass(frozen=True, slots=True)
class Blocklist:
    """One list: `phrases` as they were written, and compiled `patterns` that follow them."""

    name: str
    phrases: Sequence[str] = field(repr=False)
    patterns: Sequence[Any] = field(default=(), repr=False)
    languages: frozenset[str] = frozenset()
    variants: bool = True

    def covers(self, language: str) -> bool:
        """Whether texts in `language` are searched; one of unknown language always is."""
        return not (self.languages and language) or language.partition("-")[0] in self.languages


@dataclass(frozen=True, slots=True)
class AllowPhrases:
    """Phrases in which hits of `lists` count for nothing; of every evidence list where None."""

    name: str
    phrases: Sequence[str] = field(repr=False)
    lists: frozenset[str] | None = None


class ListMatcher:
    """All lists of a policy, ready to be searched. Safe to use from several threads."""

    def __init__(self, lists: Sequence[Blocklist], allowed: Sequence[AllowPhrases] = ()) -> None:
        self.lists: Mapping[str, Blocklist] = {one.name: one for one in lists}
        self.allowed: Mapping[str, AllowPhrases] = {one.name: one for one in allowed}
        owners: dict[str, list[tuple[Blocklist | AllowPhrases, int]]] = {}
        searched: tuple[Blocklist | AllowPhrases, ...] = (*lists, *allowed)
        for one in searched:
            for entry, phrase in enumerate(one.phrases):
                owners.setdefault(fold_phrase(phrase), []).append((one, entry))
        self._automaton = ahocorasick.Automaton()
        for phrase, found in owners.items():
            self._automaton.add_word(phrase, (len(phrase), found))
        self._has_phrases = bool(owners)
        if self._has_phrases:
            self._automaton.make_automaton()

    def __bool__(self) -> bool:
        return bool(self.lists)

    def search(self, texts: Sequence[bytes], infos: Sequence[TextInfo]) -> tuple[ListHit, ...]:
        """Find every list's hits, at most MAX_HITS per list and text, in the order of the texts."""
        if not self.lists:
            return ()
        return tuple(
            hit
            for index, (raw, info) in enumerate(zip(texts, infos, strict=True))
            for hit in self._search_text(raw, index, info.lang)
        )

    def spares_anything(self, phrase: str) -> bool:
        """Whether an entry of some list stands in `phrase`, as allow-phrases should have it."""
        text = fold_phrase(phrase)
        return any(
            isinstance(owner, Blocklist) for owner, _, _, _ in self._find_phrases(text)
        ) or any(True for one in self.lists.values() for _ in _find_patterns(one, text))

    def _search_text(self, raw: bytes, index: int, language: str) -> list[ListHit]:
        lists = [one for one in self.lists.values() if one.covers(language)]
        hits: list[ListHit] = []
        # What stands openly in the text is not reported again for a disguise of the same.
        reported: set[tuple[str, int]] = set()
        for view in fold_text(raw):
            found = [
                hit
                for hit in self._search_view(view, index, lists)
                if (hit.name, hit.entry) not in reported
            ]
            reported |= {(hit.name, hit.entry) for hit in found if hit.allowed_by is None}
            hits += found
        return _cut(hits)

    def _search_view(self, view: View, index: int, lists: Sequence[Blocklist]) -> list[ListHit]:
        matches, spared = [], []
        for owner, entry, start, end in self._find_phrases(view.text):
            if isinstance(owner, AllowPhrases):
                spared.append((start, end, owner))
            elif owner in lists and (owner.variants or not view.normalised):
                matches.append((owner, entry, start, end))
        if not view.varied:
            for one in lists:
                if one.variants or not view.normalised:
                    matches += _find_patterns(one, view.text)
        return [
            ListHit(
                name=owner.name,
                text=index,
                entry=entry,
                span=view.find_span(start, end),
                normalised=view.normalised,
                allowed_by=next(
                    (
                        allow.name
                        for low, high, allow in spared
                        if low <= start
                        and end <= high
                        and (allow.lists is None or owner.name in allow.lists)
                    ),
                    None,
                ),
            )
            for owner, entry, start, end in matches
        ]

    def _find_phrases(self, text: str) -> Iterator[tuple[Blocklist | AllowPhrases, int, int, int]]:
        if not self._has_phrases:
            return
        for last, (length, owners) in self._automaton.iter(text):
            start, end = last + 1 - length, last + 1
            if _is_border(text, start - 1, start) and _is_border(text, end, last):
                for owner, entry in owners:
                    yield owner, entry, start, end


def _find_patterns(one: Blocklist, text: str) -> Iterator[tuple[Blocklist, int, int, int]]:
    for entry, pattern in enumerate(one.patterns, start=len(one.phrases)):
        for count, match in enumerate(pattern.finditer(text)):
            if count == MAX_HITS:
                break
            if match.end() > match.start():
                yield one, entry, match.start(), match.end()


def _is_border(text: str, outer: int, inner: int) -> bool:
    """Whether a word may end between the characters at `outer` and `inner`."""
    if not 0 <= outer < len(text) or not text[outer].isalnum() or not text[inner].isalnum():
        return True
    return _UNSPACED.match(text[inner]) is not None


def _cut(hits: list[ListHit]) -> list[ListHit]:
    """Keep MAX_HITS of each list; first those that count, lest allowed ones fill the room."""
    counts: Counter[str] = Counter()
    kept = []
    for hit in sorted(hits, key=lambda hit: (hit.allowed_by is not None, hit.normalised)):
        counts[hit.name] += 1
        if counts[hit.name] <= MAX_HITS:
            kept.append(hit)
    return kept

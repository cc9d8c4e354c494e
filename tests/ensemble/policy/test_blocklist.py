from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_ensemble.context import TextInfo
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.policy.blocklist import (
    MAX_HITS,
    AllowPhrases,
    Blocklist,
    ListMatcher,
    compile_pattern,
)
from livewarden_ensemble.policy.fold import fold_text

WORDS = Blocklist("words", ["badword", "two words", "Straße", "坏词", "cool"])
OPEN = Blocklist("open", ["badword"], variants=False)


def find(text: str | bytes, *lists: Blocklist, allowed: Any = (), lang: str = "") -> list[Any]:
    raw = text.encode() if isinstance(text, str) else text
    matcher = ListMatcher(lists or (WORDS,), allowed)
    return list(matcher.search([raw], [TextInfo("chat", lang=lang)]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a badword here", "badword"),
        ("BadWord", "badword"),
        ("badword!", "badword"),
        ("'badword'", "badword"),
        ("say two words now", "two words"),
        ("in der STRASSE 7", "strasse"),
        ("in der straße", "straße"),
        ("这是坏词吗", "坏词"),
    ],
)
def test_what_stands_openly_is_found_where_it_was_sent(text: str, shown: str) -> None:
    """Case and inflected punctuation do not hide an entry; the span is that of the sent text."""
    (hit,) = find(text)
    assert not hit.normalised
    assert text[slice(*hit.span)].casefold() == shown.casefold()


@pytest.mark.parametrize(
    "text",
    [
        "b4dw0rd",
        "b@dword",
        "b a d w o r d",
        "b.a.d.w.o.r.d",
        "b_a_d_w_o_r_d",
        "b-a-d-w-o-r-d",
        "baaaaadword",
        "bаdwоrd",  # noqa: RUF001 - Cyrillic letters are the point
        "ｂａｄｗｏｒｄ",  # noqa: RUF001 - so are full-width ones
        "bad\u200bword",
        "b\u0301adword",
        "B4DW0RD!!!",
        "b 4 d w 0 r d",
    ],
)
def test_disguises_are_seen_through(text: str) -> None:
    """Leetspeak, spacing, stretching, look-alikes and invisible characters hide no entry."""
    (hit,) = find(f"xyz {text} xyz")
    assert hit.name == "words"
    assert hit.entry == 0
    normalised = normalise_text(f"xyz {text} xyz".encode()).text
    if hit.normalised:
        assert "xyz" not in normalised[slice(*hit.span)]
    assert find(text, OPEN) == []


@pytest.mark.parametrize(
    "text",
    ["", "badwords", "abadword", "ba dword", "bad word", "con", "2 words", "word bad", "col"],
)
def test_harmless_texts_have_no_hits(text: str) -> None:
    """An entry is a whole word: not a part of one, and not what is merely near it."""
    assert find(text) == []


def test_a_double_letter_is_not_stretched() -> None:
    """A stretched word is tried with one and with two of the letter."""
    assert [hit.entry for hit in find("coooool")] == [4]
    assert find("cooool story")[0].entry == 4


def test_one_and_l_are_both_tried() -> None:
    """1 stands for i and for l."""
    matcher = Blocklist("x", ["kill", "idiot"])
    assert [hit.entry for hit in find("k111 1d1ot", matcher)] == [1]
    assert {hit.entry for hit in find("ki1l 1diot", matcher)} == {0, 1}


def test_languages_scope_a_list() -> None:
    """A list of one language leaves texts of another alone; unknown ones are searched."""
    german = Blocklist("de", ["badword"], languages=frozenset({"de"}))
    assert len(find("badword", german, lang="de")) == 1
    assert len(find("badword", german, lang="de-AT")) == 1
    assert len(find("badword", german, lang="")) == 1
    assert find("badword", german, lang="en") == []


def test_allow_phrases_spare_what_lies_in_them() -> None:
    """A hit inside an allowed phrase is marked; one beside it counts, disguised or not."""
    allowed = [AllowPhrases("fine", ["report badword use"])]
    (hit,) = find("please report badword use", allowed=allowed)
    assert hit.allowed_by == "fine"
    both = find("report badword use, you badword", allowed=allowed)
    assert sorted(hit.allowed_by or "" for hit in both) == ["", "fine"]
    evading = find("report badword use, you b4dw0rd", allowed=allowed)
    assert "" in [hit.allowed_by or "" for hit in evading]
    other = [AllowPhrases("fine", ["report badword use"], frozenset({"open"}))]
    assert find("report badword use", allowed=other)[0].allowed_by is None


def test_patterns_have_their_span_and_index() -> None:
    """Patterns are numbered behind the phrases, ignore case, and give the sent text's span."""
    shop = Blocklist("shop", ["x"], [compile_pattern(r"t\.me/\w+"), compile_pattern(r"\bbuy\b")])
    hits = find("Grüße: BUY at T.me/abc now", shop)
    text = "Grüße: BUY at T.me/abc now"
    assert {(hit.entry, text[slice(*hit.span)]) for hit in hits} == {(1, "T.me/abc"), (2, "BUY")}


@pytest.mark.parametrize("pattern", [r"(a)\1", "a(?=b)", "(?<!a)b", "a{5000}", "(", "x*", "|a"])
def test_patterns_that_could_explode_or_match_all_are_refused(pattern: str) -> None:
    """Only what runs in linear time, and never matches nothing, is compiled."""
    with pytest.raises(ValueError, match=r"RE2|empty text"):
        compile_pattern(pattern)


def test_hits_are_bounded_and_count_first() -> None:
    """A flood of hits is cut; those that are spared never push out one that counts."""
    allowed = [AllowPhrases("fine", ["not badword"])]
    hits = find("not badword " * 200 + "badword", allowed=allowed)
    assert len(hits) == MAX_HITS
    assert hits[0].allowed_by is None
    assert len(find("badword " * 500)) == MAX_HITS


@given(st.binary(max_size=200))
def test_any_bytes_are_searched(raw: bytes) -> None:
    """Whatever a caller sends, the search answers, and its spans lie in the text."""
    for hit in find(raw, WORDS, Blocklist("re", [], [compile_pattern("[a-z]{2}")])):
        source = normalise_text(raw).text if hit.normalised else raw.decode(errors="replace")
        assert 0 <= hit.span[0] < hit.span[1] <= len(source)


@given(st.text("ab4 .ßİ１", max_size=30))
def test_views_lead_back(text: str) -> None:
    """Each view has a place in the source for each of its characters, in order."""
    for view in fold_text(text.encode()):
        source = normalise_text(text.encode()).text if view.normalised else text
        places = [view.find_span(i, i + 1) for i in range(len(view.text))]
        assert all(0 <= start < end <= len(source) for start, end in places)
        assert places == sorted(places)


def slow_find(text: str, phrases: list[str]) -> set[tuple[int, tuple[int, int]]]:
    """Every whole-word occurrence, one phrase and one place at a time."""
    found = set()
    for entry, phrase in enumerate(phrases):
        for match in re.finditer(f"(?={re.escape(phrase)})", text):
            start, end = match.start(), match.start() + len(phrase)
            before, after = text[start - 1 : start], text[end : end + 1]
            if not (before.isalnum() and phrase[0].isalnum()) and not (
                after.isalnum() and phrase[-1].isalnum()
            ):
                found.add((entry, (start, end)))
    return found


def test_the_automaton_finds_what_a_slow_search_finds() -> None:
    """Many phrases at once find what each of them finds alone."""
    rng = random.Random(7)
    for _ in range(300):
        phrases = list(
            {"".join(rng.choices("abc ", k=rng.randint(1, 4))).strip() for _ in range(6)}
        )
        phrases = [" ".join(phrase.split()) for phrase in phrases if phrase]
        text = " ".join("".join(rng.choices("abc  ", k=20)).split())
        one = Blocklist("x", phrases, variants=False)
        expected = slow_find(text, phrases)
        if len(expected) <= MAX_HITS:
            assert {(hit.entry, hit.span) for hit in find(text, one)} == expected


def test_a_hostile_text_takes_no_longer_than_its_length() -> None:
    """Runs of marks and separators, which could make matching explode, are answered."""
    for unit in ("a!", "_ ", "a.", "@", "a", "1|", "! ", "a "):
        find(unit * (16_384 // len(unit)), WORDS)

from __future__ import annotations

import re

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from livewarden_ensemble.respell import respell_text
from livewarden_ensemble.tokenise import Tokeniser

WORDS = frozenset(
    [
        "a",
        "i",
        "u",
        "kill",
        "you",
        "your",
        "yourself",
        "the",
        "shit",
        "hate",
        "bitch",
        "asshole",
        "money",
        "make",
        "fast",
        "to",
        "in",
        "mp3",
        "2nd",
    ]
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("k i l l yourself", "kill yourself"),
        ("i will k i l l y o u", "i will kill you"),
        ("k.i.l.l the", "kill the"),
        ("m-a-k-e m-o-n-e-y", "make money"),
        ("M A K E M O N E Y F A S T", "MAKE MONEY FAST"),
        ("k1ll y0ur53lf", "kill yourself"),
        ("5h17 h473 $hit 455h0le", "shit hate shit asshole"),
        ("m0r0n", "moron"),
    ],
)
def test_what_people_read_is_what_is_read(written, read):
    """Letters that stand apart are joined, and signs become the letters that they stand for."""
    assert respell_text(written, WORDS) == read


@pytest.mark.parametrize(
    "text",
    [
        "covid19 mp3 2nd 10am 4chan player1 1080p h2o gr8 i18n",
        "see you at 7, bring 2 or 3 of them",
        "a b",
        "plan a i u",
        "",
        "$5,000 @home",
    ],
)
def test_ordinary_digits_and_letters_stay(text):
    """Names, times and amounts are left alone."""
    assert respell_text(text, frozenset()) == text or respell_text(text, WORDS) == text


@given(st.text(st.characters(codec="ascii", exclude_characters="0134579@$"), max_size=80))
def test_plain_words_never_change(text):
    """Without signs and without letters apart, nothing is touched."""
    if not re.search(r"(?<!\S)[A-Za-z]([ ._\-*])[A-Za-z]", text):
        assert respell_text(text, WORDS) == text


@given(st.text(max_size=200))
def test_any_text_is_read(text):
    """Whatever comes in, a text comes out, and reading it again changes no letter count much."""
    assert len(respell_text(text, WORDS)) <= 2 * len(text)


def test_the_vocabulary_says_what_a_word_is(tokenizer_path):
    """The tokeniser reads a disguised threat as the plain one."""
    tokeniser = Tokeniser(tokenizers.Tokenizer.from_file(str(tokenizer_path)))
    plain, leet, apart = (
        tokeniser.encode([text]).input_ids.tolist()
        for text in ("i will kill you", "i will k1ll you", "i will k i l l you")
    )
    assert plain == leet == apart

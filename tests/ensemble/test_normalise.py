# ruff: noqa: RUF001 - letters that look like others are what is tested
from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.wire import MAX_TEXT_BYTES
from livewarden_ensemble import normalise
from livewarden_ensemble.coverage import TextState
from livewarden_ensemble.normalise import MAX_MARKS, MAX_WORD, normalise_text

ZWSP, ZWJ, ZWNJ, RLO, PDF, LRO, LRI, PDI = "\u200b\u200d\u200c\u202e\u202c\u202d\u2066\u2069"
EVERY_CHARACTER = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


def text_of(text: str) -> str:
    return normalise_text(text.encode()).text


@pytest.mark.parametrize(
    "plain",
    [
        "hello, world!",
        "don’t — stop",
        "Привет, мир",
        "Καλημέρα",
        "łódź ışık naïve Straße",
        "हिन्दी में",
        "東京タワー",
        "한국어",
        "مرحبا",
        "Tiếng Việt",
        "100% https://example.com/a_b?c=d#e",
    ],
)
def test_ordinary_text_stays(plain):
    """Text in any one script comes out as it went in, with nothing flagged."""
    result = normalise_text(plain.encode())
    assert (result.text, result.state) == (plain, TextState.OK)
    assert not result.had_invisible
    assert not result.had_confusable


@pytest.mark.parametrize(
    "written",
    [
        "  kill\t\r\n you ",
        "ki\0ll you",
        f"k{ZWSP}i{ZWJ}l{ZWNJ}l you",
        "ki\u00adll you",
        "k\ufe0fi\U000e0101ll you",
        "k\U000e0069i\U000e006cll you",
        "kill\u3164you",
        "kill\u2800you",
        "ｋｉｌｌ\u3000ｙｏｕ",
        "𝐤𝐢𝐥𝐥 𝔶𝔬𝔲",
        "ⓚⓘⓛⓛ you",
        "kіll yоu",
        "kιll уou",
        "k\u0332i\u0332l\u0332l\u0332 you",
        "k\u0332і\u0332ll you",
        "k\u20ddi\u20ddll you",
        f"{RLO}uoy llik{PDF}",
        f"{RLO}uoy llik",
        f"kill {RLO}uoy",
        f"kill {LRO}you{PDF}",
        f"{RLO}{RLO}uoy{PDF} llik{PDF}",
        f"{RLO}{LRI}you{PDI} llik{PDF}",
    ],
)
def test_tricks_are_undone(written):
    """What a reader sees as plain words comes out as plain words."""
    assert text_of(written) == "kill you"


def test_words_are_parted_from_symbols_and_other_scripts():
    """A symbol glued to a word would make one unknown token of both."""
    assert text_of("kill😂you") == "kill 😂 you"
    assert text_of("Tシャツ") == "T シャツ"
    assert text_of("kill☠") == "kill ☠"


@pytest.mark.parametrize(
    ("written", "expected"),
    [("KІLL", "KILL"), ("kiІІ", "kill"), ("ΒΙΝGΟ", "BINGO"), ("раypаl", "paypal")],
)
def test_look_alikes_follow_the_case_of_their_word(written, expected):
    """A capital that looks like l among small letters is I among capitals."""
    result = normalise_text(written.encode())
    assert result.text == expected
    assert result.had_confusable


def test_look_alikes_stay_in_their_own_script():
    """A Cyrillic word beside a Latin one is not mixed, even if all its letters look Latin."""
    result = normalise_text("сора and more".encode())
    assert result.text == "сора and more"
    assert not result.had_confusable


def test_override_keeps_letters_that_run_right_to_left():
    """Hebrew reads the same under an override, so only the Latin around it is turned."""
    assert text_of(f"{RLO}uoy אבג דה llik{PDF}") == "kill אבג דה you"


def test_override_ends_with_its_line():
    """A paragraph break closes an override."""
    assert text_of(f"{RLO}llik\nyou") == "kill you"


@pytest.mark.parametrize(
    "written",
    [
        f"{PDF}{PDI}kill{PDF} {RLO}uoy{PDF}{PDF}",
        f"{RLO}uoy {LRI}kill",
        f"{LRI}kill {RLO}uoy{PDI}",
        f"{RLO}uoy {LRI}ki{PDF}ll{PDI}",
        f"{LRI}{RLO}\u202akill{PDI} you",
        f"{(RLO + LRO) * 62}{RLO}{LRO}uoy llik",
        f"{(RLO + LRO) * 62}{RLO}{LRO}{PDF}uoy llik",
    ],
)
def test_signs_of_direction_nest_as_in_unicode(written):
    """Ends that close nothing, missing ends and openings beyond level 125 are passed over."""
    assert text_of(written) == "kill you"


@pytest.mark.parametrize(
    ("written", "flagged"),
    [
        (f"ki{ZWSP}ll", True),
        (f"ки{ZWSP}т", True),
        ("ki\0ll", True),
        (f"{RLO}llik", True),
        ("\ufeffkill", False),
        (f"kill{ZWSP} you", False),
        ("👩\u200d💻 ❤\ufe0f", False),
        (f"می{ZWNJ}خواهم", False),
        ("क्\u200dष", False),
    ],
)
def test_only_hiding_is_flagged(written, flagged):
    """Invisible characters inside words are a trick; in emoji and in other scripts they are not."""
    assert normalise_text(written.encode()).had_invisible is flagged


def test_every_format_character_is_dropped():
    """No character of Unicode's category Cf, no control and no variation selector gets through."""
    visible = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
    visible |= set("\U000110bd\U000110cd")  # signs that stand before numbers
    for char in EVERY_CHARACTER:
        selects = "VARIATION SEL" in unicodedata.name(char, "")
        if selects or unicodedata.category(char) in {"Cf", "Cc", "Me"}:
            assert text_of(f"अ{char}अ").replace(" ", "") == "अअ" or char in visible, hex(ord(char))


def test_every_mark_that_sorts_is_capped():
    """The class of marks holds all that Unicode normalisation reorders, in any spelling."""
    sorts = re.compile(f"[{normalise._MARK_CLASS}]")
    for char in EVERY_CHARACTER:
        reordered = any(map(unicodedata.combining, unicodedata.normalize("NFKD", char)[:1]))
        assert reordered == bool(sorts.match(char)), hex(ord(char))


@pytest.mark.parametrize("between", ["", ZWSP, "\u034f", "\0", "\ufe0f", "\u20dd"])
@pytest.mark.parametrize("pair", ["\u0301\u0316", "\u0f73\u0f74", "\uff9e\u0301"])
def test_runs_of_marks_reach_normalisation_capped(pair, between, monkeypatch):
    """Unicode normalisation, quadratic in a run of marks, never gets more than 30 in a row."""
    seen: list[str] = []

    def normalize(form: str, text: str) -> str:
        seen.append(text)
        return unicodedata.normalize(form, text)

    fake = type("unicodedata", (), {"normalize": staticmethod(normalize)})
    monkeypatch.setattr(normalise, "unicodedata", fake)
    normalise_text(("अ" + between.join(pair * 800)).encode())
    assert [len(text) for text in seen] == [1 + MAX_MARKS]


def test_empty_is_what_shows_nothing():
    """Nothing, blanks and invisible characters are EMPTY."""
    for raw in (b"", b" \t\n", ZWSP.encode() * 9, "\u3164".encode(), b"\0"):
        assert normalise_text(raw) == normalise.NormalisedText("", TextState.EMPTY)


def test_broken_bytes_are_replaced_and_told():
    """Invalid UTF-8, surrogates among it, is scored with the broken bytes replaced."""
    for raw in (b"kill \xff you", b"kill \xed\xa0\x80 you", b"kill \xc0\x80 you"):
        result = normalise_text(raw)
        assert result.state is TextState.INVALID_UTF8
        assert result.text.replace("\ufffd", "") == "kill  you"


@pytest.mark.parametrize("char", ["a", "é", "漢", "😂"])
@pytest.mark.parametrize("shift", range(4))
def test_long_text_is_cut_between_characters(char, shift):
    """Over the limit the first bytes are used, and the cut breaks no character."""
    raw = b"b" * shift + char.encode() * (MAX_TEXT_BYTES + 1)
    result = normalise_text(raw)
    assert result.state is TextState.TOO_LARGE
    letters = result.text.replace(" ", "")
    assert set(letters) <= {"b", char}
    assert MAX_TEXT_BYTES - 4 < len(letters.encode()) <= MAX_TEXT_BYTES


def test_limit_itself_is_not_too_large():
    """Exactly MAX_TEXT_BYTES are accepted."""
    assert normalise_text(b"a " * (MAX_TEXT_BYTES // 2)).state is TextState.OK


def test_broken_and_too_long_is_too_large():
    """The state that says more of the text is missing wins."""
    assert normalise_text(b"\xff" * 20_000).state is TextState.TOO_LARGE
    assert normalise_text(b"\x80" * 20_000).state is TextState.TOO_LARGE
    assert normalise_text(ZWSP.encode() * 20_000).state is TextState.TOO_LARGE


def test_text_that_unfolds_is_cut():
    """One character of 3 bytes that stands for 18 cannot multiply a text past the limit."""
    result = normalise_text("\ufdfa".encode() * 5000)
    assert result.state is TextState.TOO_LARGE
    assert len(result.text) <= MAX_TEXT_BYTES * (MAX_WORD + 1) // MAX_WORD


@pytest.mark.parametrize("char", ["a", "é", "ж", "😂"])
def test_long_words_are_split(char):
    """No word is long enough to become one unknown token, and none of it is lost."""
    words = text_of("x " + char * 120 + "." + char * 50).split()
    assert words == ["x", char * 50, char * 50, f"{char * 20}.{char * 50}"]


def test_result_does_not_print_the_text():
    """A result's repr reaches logs, a caller's words do not."""
    assert "canary" not in repr(normalise_text(b"canary"))


TRICKY = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("ki lІ\u0301\u0332" + RLO + PDF + ZWSP),
    ),
    max_size=200,
)


@given(TRICKY)
def test_result_has_no_trick_left(text):
    """What comes out is in NFKC, printable, with single spaces and words of bounded length."""
    result = normalise_text(text.encode())
    assert result.text == " ".join(result.text.split())
    assert not re.search(f"[{normalise._INVISIBLE_CLASS}{normalise._BLANK_CLASS}]", result.text)
    assert all(len(word) <= MAX_WORD for word in re.split(r"[\s!-/:-@\[-`{-~]", result.text))
    assert (result.state is TextState.EMPTY) == (not result.text)


@given(st.binary(max_size=300))
def test_no_bytes_raise(raw):
    """Any bytes give a text that can be encoded again, and a state."""
    result = normalise_text(raw)
    result.text.encode()
    assert isinstance(result.state, TextState)


@given(TRICKY)
def test_normalising_twice_changes_nothing(text):
    """A normalised text is a fixed point."""
    once = text_of(text)
    assert text_of(once) == once


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=120))
def test_fast_path_agrees_with_the_slow_one(text):
    """Printable ASCII takes a short way and comes out the same."""
    slow = normalise_text((text + " é").encode()).text
    assert f"{text_of(text)} é".strip() == slow

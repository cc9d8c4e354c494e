# ruff: noqa: RUF001 - letters that look like others are what is tested
from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livewarden_client.wire import TOKEN_LENGTHS
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.respell import respell_text
from livewarden_ensemble.tokenise import MAX_WINDOWS, OVERLAP, TokenBatch, Tokeniser

CLS, SEP, UNK = 101, 102, 100
ROOM = TOKEN_LENGTHS[-1] - 2
SEEN = ROOM + (MAX_WINDOWS - 1) * (ROOM - OVERLAP)  # tokens of one text that are scored


@pytest.fixture(scope="module")
def tokeniser(tokenizer_path) -> Tokeniser:
    return Tokeniser.from_file(tokenizer_path)


@pytest.fixture(scope="module")
def plain(tokenizer_path) -> tokenizers.Tokenizer:
    """The library's tokenizer, told not to cut, pad or obey the text."""
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def slow_windows(plain, text: str) -> tuple[list[list[int]], bool]:
    """The windows of one text, one step at a time, and whether some are left out."""
    words = {word for word in plain.get_vocab() if word.isascii() and word.isalnum()}
    ids = plain.encode(respell_text(text, words), add_special_tokens=False).ids
    windows = []
    while True:
        windows.append([CLS, *ids[:ROOM], SEP])
        if len(ids) <= ROOM:
            break
        ids = ids[ROOM - OVERLAP :]
    return windows[:MAX_WINDOWS], len(windows) > MAX_WINDOWS


def check(batch: TokenBatch, texts: list[str], plain) -> None:
    rows, owners, truncated = [], [], set()
    for owner, text in enumerate(texts):
        if text:
            windows, cut = slow_windows(plain, text)
            rows += windows
            owners += [owner] * len(windows)
            truncated |= {owner} if cut else set()
    assert batch.owners == tuple(owners)
    assert batch.truncated == truncated
    assert batch.input_ids.shape == batch.attention_mask.shape
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int32
    for ids, mask, row in zip(batch.input_ids, batch.attention_mask, rows, strict=True):
        padding = batch.input_ids.shape[1] - len(row)
        assert ids.tolist() == row + [0] * padding
        assert mask.tolist() == [1] * len(row) + [0] * padding
    assert batch.input_ids.shape[1] == min(
        length for length in TOKEN_LENGTHS if length >= max(map(len, rows), default=0)
    )


@pytest.mark.parametrize(
    "tokens", [1, 14, 15, 30, 31, 62, 63, ROOM, ROOM + 1, 236, 237, SEEN, SEEN + 1, 3000]
)
def test_windows_match_a_slow_split(tokeniser, plain, tokens):
    """At each border of a length or a window, the batch is what a step-by-step split gives."""
    text = "go " * tokens
    batch = tokeniser.encode([text])
    check(batch, [text], plain)
    assert bool(batch.truncated) == (tokens > SEEN)


def test_every_token_that_is_not_truncated_is_in_a_window(tokeniser, plain):
    """Windows overlap and leave no gap."""
    text = " ".join(map(str, range(SEEN // 3)))
    ids = plain.encode(text, add_special_tokens=False).ids
    windows = tokeniser.encode([text]).input_ids
    joined = windows[0, 1 : ROOM + 1].tolist()
    for window in windows[1:]:
        assert joined[-OVERLAP:] == window[1 : OVERLAP + 1].tolist()
        joined += window[OVERLAP + 1 : ROOM + 1].tolist()
    assert joined[: len(ids)] == ids


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(max_size=300), max_size=6))
@example(["@5H", "k1ll"])
def test_any_texts_match_a_slow_split(tokeniser, plain, texts):
    """Random Unicode gives the windows of one text after the other."""
    check(tokeniser.encode(texts), texts, plain)


def test_empty_texts_have_no_window(tokeniser):
    """An empty text is not sent to the encoder, and the others keep their places."""
    batch = tokeniser.encode(["", "a", "", "b"])
    assert batch.owners == (1, 3)
    nothing = tokeniser.encode([])
    assert nothing.input_ids.shape == (0, TOKEN_LENGTHS[0])
    assert nothing.owners == ()


def test_text_without_tokens_still_has_a_window(tokeniser):
    """What the tokenizer drops whole is scored as a blank, and not passed over."""
    batch = tokeniser.encode(["\ufffd"])
    assert batch.owners == (0,)
    assert batch.input_ids[0, :3].tolist() == [CLS, SEP, 0]


@pytest.mark.parametrize("name", ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"])
def test_special_tokens_in_a_text_are_ordinary_words(tokeniser, plain, name):
    """A caller cannot end, mask or pad the text by spelling the tokenizer's own signs."""
    row = tokeniser.encode([f"kill {name} you"]).input_ids[0]
    ids = [i for i in row.tolist() if i]
    assert ids[0] == CLS
    assert ids[-1] == SEP
    assert not {0, UNK, CLS, SEP, 103} & set(ids[1:-1])
    spelt = [plain.token_to_id(part) for part in ("[", name[1:-1].lower(), "]")]
    assert len(ids) >= 2 + 2 + len(spelt)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("kill😂", ["kill", "[UNK]"]),
        ("ｋіll", ["kill"]),
        ("𝐤𝐢𝐥𝐥", ["kill"]),
        ("k\u20ddill", ["kill"]),
        ("\u202ellik", ["kill"]),
        ("ki\0ll", ["kill"]),
    ],
)
def test_normalised_words_are_known(tokeniser, plain, written, words):
    """The two modules together: evasions reach the encoder as the word's own token."""
    text = normalise_text(written.encode()).text
    ids = tokeniser.encode([text]).input_ids[0].tolist()
    assert ids[1 : 1 + len(words)] == [plain.token_to_id(word) for word in words]


def test_word_of_any_length_is_no_unknown_token(tokeniser):
    """A word that WordPiece would give up on is read in parts."""
    text = normalise_text(b"kill" * 100).text
    assert UNK not in tokeniser.encode([text]).input_ids


def test_batch_does_not_print_tokens(tokeniser):
    """Tokens spell the caller's text, so a repr leaves them out."""
    assert "2054" not in repr(tokeniser.encode(["what"]))


def test_missing_tokenizer_is_named(tmp_path):
    """The message holds the path."""
    with pytest.raises(BundleInvalid, match=r"gone\.json"):
        Tokeniser.from_file(tmp_path / "gone.json")


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"version": "1.0", "model": null}'])
def test_broken_tokenizer_is_refused(tmp_path, content):
    """A file that is no tokenizer stops the server at the start."""
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(BundleInvalid, match=r"tokenizer\.json"):
        Tokeniser.from_file(path)


def test_tokenizer_without_sentence_marks_is_refused(tokenizer_path, tmp_path):
    """An encoder trained on [CLS] text [SEP] must get both."""
    settings_ = json.loads(tokenizer_path.read_text())
    settings_["post_processor"] = None
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(settings_))
    with pytest.raises(BundleInvalid, match=r"tokenizer\.json: .* 0 special tokens"):
        Tokeniser.from_file(path)

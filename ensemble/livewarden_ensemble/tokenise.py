"""Tokens: normalised texts to the fixed-length windows that the text encoder takes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import tokenizers

from livewarden_client.wire import TOKEN_LENGTHS
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.respell import respell_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Windows of one text; what stands behind the last is not scored, and the text counts as truncated.
MAX_WINDOWS: Final = 8
# Tokens that a window repeats from the one before, so that a phrase cut by a border is whole in
# one of the two.
OVERLAP: Final = 16


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """The windows of several texts: N windows of L tokens, L one of wire.TOKEN_LENGTHS.

    `owners` names the text that each window comes from, in order; `truncated` the texts that have
    more windows than are scored.
    """

    input_ids: NDArray[np.int32] = field(repr=False)
    attention_mask: NDArray[np.int32]
    owners: tuple[int, ...]
    truncated: frozenset[int]


class Tokeniser:
    """A tokenizer of the Hugging Face library, with everything off that a text could abuse."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        # Else a caller's "[SEP]" would end the text for the encoder; now it is three ordinary
        # tokens. Truncation would cut silently, and padding would hide a window's true length.
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        # Byte-level and sentence-piece vocabularies mark the start of a word.
        bare = (word.lstrip("Ġ▁") for word in tokenizer.get_vocab())
        self._words = frozenset(word for word in bare if word.isascii() and word.isalnum())
        frame = tokenizer.encode("").ids
        if len(frame) != 2:  # noqa: PLR2004 - one token before the text, one behind
            raise BundleInvalid(
                f"the tokenizer puts {len(frame)} special tokens around a text; 2 are needed, "
                "as in [CLS] text [SEP]"
            )
        self._first, self._last = frame

    @classmethod
    def from_file(cls, path: Path) -> Tokeniser:
        """Read a `tokenizer.json`; BundleInvalid if it is missing, broken or of another kind."""
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:
            # The library raises bare Exception for everything.
            raise BundleInvalid(
                f"{path}: is no tokenizer of the tokenizers library ({error})"
            ) from error
        try:
            return cls(tokenizer)
        except BundleInvalid as error:
            raise BundleInvalid(f"{path}: {error}") from None

    def encode(self, texts: Sequence[str]) -> TokenBatch:
        """The windows of `texts`, none for an empty text and at least one for any other."""
        windows: list[list[int]] = []
        owners: list[int] = []
        truncated: list[int] = []
        for owner, text in enumerate(texts):
            if not text:
                continue
            # One by one: the library's batch call starts a thread pool, for lines too short to
            # gain from it.
            read = respell_text(text, self._words)
            ids = self._tokenizer.encode(read, add_special_tokens=False).ids
            own = list(itertools.islice(_split(ids), MAX_WINDOWS + 1))
            if len(own) > MAX_WINDOWS:
                truncated.append(owner)
            windows += own[:MAX_WINDOWS]
            owners += [owner] * len(own[:MAX_WINDOWS])
        longest = max(map(len, windows), default=0) + 2
        length = next(length for length in TOKEN_LENGTHS if length >= longest)
        # 0 as padding is a token that every vocabulary has, and the mask hides it.
        input_ids = np.zeros((len(windows), length), np.int32)
        attention_mask = np.zeros((len(windows), length), np.int32)
        for row, window in enumerate(windows):
            end = len(window) + 2
            input_ids[row, :end] = self._first, *window, self._last
            attention_mask[row, :end] = 1
        return TokenBatch(input_ids, attention_mask, tuple(owners), frozenset(truncated))


def _split(ids: list[int]) -> Iterator[list[int]]:
    """Cut `ids` into overlapping runs that leave room for the two special tokens."""
    room = TOKEN_LENGTHS[-1] - 2
    for start in itertools.count(0, room - OVERLAP):
        yield ids[start : start + room]
        if start + room >= len(ids):
            return

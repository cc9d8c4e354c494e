"""What encoders answered to inputs that come again: titles, test cards, clips that overlap.

One cache belongs to one pipeline, and so to one bundle: nothing in it can outlive or cross over
from other models. It holds answers only, under a keyed digest of the encoder's very input; no
text and no picture can be read from it.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from livewarden_ensemble.errors import ServerFailed

# Rows of outputs by name, as an encoder gave them.
Answer: TypeAlias = Mapping[str, NDArray[np.float32]]

CACHE_VARIABLE: Final = "LIVEWARDEN_CACHE_MIB"
_DEFAULT_MIB: Final = 64
# What an entry costs besides its arrays' data: key, mapping, array headers.
_OVERHEAD: Final = 1024


class AnswerCache:
    """Encoder answers by what was asked, the least recently used out first.

    `max_bytes` bounds what it holds; 0 turns it off. Not safe to use from two threads at once.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        # A key nobody knows: an input cannot be made to meet another's digest.
        self._key = secrets.token_bytes(32)
        self._bytes = 0
        self._counts: dict[str, tuple[int, int]] = {}

    @property
    def enabled(self) -> bool:
        """Whether it holds anything at all."""
        return self._max_bytes > 0

    @property
    def held_bytes(self) -> int:
        """What its entries cost; never more than `max_bytes`."""
        return self._bytes

    def digest(self, encoder: str, row: NDArray[Any]) -> bytes:
        """The key of one input row for the encoders called `encoder`."""
        # HMAC-SHA256 takes half the time of hashlib's BLAKE2b where the CPU has SHA instructions.
        described = f"{encoder} {row.dtype} {row.shape} ".encode()
        return hmac.digest(self._key, described + np.ascontiguousarray(row).tobytes(), "sha256")

    def find(self, encoder: str, key: bytes) -> Answer | None:
        """The answer kept under `key`; None, and a miss of `encoder`, where there is none."""
        answer = self._answers.get(key)
        hits, misses = self._counts.get(encoder, (0, 0))
        if answer is None:
            self._counts[encoder] = hits, misses + 1
            return None
        self._counts[encoder] = hits + 1, misses
        self._answers.move_to_end(key)
        return answer

    def take_counts(self) -> dict[str, tuple[int, int]]:
        """Hits and misses by encoder since this was called last."""
        counts, self._counts = self._counts, {}
        return counts

    def keep(self, key: bytes, answer: Answer) -> None:
        """Keep an answer, copied; what is used least goes for it."""
        own = {name: np.array(row) for name, row in answer.items()}
        size = _measure(own)
        if size > self._max_bytes or key in self._answers:
            return
        self._answers[key] = own
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= _measure(oldest)


def read_cache_limit(environment: Mapping[str, str]) -> int:
    """The bound in bytes that LIVEWARDEN_CACHE_MIB sets; 64 MiB without it, 0 is off.

    Raises ServerFailed where it is no such number.
    """
    text = environment.get(CACHE_VARIABLE, str(_DEFAULT_MIB))
    if not text.isascii() or not text.isdigit():
        raise ServerFailed(f"{CACHE_VARIABLE} is no whole number of MiB; 0 turns the cache off.")
    return int(text) << 20


def _measure(answer: Answer) -> int:
    return _OVERHEAD + sum(row.nbytes for row in answer.values())

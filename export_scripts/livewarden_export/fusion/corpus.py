"""Ordinary sentences that nobody here wrote, from installed packages; read, never shipped.

Wikipedia (CC BY-SA, an excerpt in gensim's tests), conversations (chatterbot-corpus, BSD), and the
Python documentation's topics (PSF). All of them count as harmless, whatever they speak about.
"""

from __future__ import annotations

import bz2
import html
import random
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path
from pydoc_data import topics
from typing import Final

import yaml

_WIKIPEDIA: Final = (
    "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
)
_LENGTHS: Final = range(25, 320)  # characters of a sentence worth keeping
_PAGE: Final = re.compile(r"<text[^>]*>(.*?)</text>", re.DOTALL)
_MARKUP: Final = tuple(
    (re.compile(pattern, re.DOTALL), by)
    for pattern, by in (
        (r"<ref[^>]*/>|<ref.*?</ref>|<!--.*?-->", ""),
        *[(r"\{\{[^{}]*\}\}|\{\|.*?\|\}", "")] * 4,
        (r"\[\[(?:File|Image|Category)[^\[\]]*(?:\[\[[^\]]*\]\][^\[\]]*)*\]\]", ""),
        (r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1"),
        (r"'{2,}|<[^>]+>|\[https?[^\]]*\]", ""),
    )
)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+")
_MIN_LINE: Final = 80


def read_ordinary(count: int, seed: int) -> dict[str, list[str]]:
    """About `count` sentences in all, by source, drawn with `seed`."""
    shares = {"wikipedia": 0.65, "conversation": 0.3, "manual": 0.05}
    readers = {"wikipedia": read_wikipedia, "conversation": read_talk, "manual": read_manual}
    return {
        name: _draw(list(dict.fromkeys(readers[name]())), round(share * count), seed)
        for name, share in shares.items()
    }


def read_wikipedia() -> Iterator[str]:
    """Sentences of encyclopaedia articles: countries, diseases, wars, chemistry, biographies."""
    dump = bz2.decompress(_locate("gensim", _WIKIPEDIA).read_bytes()).decode("utf-8", "replace")
    for page in _PAGE.findall(dump):
        text = html.unescape(page)
        for pattern, by in _MARKUP:
            text = pattern.sub(by, text)
        lines = (li for li in text.split("\n") if len(li) > _MIN_LINE and li[0] not in "=*|:#!{}")
        yield from split_sentences(" ".join(lines))


def read_talk() -> Iterator[str]:
    """Questions and answers on films, food, politics, feelings, computers."""
    for file in sorted(
        _locate("chatterbot-corpus", "chatterbot_corpus/data/english").glob("*.yml")
    ):
        for talk in yaml.safe_load(file.read_text("utf-8")).get("conversations") or ():
            yield from (str(line) for line in talk if len(str(line)) <= _LENGTHS.stop)


def read_manual() -> Iterator[str]:
    """The Python language reference, by topic."""
    for topic in topics.topics.values():
        yield from split_sentences(topic)


def split_sentences(text: str) -> Iterator[str]:
    """Sentences of a usual length, white space made single."""
    for sentence in _SENTENCE.split(" ".join(text.split())):
        if len(sentence) in _LENGTHS:
            yield sentence


def _draw(sentences: Sequence[str], count: int, seed: int) -> list[str]:
    generator = random.Random(seed)  # noqa: S311 - data, not secrets
    return generator.sample(sentences, min(count, len(sentences)))


def _locate(package: str, name: str) -> Path:
    return Path(str(distribution(package).locate_file(name)))

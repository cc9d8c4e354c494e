"""Text families: sentences with alternatives, written by hand and spelt out with a fixed seed.

A file holds families, one template a line:

    == plain_insult ?violence
    you are {a|such a} <swear> <insult>

`{a|b}` is a choice, and choices nest; `<slot>` is a choice from the lexicon. `?label` says that a
sentence may or may not belong to that label as well, so that it teaches neither. A file is named
after the label that all its families belong to; `ordinary` and `hard_negatives` belong to none.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from livewarden_client.wire import LABELS

FAMILIES: Final = "families"
LEXICON: Final = "lexicon.txt"
NEGATIVE: Final = ("ordinary", "hard_negatives")
# Slots whose alternatives are groups of people: which of them a sentence names must not matter.
PEOPLE_SLOTS: Final = ("group", "groupone", "groupadj")

_CHOICE: Final = re.compile(r"\{([^{}]*)\}")
_SLOT: Final = re.compile(r"<([a-z]+)>")
_ARTICLE: Final = re.compile(r"\b([Aa]) (?=[aeio])")  # a choice may begin with a vowel
_TRIES: Final = 8  # draws per wanted sentence before a template counts as exhausted


@dataclass(frozen=True, slots=True)
class Family:
    """Sentences that say one thing in several ways; splits never cut a family in two.

    `source` is the file's stem: a label, or one of NEGATIVE. `unsure` are labels that its sentences
    teach nothing about.
    """

    source: str
    name: str
    templates: tuple[str, ...]
    unsure: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What splits and reports call it."""
        return f"{self.source}/{self.name}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that every sentence of it has."""
        return (self.source,) if self.source in LABELS else ()


def load_families() -> list[Family]:
    """All families that ship with the package, in file order: labels first, then negatives."""
    folder = files("livewarden_export.fusion").joinpath(FAMILIES)
    return [
        family
        for source in (*LABELS, *NEGATIVE)
        for family in parse_families(source, folder.joinpath(f"{source}.txt").read_text("utf-8"))
    ]


def load_lexicon() -> dict[str, tuple[str, ...]]:
    """The alternatives of every slot."""
    folder = files("livewarden_export.fusion").joinpath(FAMILIES)
    lines = folder.joinpath(LEXICON).read_text("utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if line and not line.startswith("#"))
    return {name: tuple(split_choice(words.strip())) for name, words in pairs}


def parse_families(source: str, text: str) -> Iterator[Family]:
    """The families of one file; ValueError names the line that is not understood."""
    head: list[str] = []
    templates: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("== "):
            if head:
                yield _make_family(source, head, templates)
            head, templates = line[3:].split(), []
        elif line.strip():
            if not head or line.count("{") != line.count("}"):
                raise ValueError(f"{source}.txt:{number}: unbalanced braces or no family above")
            templates.append(line.strip())
    if head:
        yield _make_family(source, head, templates)


def split_choice(text: str) -> list[str]:
    """The alternatives in `text`, cut at the bars that stand in no inner brace."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if char == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def spell_template(
    template: str, lexicon: Mapping[str, Sequence[str]], generator: random.Random
) -> str:
    """One sentence of `template`, every choice drawn; KeyError names an unknown slot."""
    text = template
    while True:
        text, choices = _CHOICE.subn(lambda m: generator.choice(m[1].split("|")), text)
        text, slots = _SLOT.subn(lambda m: generator.choice(lexicon[m[1]]), text)
        if not choices and not slots:
            return _ARTICLE.sub(r"\1n ", " ".join(text.split()))


def spell_family(
    family: Family, lexicon: Mapping[str, Sequence[str]], count: int, seed: int
) -> list[str]:
    """Up to `count` different sentences, the templates taking turns; the same for the same seed."""
    generator = random.Random(f"{seed} {family.id}")  # noqa: S311 - data, not secrets
    found: dict[str, None] = {}
    for draw in range(count * _TRIES):
        found[
            spell_template(family.templates[draw % len(family.templates)], lexicon, generator)
        ] = None
        if len(found) == count:
            break
    return list(found)


def spell_swaps(
    family: Family, lexicon: Mapping[str, Sequence[str]], count: int, seed: int
) -> list[list[str]]:
    """For each template that names people by slot, `count` sentences that differ in them only."""
    generator = random.Random(f"{seed} swap {family.id}")  # noqa: S311 - data, not secrets
    # The slots of people stand for themselves until all else is drawn.
    fixed = {**lexicon, **{slot: (f"[{slot}]",) for slot in PEOPLE_SLOTS}}
    sets = []
    for template in family.templates:
        frame = spell_template(template, fixed, generator)
        named = sorted({slot for slot in PEOPLE_SLOTS if f"[{slot}]" in frame})
        if not named:
            continue
        spelt = []
        for _ in range(count):
            text = frame
            for slot in named:
                text = text.replace(f"[{slot}]", generator.choice(lexicon[slot]))
            spelt.append(text)
        sets.append(list(dict.fromkeys(spelt)))
    return sets


def _make_family(source: str, head: Sequence[str], templates: Sequence[str]) -> Family:
    name, *marks = head
    unsure = tuple(mark.removeprefix("?") for mark in marks)
    unknown = [label for label in unsure if label not in LABELS]
    if unknown or not templates:
        raise ValueError(f"{source}/{name}: no templates, or unknown labels: {unknown}")
    return Family(source, name, tuple(templates), unsure)

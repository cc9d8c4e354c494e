import re

import pytest

from livewarden_client.wire import LABELS
from livewarden_export.fusion.reference import split_families
from livewarden_export.fusion.template import (
    NEGATIVE,
    load_families,
    load_lexicon,
    parse_families,
    spell_family,
    spell_swaps,
    split_choice,
)

FAMILIES = load_families()
LEXICON = load_lexicon()


def test_every_template_spells_out():
    """Each family gives sentences without a brace or slot left, the same ones again."""
    for family in FAMILIES:
        sentences = spell_family(family, LEXICON, 2 * len(family.templates), seed=1)
        assert sentences == spell_family(family, LEXICON, 2 * len(family.templates), seed=1)
        assert len(sentences) >= len(family.templates), family.id
        assert not [s for s in sentences if re.search(r"[{}]|<[a-z]+>", s)], family.id


def test_every_label_has_many_families():
    """Each label, and what is no label, has families enough to hold some out."""
    sources = [family.source for family in FAMILIES]
    assert min(sources.count(source) for source in (*LABELS, *NEGATIVE)) >= 70
    assert len({family.id for family in FAMILIES}) == len(FAMILIES)


def test_no_sentence_stands_in_two_families():
    """A template belongs to one family: else a held-out family would have been trained on."""
    templates = [template for family in FAMILIES for template in family.templates]
    assert len(templates) == len(set(templates))


def test_splits_hold_whole_families():
    """Every source has families in each split, about a sixth of them for the test."""
    chosen = split_families(FAMILIES, seed=20)
    assert set(chosen) == {family.id for family in FAMILIES}
    for source in (*LABELS, *NEGATIVE):
        own = [split for name, split in chosen.items() if name.startswith(f"{source}/")]
        assert own.count("test") == round(len(own) / 6)
        assert own.count("validation") == round(len(own) / 8)


def test_swaps_differ_in_the_people_alone():
    """Sentences of one set are the same but for the slot."""
    (family,) = parse_families("hate", "== f\n{i|we} met <group> {here|there}\nno people at all")
    (texts,) = spell_swaps(family, LEXICON, 4, seed=1)
    assert len(texts) > 1
    assert len({re.sub("|".join(LEXICON["group"]), "", text) for text in texts}) == 1


def test_an_article_fits_its_word():
    """A choice that begins with a vowel takes "an"."""
    (family,) = parse_families("hate", "== f\na {apple|egg}")
    assert set(spell_family(family, LEXICON, 2, seed=1)) == {"an apple", "an egg"}


def test_choices_nest():
    """A bar inside braces belongs to the inner choice."""
    assert split_choice("a|b {c|d}|e") == ["a", "b {c|d}", "e"]


@pytest.mark.parametrize("text", ["no family above", "== f\nunbalanced {a|b", "== f ?nosuch\nx"])
def test_broken_files_are_refused(text):
    """A family file that is not understood is an error."""
    with pytest.raises(ValueError, match="hate"):
        list(parse_families("hate", text))

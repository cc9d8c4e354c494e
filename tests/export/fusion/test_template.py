import pytest

from livewarden_client.wire import LABELS
from livewarden_export.fusion.template import (
    NEGATIVE,
    load_families,
    load_lexicon,
    parse_families,
    spell_family,
    split_choice,
)


def test_every_template_spells_out():
    """Each family gives sentences without a brace or slot left, the same ones again."""
    lexicon = load_lexicon()
    for family in load_families():
        sentences = spell_family(family, lexicon, 2 * len(family.templates), seed=1)
        assert sentences == spell_family(family, lexicon, 2 * len(family.templates), seed=1)
        assert len(sentences) >= len(family.templates)
        assert not [s for s in sentences if set("{}<|") & set(s)]


def test_every_label_has_families():
    """Each label, and what is no label, has several families."""
    sources = [family.source for family in load_families()]
    assert min(sources.count(source) for source in (*LABELS, *NEGATIVE)) >= 7


def test_choices_nest():
    """A bar inside braces belongs to the inner choice."""
    assert split_choice("a|b {c|d}|e") == ["a", "b {c|d}", "e"]


@pytest.mark.parametrize("text", ["no family above", "== f\nunbalanced {a|b", "== f ?nosuch\nx"])
def test_broken_files_are_refused(text):
    """A family file that is not understood is an error."""
    with pytest.raises(ValueError, match="hate"):
        list(parse_families("hate", text))

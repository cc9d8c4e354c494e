from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, MODALITIES
from livewarden_export.prototype import (
    BENIGN,
    NSFW_LABELS,
    PICTURE_CLASSES,
    PROTOTYPES,
    SUPPORTED,
)


def test_tables_name_labels_of_the_taxonomy():
    """Every table is keyed by known labels, and every class index exists."""
    assert {*PICTURE_CLASSES, *PROTOTYPES, *NSFW_LABELS} <= set(LABELS)
    classes = FUSION_CLASSIFIER.input("vision_logits").dims[1]
    indices = [index for group in PICTURE_CLASSES.values() for index in group]
    assert set(indices) <= set(range(classes))
    assert len(indices) == len(set(indices))


def test_no_sentence_stands_for_two_things():
    """A sentence belongs to one label, or to none."""
    sentences = [*BENIGN, *(text for texts in PROTOTYPES.values() for text in texts)]
    assert len(sentences) == len(set(sentences))
    assert all(len(texts) >= 3 for texts in PROTOTYPES.values())


def test_supported_says_what_the_tables_can_see():
    """A label is supported in a modality exactly where a table gives it a signal there."""
    assert tuple(SUPPORTED) == MODALITIES
    assert SUPPORTED["visual"] == (
        "sexual_explicit",
        "sexual_suggestive",
        "weapons",
        "regulated_goods",
        "gambling",
    )
    for kind in MODALITIES[1:]:
        assert SUPPORTED[kind] == LABELS

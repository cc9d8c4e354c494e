from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.wire import FUSION_CLASSIFIER, LABELS, MODALITIES, NONCE, TEXT_KINDS
from livewarden_ensemble.fuse import (
    KIND_CODE,
    NO_KIND,
    VISION_INPUTS,
    ClipScores,
    Encoded,
    pad_clips,
    split_scores,
)


def encode(seen: Sequence[bool], kinds: Sequence[int], paint: float = 1.0) -> Encoded:
    """A clip whose every encoder output is `paint`."""
    return Encoded(
        {t.name: np.full((len(seen), *t.dims[1:]), paint, np.float32) for t in VISION_INPUTS},
        np.full((len(kinds), 768), paint, np.float32),
        tuple(seen),
        tuple(kinds),
    )


def answer(clips: Sequence[Encoded], score: float = 0.5) -> dict[str, np.ndarray]:
    """The classifier's answer to `clips`, every score the same, padding included."""
    inputs = pad_clips(clips)
    rows, views = inputs["frame_mask"].shape
    windows = inputs["text_kind"].shape[1]
    shapes = {
        "scores": (rows, len(LABELS)),
        "modality_scores": (rows, len(MODALITIES), len(LABELS)),
        "frame_scores": (rows, views, len(LABELS)),
        "text_scores": (rows, windows, len(LABELS)),
    }
    return {name: np.full(shape, score, np.float32) for name, shape in shapes.items()}


def test_kind_codes_are_rows_of_the_modalities() -> None:
    """A code is a kind's row in MODALITIES, and none is that of padding."""
    assert {MODALITIES[code]: code for code in KIND_CODE.values()} == KIND_CODE
    assert tuple(KIND_CODE) == TEXT_KINDS
    assert NO_KIND not in KIND_CODE.values()


clip_shapes = st.lists(
    st.tuples(st.lists(st.booleans(), max_size=5), st.lists(st.integers(0, 4), max_size=5)),
    min_size=1,
    max_size=8,
)


@given(clip_shapes)
def test_padding_equals_the_slow_obvious_way(shapes: list[tuple[list[bool], list[int]]]) -> None:
    """Every cell holds its clip's value, or zero where the clip is shorter than the longest."""
    clips = [encode(seen, kinds, index + 1.0) for index, (seen, kinds) in enumerate(shapes)]
    inputs = pad_clips(clips)
    views = max(1, *(len(seen) for seen, _ in [*shapes, ([], [])]))
    windows = max(1, *(len(kinds) for _, kinds in [*shapes, ([], [])]))
    assert set(inputs) | {NONCE.name} == {tensor.name for tensor in FUSION_CLASSIFIER.inputs}
    for tensor in FUSION_CLASSIFIER.inputs[:-1]:
        array = inputs[tensor.name]
        length = windows if tensor.name.startswith("text_") else views
        assert array.shape == (len(clips), length, *tensor.dims[1:])
        assert array.dtype == {"FP32": np.float32, "INT32": np.int32}[tensor.dtype]
        for row, (seen, kinds) in enumerate(shapes):
            own = kinds if tensor.name.startswith("text_") else seen
            for column in range(length):
                if tensor.name == "frame_mask":
                    want = float(seen[column]) if column < len(seen) else 0
                elif tensor.name == "text_kind":
                    want = kinds[column] if column < len(kinds) else NO_KIND
                else:
                    want = row + 1 if column < len(own) else 0
                assert (array[row, column] == want).all()


def test_a_batch_of_empty_clips_still_has_a_column() -> None:
    """No axis of the classifier's inputs is ever 0."""
    inputs = pad_clips([encode([], [])])
    assert inputs["frame_mask"].tolist() == [[0]]
    assert inputs["text_kind"].tolist() == [[NO_KIND]]


@pytest.mark.parametrize(
    ("seen", "kinds", "blank"),
    [
        ([], [], True),
        ([False], [NO_KIND], True),
        ([False, True], [], False),
        ([], [NO_KIND, 2], False),
    ],
)
def test_a_clip_is_blank_when_no_encoder_saw_anything_of_it(
    seen: list[bool],
    kinds: list[int],
    blank: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """Rows that only hold their place do not count."""
    assert encode(seen, kinds).is_blank is blank


def test_each_clip_gets_its_own_row_without_the_padding() -> None:
    """Scores come back in the clips' own lengths, in their order."""
    clips = [encode([True] * 3, [1]), encode([], [2, 4])]
    outputs = answer(clips)
    outputs["scores"][1] = 0.25
    one, two = split_scores(outputs, clips)
    assert one is not None
    assert two is not None
    assert (one.frames.shape, one.texts.shape) == ((3, 14), (1, 14))
    assert (two.frames.shape, two.texts.shape) == ((0, 14), (2, 14))
    assert (one.joint == 0.5).all()
    assert (two.joint == 0.25).all()
    assert one.present == (True, True, False, False, False)
    assert two.present == (False, False, True, False, True)


def test_what_nobody_saw_has_no_score() -> None:
    """Whatever the classifier says of a masked view or window, it is 0 and not present."""
    clips = [encode([True, False], [NO_KIND, 3])]
    [scores] = split_scores(answer(clips), clips)
    assert scores is not None
    assert scores.frames[:, 0].tolist() == [0.5, 0]
    assert scores.texts[:, 0].tolist() == [0, 0.5]
    assert scores.present == (True, False, False, True, False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-3, 1 + 1e-3])
@pytest.mark.parametrize(
    "where",
    [
        ("scores", 1, 3),
        ("modality_scores", 1, 4, 13),
        ("frame_scores", 1, 1, 0),
        ("text_scores", 1, 0, 13),
    ],
    ids=lambda where: where[0],
)
def test_a_score_outside_0_to_1_takes_its_clip_and_no_other(
    where: tuple[str, *tuple[int, ...]], value: float
) -> None:
    """NaN, infinite, negative and over 1 are no scores; the neighbour keeps its own."""
    clips = [encode([True, True], [1]), encode([True, True], [1])]
    outputs = answer(clips)
    outputs[where[0]][where[1:]] = value
    one, two = split_scores(outputs, clips)
    assert isinstance(one, ClipScores)
    assert two is None


def test_nan_in_the_padding_does_no_harm() -> None:
    """What stands behind a clip's own rows is never looked at."""
    clips = [encode([True], [1]), encode([True, True], [1, 1])]
    outputs = answer(clips)
    outputs["frame_scores"][0, 1] = np.nan
    outputs["text_scores"][0, 1] = np.nan
    assert None not in split_scores(outputs, clips)


@pytest.mark.parametrize("name", ["frame_scores", "text_scores"])
def test_too_few_rows_are_no_answer(name: str) -> None:
    """A classifier that scores fewer views or windows than there are has not scored the clip."""
    clips = [encode([True] * 3, [1] * 3)]
    outputs = answer(clips)
    outputs[name] = outputs[name][:, :2]
    assert split_scores(outputs, clips) == [None]


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_both_ends_of_the_range_are_scores(score: float) -> None:
    """0 and 1 are within 0..1."""
    clips = [encode([True], [])]
    assert split_scores(answer(clips, score), clips) != [None]


def test_the_answer_of_the_leaf_is_left_as_it_is() -> None:
    """Blanking unseen rows works on a copy: the arrays belong to the batch."""
    clips = [encode([False, True], [])]
    outputs = answer(clips)
    split_scores(outputs, clips)
    assert (outputs["frame_scores"] == 0.5).all()

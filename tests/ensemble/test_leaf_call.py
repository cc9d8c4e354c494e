from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from livewarden_client.wire import ECHO, FUSION_CLASSIFIER, NONCE, NSFW_ENCODER, TEXT_ENCODER
from livewarden_ensemble.errors import CrossedReply, LeafFailed
from livewarden_ensemble.leaf_call import (
    Arrays,
    LeafCall,
    check_answer,
    draw_nonces,
    join_answers,
    name_cause,
    split_call,
)


def ask(rows: int) -> list[LeafCall]:
    """Calls to the NSFW encoder; row n of all frames is painted with n."""
    frames = np.arange(rows, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    return split_call(NSFW_ENCODER, {"frame": frames})


def reply(call: LeafCall) -> dict[str, np.ndarray]:
    """The right answer: features and probability are the row's paint."""
    paint = call.inputs["frame"][:, 0, 0, :1].astype(np.float32)
    return {
        "nsfw_features": paint.repeat(1024, axis=1),
        "nsfw_probability": paint,
        ECHO.name: call.inputs[NONCE.name].copy(),
    }


def test_nonces_differ_within_and_between_calls() -> None:
    """No row ever carries a nonce that another row carries."""
    drawn = np.concatenate([draw_nonces(64) for _ in range(200)])
    assert drawn.shape == (200 * 64, 1)
    assert drawn.dtype == np.int64
    assert len(np.unique(drawn)) == len(drawn)
    assert (drawn >= 0).all()


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 128, 129])
def test_no_call_is_over_the_batch_limit_and_no_row_is_lost(rows: int) -> None:
    """Chunks follow one another, each as full as the model allows, and share no memory copies."""
    frames = np.arange(rows, dtype=np.int32)[:, None]
    calls = split_call(TEXT_ENCODER, {"input_ids": frames, "attention_mask": frames})
    sizes = [len(call.inputs["input_ids"]) for call in calls]
    assert all(size == TEXT_ENCODER.max_batch for size in sizes[:-1])
    assert 0 < sizes[-1] <= TEXT_ENCODER.max_batch
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(np.concatenate([c.inputs[name] for c in calls]), frames)
        assert all(np.shares_memory(call.inputs[name], frames) for call in calls)
    nonces = np.concatenate([call.inputs[NONCE.name] for call in calls])
    assert len(np.unique(nonces)) == rows
    assert all(set(call.inputs) == {tensor.name for tensor in call.model.inputs} for call in calls)


def test_a_call_never_shows_what_it_carries() -> None:
    """The repr of a call, which a log could hold, names the model and no content."""
    [call] = split_call(TEXT_ENCODER, {"input_ids": np.full((1, 16), 777, np.int32)})
    assert "777" not in repr(call)
    assert "text_encoder" in repr(call)


def test_the_right_answer_passes_untouched() -> None:
    """An answer by the contract, with the call's own nonces, comes back as it is."""
    [call] = ask(3)
    answer = reply(call)
    assert check_answer(call, answer) is answer


def test_a_failure_stays_what_it_is() -> None:
    """A leaf's own failure is handed on."""
    [call] = ask(1)
    failure = LeafFailed("nsfw_encoder", "gone")
    assert check_answer(call, failure) is failure


@pytest.mark.parametrize("rows", [1, 2, 3], ids=["fewer", "as many", "more"])
def test_the_answer_to_another_call_is_a_crossed_reply(rows: int) -> None:
    """A foreign nonce is noticed whatever the size of the answer that carries it."""
    [mine], [other] = ask(2), ask(rows)
    crossed = check_answer(mine, reply(other))
    assert isinstance(crossed, CrossedReply)
    assert crossed.model == "nsfw_encoder"


def test_one_foreign_row_spoils_the_answer() -> None:
    """The nonce is checked in every row, and in order."""
    [call] = ask(3)
    one_off, swapped = reply(call), reply(call)
    one_off[ECHO.name][1] += 1
    swapped[ECHO.name] = swapped[ECHO.name][::-1]
    assert isinstance(check_answer(call, one_off), CrossedReply)
    assert isinstance(check_answer(call, swapped), CrossedReply)


def test_the_reply_to_another_chunk_of_the_same_call_is_crossed() -> None:
    """Chunks of one batch have nonces of their own."""
    first, second = ask(128)
    assert isinstance(check_answer(first, reply(second)), CrossedReply)


@pytest.mark.parametrize("name", [tensor.name for tensor in NSFW_ENCODER.outputs])
def test_a_missing_output_is_named(name: str) -> None:
    """An answer without one of the contract's outputs is none, and says which is missing."""
    [call] = ask(2)
    answer = reply(call)
    del answer[name]
    failed = check_answer(call, answer)
    assert isinstance(failed, LeafFailed)
    assert f"output '{name}' is missing" in str(failed)


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 1), (2,), (2, 1, 1), (2, 2)], ids=lambda shape: str(list(shape))
)
def test_an_output_of_another_shape_is_named(shape: tuple[int, ...]) -> None:
    """Rows, rank and every fixed axis of an output are the contract's."""
    [call] = ask(2)
    answer = reply(call) | {"nsfw_probability": np.zeros(shape, np.float32)}
    failed = check_answer(call, answer)
    assert isinstance(failed, LeafFailed)
    assert f"'nsfw_probability' has shape {list(shape)}, not [2, 1]" in str(failed)


def test_an_axis_that_varies_may_have_any_length() -> None:
    """-1 in the contract takes every length."""
    nonce = draw_nonces(2)
    call = LeafCall(FUSION_CLASSIFIER, {NONCE.name: nonce})
    for views in (1, 5):
        answer: Arrays = {
            "scores": np.zeros((2, 14)),
            "modality_scores": np.zeros((2, 5, 14)),
            "frame_scores": np.zeros((2, views, 14)),
            "text_scores": np.zeros((2, 1, 14)),
            ECHO.name: nonce,
        }
        assert check_answer(call, answer) is answer


def test_answers_join_in_the_order_of_the_calls() -> None:
    """Row n of the joined outputs belongs to row n of what was asked, whoever else was asked."""
    calls = ask(130)
    strange = replace(calls[0], model=TEXT_ENCODER)
    mixed = [calls[0], strange, calls[1], calls[2]]
    answers = [reply(call) for call in mixed]
    rows = join_answers(NSFW_ENCODER, mixed, answers)
    np.testing.assert_array_equal(rows.outputs["nsfw_probability"][:, 0], np.arange(130))
    assert rows.outputs["nsfw_features"].shape == (130, 1024)
    assert set(rows.outputs) == {"nsfw_features", "nsfw_probability"}
    assert list(rows.causes) == [None] * 130


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (LeafFailed("nsfw_encoder", "gone"), "model_error"),
        (CrossedReply("nsfw_encoder"), "crossed_reply"),
    ],
)
def test_a_failed_chunk_leaves_zeros_and_its_cause_in_its_rows_only(
    error: LeafFailed | CrossedReply, cause: str
) -> None:
    """The rows of the other chunks keep their place and their answers."""
    calls = ask(130)
    answers = [reply(calls[0]), error, reply(calls[2])]
    rows = join_answers(NSFW_ENCODER, calls, answers)
    want = np.arange(130, dtype=np.float32)
    want[64:128] = 0
    np.testing.assert_array_equal(rows.outputs["nsfw_probability"][:, 0], want)
    assert list(rows.causes) == [None] * 64 + [cause] * 64 + [None] * 2
    assert name_cause(error) == cause


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["nsfw_features", "nsfw_probability"])
def test_a_row_that_is_not_finite_fails_alone(name: str, value: float) -> None:
    """One NaN in one output takes its own row, in all outputs, and no other."""
    [call] = ask(4)
    answer = reply(call)
    answer[name][2, -1] = value
    rows = join_answers(NSFW_ENCODER, [call], [answer])
    np.testing.assert_array_equal(rows.outputs["nsfw_probability"][:, 0], [0, 1, 0, 3])
    np.testing.assert_array_equal(rows.outputs["nsfw_features"][:, 5], [0, 1, 0, 3])
    assert list(rows.causes) == [None, None, "not_finite", None]


def test_a_model_that_was_not_asked_has_no_rows() -> None:
    """No calls give empty outputs of the contract's shape, so that slicing them works."""
    rows = join_answers(NSFW_ENCODER, [], [])
    assert rows.outputs["nsfw_features"].shape == (0, 1024)
    assert rows.causes == []

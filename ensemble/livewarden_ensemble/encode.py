"""The encoders: all clips' frames and texts in one batched call each, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from livewarden_client.wire import NSFW_ENCODER, TEXT_ENCODER, VISION_ENCODER, Model
from livewarden_ensemble.coverage import FrameState, TextState
from livewarden_ensemble.errors import LivewardenError
from livewarden_ensemble.fuse import KIND_CODE, NO_KIND, VISION_INPUTS, Encoded
from livewarden_ensemble.leaf_call import Arrays, LeafCall, Rows, join_answers, split_call

if TYPE_CHECKING:
    from livewarden_ensemble.clip import ClipWork
    from livewarden_ensemble.tokenise import TokenBatch

# Runs calls side by side; every answer is checked for its nonce.
Ask = Callable[[Sequence[LeafCall]], Sequence[Arrays | LivewardenError]]


def encode_clips(works: Sequence[ClipWork], tokens: TokenBatch, ask: Ask) -> list[Encoded]:
    """Encode all clips; what an encoder did not answer is marked as unscored in `works`.

    The views and windows of `works`, in order, are the rows of the calls. Rows that failed hold
    zeros, so that one encoder's answers still count where another is gone.
    """
    calls: list[LeafCall] = []
    views = [view for work in works for view in work.views]
    if views:
        frames = {"frame": np.stack(views)}
        calls += split_call(VISION_ENCODER, frames) + split_call(NSFW_ENCODER, frames)
    if len(tokens.owners):
        windows = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        calls += split_call(TEXT_ENCODER, windows)
    answers = ask(calls) if calls else ()
    rows = {
        model.name: join_answers(model, calls, answers)
        for model in (VISION_ENCODER, NSFW_ENCODER, TEXT_ENCODER)
    }
    return _split_rows(works, rows)


def _split_rows(works: Sequence[ClipWork], rows: Mapping[str, Rows]) -> list[Encoded]:
    vision, nsfw, text = (rows[m.name] for m in (VISION_ENCODER, NSFW_ENCODER, TEXT_ENCODER))
    columns = {**vision.outputs, **nsfw.outputs}
    encoded = []
    view = window = 0
    for work in works:
        shown = slice(view, view + len(work.views))
        read = slice(window, window + len(work.window_texts))
        for model, causes in ((VISION_ENCODER, vision.causes), (NSFW_ENCODER, nsfw.causes)):
            for frame in _note_failure(work, model, causes[shown], work.view_frames):
                work.frame_states[frame] = FrameState.UNSCORED
        for item in _note_failure(work, TEXT_ENCODER, text.causes[read], work.window_texts):
            work.text_states[item] = TextState.UNSCORED
        encoded.append(
            Encoded(
                vision={tensor.name: columns[tensor.name][shown] for tensor in VISION_INPUTS},
                text=text.outputs["text_embedding"][read],
                seen=tuple(
                    None in causes
                    for causes in zip(vision.causes[shown], nsfw.causes[shown], strict=True)
                ),
                kinds=tuple(
                    KIND_CODE[work.context.texts[index].kind] if cause is None else NO_KIND
                    for index, cause in zip(work.window_texts, text.causes[read], strict=True)
                ),
            )
        )
        view, window = shown.stop, read.stop
    return encoded


def _note_failure(
    work: ClipWork, model: Model, causes: Sequence[str | None], items: Sequence[int]
) -> set[int]:
    """Find the items of the clip that `model` failed; the first cause goes into its coverage."""
    failed = {item: cause for item, cause in zip(items, causes, strict=True) if cause is not None}
    for cause in failed.values():
        work.failed.setdefault(model.name, cause)
    return set(failed)

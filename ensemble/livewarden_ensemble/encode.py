"""The encoders: all clips' frames and texts in one batched call each, side by side.

Each picture and each window of a batch is asked about once, and the answers are dealt out to all
that show or say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from livewarden_client.wire import (
    NSFW_ENCODER,
    TEXT_ENCODER,
    TOKEN_LENGTHS,
    VISION_ENCODER,
    Model,
)
from livewarden_ensemble.answer_cache import AnswerCache
from livewarden_ensemble.coverage import FrameState, TextState
from livewarden_ensemble.errors import LivewardenError
from livewarden_ensemble.fuse import KIND_CODE, NO_KIND, VISION_INPUTS, Encoded
from livewarden_ensemble.leaf_call import Arrays, LeafCall, Rows, join_answers, split_call

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livewarden_ensemble.clip import ClipWork
    from livewarden_ensemble.tokenise import TokenBatch

_FRAME: Final = (VISION_ENCODER, NSFW_ENCODER)

# Runs calls side by side; every answer is checked for its nonce.
Ask = Callable[[Sequence[LeafCall]], Sequence[Arrays | LivewardenError]]


def encode_clips(
    works: Sequence[ClipWork],
    tokens: TokenBatch,
    ask: Ask,
    cache: AnswerCache | None = None,
) -> list[Encoded]:
    """Encode all clips; what an encoder did not answer is marked as unscored in `works`.

    Only views that stand for themselves are asked about, each picture once, and none whose answer
    is in the cache. Rows that failed hold zeros, so that one encoder's answers still count where
    another is gone.
    """
    cache = cache or AnswerCache(0)
    views, view_rows = _fold_views(works)
    windows, window_rows = _fold_windows(tokens)
    frames = _Batch(_FRAME, views, cache)
    texts = _Batch((TEXT_ENCODER,), windows, cache)
    calls = [
        *frames.make_calls(lambda rows: {"frame": np.stack(rows)}),
        *texts.make_calls(_pad_windows),
    ]
    answers = ask(calls) if calls else ()
    rows = frames.join(calls, answers) | texts.join(calls, answers)
    return _split_rows(works, rows, view_rows, window_rows)


class _Batch:
    """The rows that several encoders are asked about alike, less those that the cache knows."""

    def __init__(
        self, models: Sequence[Model], rows: Sequence[NDArray[Any]], cache: AnswerCache
    ) -> None:
        self._models = models
        self._rows = rows
        self._cache = cache
        self._keys = [cache.digest(models[0].name, row) for row in rows] if cache.enabled else []
        self._known = {
            row: answer
            for row, key in enumerate(self._keys)
            if (answer := cache.find(models[0].name, key)) is not None
        }
        self._asked = [row for row in range(len(rows)) if row not in self._known]

    def make_calls(self, lay_out: Callable[[Sequence[NDArray[Any]]], Arrays]) -> list[LeafCall]:
        """One call to each encoder, or as many as its batch limit takes."""
        if not self._asked:
            return []
        inputs = lay_out([self._rows[row] for row in self._asked])
        return [call for model in self._models for call in split_call(model, inputs)]

    def join(
        self, calls: Sequence[LeafCall], answers: Sequence[Arrays | LivewardenError]
    ) -> dict[str, Rows]:
        """All rows of each encoder by its name, answered or remembered; the cache learns."""
        joined = {model.name: join_answers(model, calls, answers) for model in self._models}
        if self._cache.enabled:
            for place, row in enumerate(self._asked):
                if all(part.causes[place] is None for part in joined.values()):
                    answer = {
                        name: column[place]
                        for part in joined.values()
                        for name, column in part.outputs.items()
                    }
                    self._cache.keep(self._keys[row], answer)
        if not self._known:
            return joined
        return {name: self._spread(part) for name, part in joined.items()}

    def _spread(self, part: Rows) -> Rows:
        """Put the remembered rows between those that were asked for."""
        outputs = {}
        for name, column in part.outputs.items():
            full = np.empty((len(self._rows), *column.shape[1:]), np.float32)
            full[self._asked] = column
            for row, answer in self._known.items():
                full[row] = answer[name]
            outputs[name] = full
        causes: list[str | None] = [None] * len(self._rows)
        for row, cause in zip(self._asked, part.causes, strict=True):
            causes[row] = cause
        return Rows(outputs, causes)


def _fold_views(works: Sequence[ClipWork]) -> tuple[list[NDArray[Any]], list[list[int]]]:
    """The views to encode, and for each clip the rows that its views take their encoding from.

    A picture that several clips sent was decoded once, and so is one object.
    """
    places: dict[int, int] = {}
    distinct: list[NDArray[Any]] = []
    rows: list[list[int]] = []
    for work in works:
        rows.append([])
        for stand_in in work.stand_ins:
            view = work.views[stand_in]
            place = places.setdefault(id(view), len(distinct))
            if place == len(distinct):
                distinct.append(view)
            rows[-1].append(place)
    return distinct, rows


def _fold_windows(tokens: TokenBatch) -> tuple[list[NDArray[Any]], list[int]]:
    """The distinct windows, padding off, and the row that each window takes its encoding from."""
    places: dict[bytes, int] = {}
    distinct: list[NDArray[Any]] = []
    rows = []
    for ids, mask in zip(tokens.input_ids, tokens.attention_mask, strict=True):
        window = ids[: int(mask.sum())]
        place = places.setdefault(window.tobytes(), len(distinct))
        if place == len(distinct):
            distinct.append(window)
        rows.append(place)
    return distinct, rows


def _pad_windows(windows: Sequence[NDArray[Any]]) -> Arrays:
    """Windows as the text encoder's inputs, padded to the shortest length that takes them all."""
    longest = max(map(len, windows))
    length = next(length for length in TOKEN_LENGTHS if length >= longest)
    input_ids = np.zeros((len(windows), length), np.int32)
    attention_mask = np.zeros_like(input_ids)
    for row, window in enumerate(windows):
        input_ids[row, : len(window)] = window
        attention_mask[row, : len(window)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def _split_rows(
    works: Sequence[ClipWork],
    rows: Mapping[str, Rows],
    view_rows: Sequence[Sequence[int]],
    window_rows: Sequence[int],
) -> list[Encoded]:
    vision, nsfw, text = (rows[m.name] for m in (VISION_ENCODER, NSFW_ENCODER, TEXT_ENCODER))
    columns = {**vision.outputs, **nsfw.outputs}
    encoded = []
    window = 0
    for work, shown in zip(works, view_rows, strict=True):
        read = window_rows[window : window + len(work.window_texts)]
        window += len(read)
        causes = {model.name: [rows[model.name].causes[row] for row in shown] for model in _FRAME}
        unread = [text.causes[row] for row in read]
        for model in _FRAME:
            for frame in _note_failure(work, model, causes[model.name], work.view_frames):
                work.frame_states[frame] = FrameState.UNSCORED
        for item in _note_failure(work, TEXT_ENCODER, unread, work.window_texts):
            work.text_states[item] = TextState.UNSCORED
        encoded.append(
            Encoded(
                vision={tensor.name: columns[tensor.name][shown] for tensor in VISION_INPUTS},
                text=text.outputs["text_embedding"][read],
                seen=tuple(None in both for both in zip(*causes.values(), strict=True)),
                kinds=tuple(
                    KIND_CODE[work.context.texts[index].kind] if cause is None else NO_KIND
                    for index, cause in zip(work.window_texts, unread, strict=True)
                ),
            )
        )
    return encoded


def _note_failure(
    work: ClipWork, model: Model, causes: Sequence[str | None], items: Sequence[int]
) -> set[int]:
    """Find the items of the clip that `model` failed; the first cause goes into its coverage."""
    failed = {item: cause for item, cause in zip(items, causes, strict=True) if cause is not None}
    for cause in failed.values():
        work.failed.setdefault(model.name, cause)
    return set(failed)

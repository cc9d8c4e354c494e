"""Calls to leaves: what is asked, and the proof that the answer belongs to the question.

Every row of a call carries its own random nonce, which the leaf copies to `echo`. A server that
hands out somebody else's answer (Triton 2.51 can, after a process was paused) is caught here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from livewarden_client.wire import ECHO, NONCE, Model
from livewarden_ensemble.errors import CrossedReply, LeafFailed, LivewardenError

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class LeafCall:
    """One batched inference: inputs [N, ...] for `model`, the nonce included.

    Whoever runs it may note in `span` when it began and ended, in ns of the performance counter.
    """

    model: Model
    inputs: Arrays = field(repr=False)
    span: list[int] = field(default_factory=list, repr=False)

    @property
    def rows(self) -> int:
        """N."""
        return len(self.inputs[NONCE.name])


# Runs calls side by side and answers each in its place: outputs, or the error that took it.
Infer = Callable[[Sequence[LeafCall]], Sequence[Arrays | LeafFailed]]


def draw_nonces(rows: int) -> NDArray[np.int64]:
    """Draw nonces [rows, 1] that no other row of any call has, but for a chance under 2**-40."""
    first = secrets.randbits(62)
    return np.arange(first, first + rows, dtype=np.int64)[:, None]


def split_call(model: Model, inputs: Arrays) -> list[LeafCall]:
    """Split inputs [N, ...] into calls to `model`, none over its batch limit; views only."""
    rows = len(next(iter(inputs.values())))
    full = {**inputs, NONCE.name: draw_nonces(rows)}
    step = model.max_batch
    return [
        LeafCall(model, {name: array[start : start + step] for name, array in full.items()})
        for start in range(0, rows, step)
    ]


def check_answer(call: LeafCall, answer: Arrays | LeafFailed) -> Arrays | LivewardenError:
    """Return the answer, or why it must not be used.

    That is the leaf's own failure, an output that is missing or of another shape than the
    contract's, or a foreign nonce.
    """
    if isinstance(answer, LeafFailed):
        return answer
    name = call.model.name
    asked = call.inputs[NONCE.name]
    for tensor in call.model.outputs:
        if tensor.name not in answer:
            return LeafFailed(name, f"output {tensor.name!r} is missing")
    # Before the shapes: somebody else's answer may well be of another size.
    if not np.array_equal(answer[ECHO.name], asked):
        return CrossedReply(name)
    for tensor in call.model.outputs:
        shape, wanted = answer[tensor.name].shape, (len(asked), *tensor.dims)
        if len(shape) != len(wanted) or any(
            want not in {-1, got} for got, want in zip(shape, wanted, strict=True)
        ):
            return LeafFailed(
                name, f"output {tensor.name!r} has shape {list(shape)}, not {list(wanted)}"
            )
    return answer


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The joined answers of one encoder's calls: outputs [N, ...], and per row what failed it.

    A failed row holds zeros and its cause; a good row's cause is None.
    """

    outputs: Arrays
    causes: Sequence[str | None]


def join_answers(
    model: Model, calls: Sequence[LeafCall], answers: Sequence[Arrays | LivewardenError]
) -> Rows:
    """Join the answers to the calls of `model`, an encoder, in order; uncalled, it has no rows.

    A row that is not finite throughout has failed like one without an answer: the other rows of
    its call belong to other clips.
    """
    tensors = [tensor for tensor in model.outputs if tensor.name != ECHO.name]
    blocks = {tensor.name: [np.zeros((0, *tensor.dims), np.float32)] for tensor in tensors}
    causes: list[str | None] = []
    for call, answer in zip(calls, answers, strict=True):
        if call.model is not model:
            continue
        rows = call.rows
        if isinstance(answer, LivewardenError):
            causes += [name_cause(answer)] * rows
            for tensor in tensors:
                blocks[tensor.name].append(np.zeros((rows, *tensor.dims), np.float32))
            continue
        finite = np.ones(rows, np.bool_)
        for tensor in tensors:
            finite &= np.isfinite(answer[tensor.name].reshape(rows, -1)).all(axis=1)
        causes += [None if row else "not_finite" for row in finite]
        for tensor in tensors:
            block = np.array(answer[tensor.name], np.float32)
            block[~finite] = 0
            blocks[tensor.name].append(block)
    return Rows({name: np.concatenate(parts) for name, parts in blocks.items()}, causes)


def name_cause(error: LivewardenError) -> str:
    """Name the code that stands for an error in `coverage.failed`."""
    return "crossed_reply" if isinstance(error, CrossedReply) else "model_error"

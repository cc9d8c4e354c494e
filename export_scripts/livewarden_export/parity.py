"""Does an artefact compute what its source computes? Measured on real data, and able to say no.

An integer output must be equal; a float output's rows are compared by cosine, largest and 99th
percentile difference. Anything not finite counts as an infinite difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from livewarden_export.errors import ParityBreach
from livewarden_export.recipe import Precision, Tensors, Tolerance
from livewarden_export.sample import Case
from livewarden_export.table import format_rows

Infer = Callable[[Tensors], Mapping[str, NDArray[Any]]]

_EXACT: Final = Tolerance(max_abs=0.0, p99_abs=0.0)


@dataclass(frozen=True, slots=True)
class Artefact:
    """Something that answers for a leaf: which runtime, at which precision, and how to ask it."""

    runtime: str
    precision: Precision
    infer: Infer


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one output of one artefact is from its source, over all cases; worst figures.

    `scale` is the largest absolute value that the source gave, for reading the other figures.
    """

    leaf: str
    runtime: str
    precision: Precision
    output: str
    rows: int
    scale: float
    min_cosine: float
    max_abs: float
    p99_abs: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for the manifest."""
        return asdict(self)


def measure_parity(
    leaf: str,
    artefact: Artefact,
    cases: Sequence[Case],
    references: Sequence[Mapping[str, NDArray[Any]]],
    tolerances: Mapping[str, Tolerance],
) -> list[Parity]:
    """One Parity per output of the source, over `cases` and the source's answers to them.

    A float output without a tolerance is a KeyError: nothing passes for want of a bound.
    """
    answers = [artefact.infer(case.inputs) for case in cases]
    return [
        _compare(
            (leaf, artefact.runtime, artefact.precision, output),
            [answer[output] for answer in answers],
            [reference[output] for reference in references],
            _EXACT if references[0][output].dtype.kind in "iu" else tolerances[output],
        )
        for output in references[0]
    ]


def check_parity(rows: Iterable[Parity]) -> None:
    """Raise ParityBreach, with a table of everything measured, unless every row passed."""
    rows = list(rows)
    failed = [row for row in rows if not row.passed]
    if failed:
        where = ", ".join(
            sorted({f"{row.leaf}/{row.output} ({row.runtime} {row.precision})" for row in failed})
        )
        raise ParityBreach(
            f"{len(failed)} of {len(rows)} outputs differ from their source by more than allowed: "
            f"{where}",
            format_table(rows),
        )


def format_table(rows: Iterable[Parity]) -> str:
    """The rows as a text table, one line each."""
    head = ("leaf", "output", "runtime", "rows", "scale", "min cosine", "max abs", "p99 abs", "")
    body = [
        (
            row.leaf,
            row.output,
            f"{row.runtime} {row.precision}",
            str(row.rows),
            f"{row.scale:.3g}",
            f"{row.min_cosine:.6f}",
            f"{row.max_abs:.2e}",
            f"{row.p99_abs:.2e}",
            "ok" if row.passed else "BREACH",
        )
        for row in rows
    ]
    return format_rows(head, body)


def _compare(
    key: tuple[str, str, Precision, str],
    answers: Sequence[NDArray[Any]],
    references: Sequence[NDArray[Any]],
    tolerance: Tolerance,
) -> Parity:
    wanted, given = ([_flatten(array) for array in side] for side in (references, answers))
    rows = sum(len(array) for array in wanted)
    scale = max(float(np.abs(array).max()) for array in wanted)
    pairs = list(zip(answers, references, strict=True))
    alike = all(a.shape == r.shape and a.dtype == r.dtype for a, r in pairs)
    if not alike or not all(np.isfinite(array).all() for array in given):
        return Parity(*key, rows, scale, -1.0, np.inf, np.inf, passed=False)
    if tolerance is _EXACT:
        # Compared as integers: float64 would not see the last bits of a nonce.
        same = all(np.array_equal(a, r) for a, r in pairs)
        error = 0.0 if same else np.inf
        return Parity(*key, rows, scale, 1.0 if same else -1.0, error, error, passed=same)
    wide, exact = np.concatenate(given), np.concatenate(wanted)
    errors = np.abs(wide - exact)
    cosine = _smallest_cosine(wide, exact)
    largest, p99 = float(errors.max()), float(np.quantile(errors, 0.99))
    passed = (
        cosine >= tolerance.min_cosine and largest <= tolerance.max_abs and p99 <= tolerance.p99_abs
    )
    return Parity(*key, rows, scale, cosine, largest, p99, passed=passed)


def _flatten(array: NDArray[Any]) -> NDArray[np.float64]:
    return array.reshape(-1, array.shape[-1]).astype(np.float64)


def _smallest_cosine(given: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    """The smallest cosine of two rows [N, D]; single numbers and all-zero rows count as 1."""
    if given.shape[1] == 1:
        return 1.0
    norms = np.linalg.norm(given, axis=1) * np.linalg.norm(wanted, axis=1)
    dots = (given * wanted).sum(axis=1)
    both_zero = ~given.any(axis=1) & ~wanted.any(axis=1)
    cosines = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    return float(np.where(both_zero, 1.0, cosines).min())

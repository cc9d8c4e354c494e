"""Precision search: the fastest artefact of each leaf that keeps every verdict where it was."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from livewarden_export.bundle import OPENVINO_FOLDER
from livewarden_export.decision import (
    Decisions,
    Judgement,
    compare_judgements,
    judge_clips,
    load_decision_policy,
    remember_answers,
)
from livewarden_export.errors import ExportFailed
from livewarden_export.leaf_work import LeafWork, Report, prove_openvino
from livewarden_export.parity import Infer
from livewarden_export.recipe import Models, Precision
from livewarden_export.sample import Case
from livewarden_export.stamp import Stamp, limit_precision
from livewarden_export.table import format_rows

SEARCH_FILE: Final = "precision_search.json"
_ROUNDS: Final = 9
_WARM_UP: Final = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One leaf in one precision, all other leaves being their f32 sources.

    `latency_ms` is the median time of one batch of `rows` rows, `size_mb` what is stored.
    `min_cosine` and `max_abs` are the worst of its float outputs, `parity` whether all are within
    bounds; `fits` adds that the verdicts are.
    """

    leaf: str
    precision: Precision
    rows: int
    latency_ms: float
    size_mb: float
    min_cosine: float
    max_abs: float
    parity: bool
    flips: int
    largest_shift: float
    least_slack: float
    fits: bool


@dataclass(frozen=True, slots=True)
class Search:
    """Everything tried, what was chosen, and how verdicts move with all choices together."""

    trials: tuple[Trial, ...]
    chosen: Mapping[str, Precision]
    decisions: Decisions

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for precision_search.json."""
        return {
            "chosen": dict(self.chosen),
            "together": self.decisions.to_dict(),
            "trials": [asdict(trial) for trial in self.trials],
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    trial: Trial
    infer: Infer


def search_precisions(
    models: Models,
    works: Sequence[LeafWork],
    judged: Sequence[Judgement],
    tokenizer: Path,
    stamp: Stamp,
    report: Report,
) -> Search:
    """Try every precision that the recipes name, and choose.

    Per leaf the fastest that fits wins. Where the winners together move verdicts by more than the
    budget, the one that moved most alone steps back to its next slower fit, until they fit.
    Raises ExportFailed where f32 itself does not.
    """
    policy = load_decision_policy(models.decisions)
    sources = {work.name: remember_answers(work.source.reference) for work in works}
    ranked: dict[str, list[_Candidate]] = {}
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="livewarden-search-") as scratch:
        for work in works:
            candidates = []
            for precision in list_precisions(work, stamp):
                report(f"search: {work.name} {precision}")
                folder = Path(scratch) / work.name / precision
                rows, infer = prove_openvino(work, precision, folder, alone=True)
                floats = [row for row in rows if row.output != "echo"]
                after = judge_clips({**sources, work.name: infer}, policy, tokenizer)
                moved = compare_judgements(judged, after, policy)
                case = _find_usual(work)
                parity = all(row.passed for row in rows)
                trial = Trial(
                    work.name,
                    precision,
                    len(next(iter(case.inputs.values()))),
                    measure_latency(infer, case),
                    _measure_size(folder / OPENVINO_FOLDER),
                    min(row.min_cosine for row in floats),
                    max(row.max_abs for row in floats),
                    parity,
                    moved.flips,
                    moved.largest,
                    moved.slack,
                    parity and moved.fits(models.decisions),
                )
                candidates.append(_Candidate(trial, infer))
                trials.append(trial)
            fitting = [candidate for candidate in candidates if candidate.trial.fits]
            if not fitting:
                raise ExportFailed(
                    f"{work.name}: no precision fits the budget, f32 included\n"
                    f"{format_trials(trials, {})}"
                )
            ranked[work.name] = sorted(fitting, key=lambda item: item.trial.latency_ms)
        while True:
            leaves = {name: options[0].infer for name, options in ranked.items()}
            report("search: all choices together")
            after = judge_clips(leaves, policy, tokenizer)
            together = compare_judgements(judged, after, policy)
            if together.fits(models.decisions):
                break
            loosest = find_loosest({n: [c.trial for c in o] for n, o in ranked.items()})
            if loosest is None:
                raise ExportFailed("no combination of precisions keeps the verdicts in the budget")
            del ranked[loosest][0]
    chosen = {name: options[0].trial.precision for name, options in ranked.items()}
    return Search(tuple(trials), chosen, together)


def list_precisions(work: LeafWork, stamp: Stamp) -> list[Precision]:
    """What can be tried for a leaf on this CPU: f32 first, no precision twice."""
    wanted: list[Precision] = ["f32", work.recipe.openvino.precision, *work.recipe.openvino.search]
    return list(dict.fromkeys(limit_precision(kind, bf16=stamp.bf16) for kind in wanted))


def find_loosest(ranked: Mapping[str, Sequence[Trial]]) -> str | None:
    """The leaf whose first choice moves scores most and that has another one; else None."""
    movable = [name for name, trials in ranked.items() if len(trials) > 1]
    return max(movable, key=lambda name: ranked[name][0].largest_shift, default=None)


def measure_latency(infer: Infer, case: Case) -> float:
    """Milliseconds of one call, the median of several after a warm-up."""
    for _ in range(_WARM_UP):
        infer(case.inputs)
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        infer(case.inputs)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def format_trials(trials: Iterable[Trial], chosen: Mapping[str, Precision]) -> str:
    """The trials as a text table; a star marks what was chosen."""
    return format_rows(
        (
            "leaf",
            "precision",
            "ms/batch",
            "rows",
            "MB",
            "min cosine",
            "max abs",
            "parity",
            "flips",
            "shift",
            "slack",
            "",
        ),
        [
            (
                row.leaf,
                row.precision,
                f"{row.latency_ms:.1f}",
                str(row.rows),
                f"{row.size_mb:.1f}",
                f"{row.min_cosine:.6f}",
                f"{row.max_abs:.2e}",
                "ok" if row.parity else "BREACH",
                str(row.flips),
                f"{row.largest_shift:.4f}",
                f"{row.least_slack:+.4f}",
                "*" if chosen.get(row.leaf) == row.precision else "",
            )
            for row in trials
        ],
    )


def _find_usual(work: LeafWork) -> Case:
    """The case whose batch is the profile's opt, else the nearest to it."""
    opt = work.recipe.profile["batch"].opt
    return min(work.cases, key=lambda case: abs(len(next(iter(case.inputs.values()))) - opt))


def _measure_size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6

"""One export, from sources to a sealed bundle: build, convert, prove, seal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livewarden_export.bundle import Bundle, seal_bundle, stage_bundle
from livewarden_export.decision import (
    Judgement,
    check_decisions,
    compare_judgements,
    judge_clips,
    load_decision_policy,
)
from livewarden_export.leaf_work import LeafWork, Report, prepare_leaves, prove_openvino
from livewarden_export.parity import Infer, Parity, check_parity
from livewarden_export.recipe import Models
from livewarden_export.search import SEARCH_FILE, search_precisions
from livewarden_export.stamp import Stamp


def export_bundle(models: Models, bundles: Path, stamp: Stamp, report: Report) -> Bundle:
    """Export every recipe into a new bundle under `bundles`; `report` hears of each step.

    Where the stamp asks for a search, precisions are what it finds. Raises an ExportFailed that
    says what is wrong, and leaves nothing behind where it does.
    """
    with stage_bundle(bundles) as staged:
        works, tokenizer = prepare_leaves(models, staged, report)
        report("decisions: reference")
        policy = load_decision_policy(models.decisions)
        judged = judge_clips({w.name: w.source.reference for w in works}, policy, tokenizer)
        precisions = dict(stamp.precisions)
        if stamp.search:
            found = search_precisions(models, works, judged, tokenizer, stamp, report)
            precisions = dict(found.chosen)
            (staged / SEARCH_FILE).write_text(json.dumps(found.to_dict(), indent=2) + "\n")
        parities: list[Parity] = []
        served: dict[str, Infer] = {}
        for work in works:
            report(f"{work.name}: convert to openvino {precisions[work.name]}")
            rows, served[work.name] = prove_openvino(work, precisions[work.name], work.folder)
            parities += rows
        check_parity(parities)
        report("decisions: compare")
        decisions = compare_judgements(judged, judge_clips(served, policy, tokenizer), policy)
        check_decisions(decisions, models.decisions, "the served artefacts")
        plans: dict[str, Any] = {}
        if "tensorrt" in stamp.targets:
            plans = _add_plans(models, works, judged, tokenizer, bundles, report)
        facts = {
            **stamp.to_facts(),
            "precision": precisions,
            "parity": [row.to_dict() for row in parities],
            "decisions": decisions.to_dict(),
            **plans,
        }
        report("bundle: seal")
        return seal_bundle(staged, facts)


def _add_plans(
    models: Models,
    works: Sequence[LeafWork],
    judged: Sequence[Judgement],
    tokenizer: Path,
    bundles: Path,
    report: Report,
) -> dict[str, Any]:
    """Build and prove every leaf's plan beside its other artefacts; gives facts for the manifest.

    Timing caches stay beside the bundles: the next export of the same GPU is faster.
    """
    from livewarden_export.plan import prove_plan  # noqa: PLC0415 - only for this target
    from livewarden_export.tensorrt import import_tensorrt  # noqa: PLC0415 - same

    trt = import_tensorrt("tensorrt")
    cache = bundles / ".timing"
    plans = {work.name: prove_plan(trt, work, work.folder, cache, report) for work in works}
    rows = [row for plan in plans.values() for row in plan.parity]
    check_parity(rows)
    policy = load_decision_policy(models.decisions)
    after = judge_clips({name: plan.infer for name, plan in plans.items()}, policy, tokenizer)
    decisions = compare_judgements(judged, after, policy)
    check_decisions(decisions, models.decisions, "the TensorRT plans")
    return {
        "plans": {name: dict(plan.facts) for name, plan in plans.items()},
        "plan_parity": [row.to_dict() for row in rows],
        "plan_decisions": decisions.to_dict(),
    }

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livewarden_ensemble.policy import decide, load_policy
from livewarden_ensemble.policy.document import Document, LabelPart, LayerPart
from livewarden_ensemble.policy.temporal import ARRIVALS
from livewarden_ensemble.stream_state import FRESH

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
Make = Callable[..., Any]
NOON_MS = 1_700_000_000_000


def test_the_worked_example_is_what_the_engine_does(
    tmp_path: Path, make_scores: Make, make_coverage: Make, make_context: Make
) -> None:
    """The example's policy loads, and gives its table's actions and reasons."""
    example = re.search(r"```yaml\n(policy:.*?)```", PAGE, re.DOTALL)
    assert example is not None
    path = tmp_path / "policy.yaml"
    path.write_text(example[1])
    policy = load_policy(path)
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| (\w+) \| (?:`([^`]+)`)? ?\|", PAGE, re.MULTILINE)
    assert len(rows) == 7
    told = {int(seq): (float(score), action, code) for seq, score, action, code in rows}
    state, score = FRESH, 0.0
    coverage = make_coverage(missing=())
    for seq in range(max(told) + 1):
        score, action, code = told.get(seq, (score, "", ""))
        decision, state = decide(
            make_scores({"hate": score}),
            coverage,
            make_context(seq, region="DE", surface="kids"),
            state,
            policy,
            NOON_MS + 2_000 * seq,
        )
        if seq in told:
            codes = [reason.code for reason in decision.reasons]
            assert (decision.action, codes) == (action, [code] if code else [])


@pytest.mark.parametrize(
    "key",
    sorted(
        {*Document.__struct_fields__, *LabelPart.__struct_fields__, *LayerPart.__struct_fields__}
        - {"description"}
    ),
)
def test_every_key_is_explained(key: str) -> None:
    """The guide names every key of a policy, of a label and of a layer."""
    assert re.search(rf"\b{key}\b", PAGE)


def test_every_arrival_stands_in_the_guide() -> None:
    """The table of arrivals in the guide is the engine's."""
    for arrival, treatment in ARRIVALS.items():
        assert re.search(rf"^\| {arrival} \|.*{treatment.flag or ''}", PAGE, re.MULTILINE)

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from livewarden_client.wire import LABELS
from livewarden_ensemble.policy import effective, load_policy
from livewarden_perf.cli import perf
from livewarden_perf.policy_cost import OVERRIDES, write_benchmark_policy


def test_the_benchmark_policy_is_what_it_claims(tmp_path: Path) -> None:
    """14 labels with every rule over time, and 20 overrides that each change something."""
    policy = load_policy(write_benchmark_policy(tmp_path / "policy.yaml"))
    assert len(policy.layers["region"]) == OVERRIDES == 20
    base = effective(policy)
    assert len(base.labels) == len(LABELS)
    assert all(
        rule.remembers and rule.confirm and rule.repeat and rule.ladder for rule in base.labels
    )
    assert all(
        effective(policy, region).labels != base.labels for region in policy.layers["region"]
    )


@pytest.mark.parametrize("own", [False, True])
def test_the_command_measures_and_reports(tmp_path: Path, *, own: bool) -> None:
    """Every stream has its costs, in a table or as JSON, for the made-up policy or one's own."""
    chosen = ["--policy", str(write_benchmark_policy(tmp_path / "p.yaml"))] if own else []
    arguments = ["policy", "--seconds", "0.01", *chosen]
    told = CliRunner().invoke(perf, [*arguments, "--json"])
    assert told.exit_code == 0
    costs = json.loads(told.stdout)
    assert costs["overrides"] == 20
    assert set(costs["streams"]) == {"quiet", "busy", "burning"}
    assert all(cost["decide_ms"] > 0 for cost in costs["streams"].values())
    assert "burning" in CliRunner().invoke(perf, arguments).stdout


def test_a_bad_policy_is_one_line(tmp_path: Path) -> None:
    """A file that cannot be used ends the command with 1 and the fault."""
    (tmp_path / "bad.yaml").write_text("nonsense")
    told = CliRunner().invoke(perf, ["policy", "--policy", str(tmp_path / "bad.yaml")])
    assert told.exit_code == 1
    assert "bad.yaml:1:1: " in told.stderr

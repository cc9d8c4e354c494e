import json

import pytest
from click.testing import CliRunner

from livewarden_perf.cli import perf


def run(*arguments):
    return CliRunner().invoke(perf, ["capacity", *arguments])


def test_a_plan_from_figures_as_json():
    """Streams may be written with underscores; the plan is the library's own."""
    result = run(
        *("--streams", "1_000", "--node-clips-per-s", "10", "--node-cores", "2"),
        *("--alone", "100ms", "--p99", "5s", "--json"),
    )
    assert result.exit_code == 0, result.output
    (section,) = json.loads(result.stdout)["sections"]
    assert section["data"]["plans"][0]["nodes"] == 27
    assert section["data"]["demand"]["clips_per_second"] == 200


def test_a_simulated_plan_writes_all_three_files(tmp_path):
    """The shipped table, checked clip by clip, as Markdown, JSON and HTML."""
    result = run(
        *("--streams", "5000", "--simulate", "--simulate-clips", "2000", "--simulate-nodes", "4"),
        *("--tolerance", "5", "--output", str(tmp_path)),
    )
    assert result.exit_code == 0, result.output
    assert "one node lost: p99 ms" in result.stdout
    assert "gpu, never measured" in (tmp_path / "report.md").read_text()
    data = json.loads((tmp_path / "report.json").read_text())["sections"][0]["data"]
    assert data["simulation"]["answered"] == data["simulation"]["clips"]
    assert "<svg" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--node-clips-per-s", "3"],
        ["--node-clips-per-s", "3", "--node-cores", "2"],
        ["--node-cores", "2", "--measurement", __file__],
        ["--nodes", __file__, "--measurement", __file__],
    ],
)
def test_figures_come_from_one_place(arguments):
    """Half of one, or two of them, is a usage error."""
    result = run("--streams", "10", *arguments)
    assert result.exit_code == 2


def test_what_cannot_be_is_one_line():
    """Exit code 1 and the reason of every node type."""
    result = run("--streams", "10", "--p99", "10ms")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert "cpu: a p99 of 10 ms cannot be had" in last
    assert "gpu: nobody has measured one" in last

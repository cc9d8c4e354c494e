from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from livewarden_client.verdict import (
    Coverage,
    LabelVerdict,
    ModalityCoverage,
    PolicyRef,
    Provenance,
    Thresholds,
    Verdict,
)
from livewarden_client.verdict_json import verdict_to_json
from livewarden_client.wire import LABELS
from livewarden_ensemble.cli_policy import policy

Write = Callable[..., Path]


def run(*args: object, **options: str) -> Result:
    return CliRunner().invoke(policy, list(map(str, args)), **options)


@pytest.fixture
def verdict(tmp_path: Path) -> Path:
    """Write the JSON of a verdict that blocks for hate."""
    path = tmp_path / "verdict.json"
    thresholds = Thresholds(0.5, 0.8, 0.95)
    verdict = Verdict(
        request_id="r1",
        action="block",
        label="hate",
        reasons=(),
        labels=tuple(
            LabelVerdict(
                label,
                0.97 * (label == "hate"),
                "allow",
                thresholds,
                {"chat": 0.97 * (label == "hate")},
            )
            for label in LABELS
        ),
        evidence=(),
        coverage=Coverage(ModalityCoverage(8, 8, 8), ModalityCoverage(1, 1, 1)),
        provenance=Provenance(
            "sha256:b", {}, "c1", PolicyRef("live", "17", "sha256:p"), "t1.0", 1, "test"
        ),
        timings_ms={},
    )
    path.write_text(verdict_to_json(verdict))
    return path


@pytest.mark.parametrize(
    "command", ["check", "show", "test", "replay", "diff", "tune", "invent", "dsa"]
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    """--help says what a command does and shows how it is called."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    livewarden policy {command} " in result.stdout or (
        f"livewarden policy {command} " in result.stdout
    )


def test_check_tells_faults_with_their_places(write_policy: Write) -> None:
    """A policy that loads ends with 0; one that does not, with 1, and file, line and column."""
    good, bad = write_policy(), write_policy("bad")
    assert run("check", good).exit_code == 0
    bad.write_text(good.read_text().replace("review: 0.6", "review: 1.6"))
    result = run("check", good, bad)
    assert result.exit_code == 1
    assert re.search(r"policy-bad\.yaml:3:\d+: error: defaults\.thresholds", result.stdout)
    told = json.loads(run("check", bad, "--json").stdout)[str(bad)]
    assert [(one["severity"], one["code"], one["line"]) for one in told] == [
        ("error", "invalid", 3)
    ]


def test_check_counts_warnings_when_strict(write_policy: Write) -> None:
    """What lint warns of fails only with --strict."""
    path = write_policy()
    findings = json.loads(run("check", path, "--json").stdout)[str(path)]
    assert any(one["severity"] == "warning" for one in findings)
    assert run("check", path).exit_code == 0
    assert run("check", path, "--strict").exit_code == 1


def test_show_says_where_values_come_from(write_policy: Write) -> None:
    """The effective policy is shown per label, per setting, and as JSON, with layer and line."""
    path = write_policy()
    text = path.read_text() + (
        "surfaces: { kids: { defaults: { thresholds: { review: 0.3 } } } }\n"
    )
    path.write_text(text)
    overview = run("show", "--policy", path, "--surface", "kids")
    assert overview.exit_code == 0
    assert re.search(r"hate +0\.30/0\.80/0\.95 +surface:kids, line 6", overview.stdout)
    plain = run("show", "--policy", path)
    assert re.search(r"hate +0\.60/0\.80/0\.95 +base, line 3", plain.stdout)
    label = run("show", "--policy", path, "--surface", "kids", "--label", "hate")
    assert re.search(r"thresholds\.review\.enter +0\.3 +surface:kids, line 6", label.stdout)
    assert re.search(r"always_review +false +built-in", label.stdout)
    shown = json.loads(run("show", "--policy", path, "--surface", "kids", "--json").stdout)
    assert shown["overrides"] == ["surface:kids"]
    assert shown["settings"]["labels.hate.thresholds.review.enter"] == {
        "value": 0.3,
        "layer": "surface:kids",
        "line": 6,
    }


def test_show_reads_the_policy_from_the_environment(write_policy: Write) -> None:
    """LIVEWARDEN_POLICY names the policy as it does for the server."""
    result = run("show", env={"LIVEWARDEN_POLICY": str(write_policy("9"))})
    assert result.stdout.startswith("small@9")


def test_golden_cases_end_with_what_they_found(write_policy: Write, tmp_path: Path) -> None:
    """Cases that hold end with 0, others with 1 and what came out; a bad file with 1 too."""
    write_policy()
    cases = tmp_path / "cases.yaml"
    cases.write_text("policy: policy-1.yaml\ncases: [{ name: quiet, expect: allow }]\n")
    assert "1 cases with 1 clips: none failed" in run("test", cases).stdout
    cases.write_text("policy: policy-1.yaml\ncases: [{ name: quiet, expect: block }]\n")
    result = run("test", cases)
    assert result.exit_code == 1
    assert "FAILED quiet" in result.stdout
    assert "cases.yaml:2: the action is allow, not block" in result.stdout
    assert json.loads(run("test", cases, "--json").stdout)[0]["faults"]
    cases.write_text("cases: []\n")
    result = run("test", cases)
    assert (result.exit_code, result.stderr[:6]) == (1, "Error:")


def test_diff_writes_table_page_and_changes(
    write_policy: Write, write_records: Write, tmp_path: Path
) -> None:
    """One run gives the table, the page, and every changed verdict for other programs."""
    html, changed = tmp_path / "diff.html", tmp_path / "changed.jsonl"
    files = (write_policy(), write_policy("2", 0.2), "--records", write_records())
    result = run("diff", *files, "--html", html, "--changed", changed)
    assert result.exit_code == 0
    assert "small@1  →  small@2" in result.stdout
    assert html.read_text().startswith("<!doctype html>")
    changes = [json.loads(line) for line in changed.read_text().splitlines()]
    summary = json.loads(run("diff", *files, "--json", "--examples", 1).stdout)
    assert len(changes) == summary["changed"] > 0
    assert summary["changes"] == [changes[0]]
    assert {(one["old"], one["new"]) for one in changes} == {("allow", "review")}


def test_replay_without_live_decisions_says_so(write_policy: Write, write_records: Write) -> None:
    """Records that do not say what was decided are replayed, and nothing is called a change."""
    result = run("replay", write_records(), "--policy", write_policy())
    assert result.exit_code == 0
    assert "nothing to compare with" in result.stdout


def test_faults_of_files_end_with_1(write_policy: Write, write_records: Write) -> None:
    """A bad policy and a bad record are one message and exit code 1."""
    records, good, bad = write_records(count=3), write_policy(), write_policy("bad")
    bad.write_text("{}\n")
    result = run("diff", good, bad, "--records", records)
    assert result.exit_code == 1
    assert "policy-bad.yaml:1:1: " in result.stderr
    records.write_text("{}\n")
    result = run("replay", records, "--policy", good)
    assert result.exit_code == 1
    assert "records.jsonl:1: is no record" in result.stderr
    assert "Traceback" not in result.output


def test_invented_records_can_be_tuned_on(tmp_path: Path) -> None:
    """The whole way: invent records, propose a threshold, and say when there is none."""
    records = tmp_path / "records.jsonl"
    assert run("invent", records, "--clips", 6000, "--streams", 300).exit_code == 0
    assert len(records.read_bytes().splitlines()) == 6000
    tune = ("tune", "--label", "weapons", "--records", records)
    result = run(*tune, "--target-precision", 0.99)
    assert result.exit_code == 1
    assert "No threshold is sure enough" in result.stdout
    result = run(*tune, "--target-precision", 0.5, "--confidence", 0.5)
    assert result.exit_code == 0
    assert re.search(r"proposed threshold   0\.\d\d", result.stdout)
    proposal = json.loads(
        run(*tune, "--target-precision", 0.5, "--confidence", 0.5, "--json").stdout
    )
    assert proposal["precision"]["low"] >= 0.5


def test_tune_without_truths_ends_with_1(write_records: Write) -> None:
    """Records that nobody judged are refused with what they lack."""
    path = write_records(count=1)
    path.write_text(json.dumps({**json.loads(path.read_text()), "truth": {}}))
    result = run("tune", "--label", "hate", "--target-precision", 0.9, "--records", path)
    assert result.exit_code == 1
    assert "each needs `truth`" in result.stderr


def test_statement_is_written_from_file_and_pipe(verdict: Path) -> None:
    """A verdict's statement goes to stdout as JSON; areas stand for their countries."""
    args = ("--territory", "EU", "--territory", "no", "--language", "de", "--date", "2026-06-24")
    result = run("dsa", verdict, *args)
    assert result.exit_code == 0
    statement = json.loads(result.stdout)
    assert len(statement["territorial_scope"]) == 28
    assert statement["content_language"] == "DE"
    assert statement["content_date"] == statement["application_date"] == "2026-06-24"
    piped = run("dsa", "-", *args, input=verdict.read_text())
    assert json.loads(piped.stdout) == statement


def test_statement_can_be_named_as_in_the_audit_log(verdict: Path, tmp_path: Path) -> None:
    """With the audit log's keys, the PUID is another than the plain digest."""
    keys = tmp_path / "audit.keys"
    keys.write_text(f"k1:{'ab' * 32}\n")
    plain = json.loads(run("dsa", verdict).stdout)["puid"]
    keyed = json.loads(run("dsa", verdict, "--keys", keys).stdout)["puid"]
    assert plain != keyed
    assert (
        keyed
        == json.loads(run("dsa", verdict, env={"LIVEWARDEN_AUDIT_KEYS_FILE": str(keys)}).stdout)[
            "puid"
        ]
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--territory", "US"], "territory: 'US' is none of"),
        (["--language", "german"], "language: 'GERMAN'"),
        (["--date", "yesterday"], "does not match the format"),
        (["--decided", "allow"], "'allow' is not one of 'restrict', 'block'"),
        (["--decided", "restrict"], "name it with `visibility`"),
    ],
)
def test_what_makes_no_statement_ends_with_2(verdict: Path, args: list[str], said: str) -> None:
    """Wrong or missing circumstances are explained; the exit code is 2 and nothing is printed."""
    result = run("dsa", verdict, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_what_is_no_verdict_ends_with_2(tmp_path: Path) -> None:
    """A file that holds no verdict is named."""
    path = tmp_path / "other.json"
    path.write_text("[]")
    result = run("dsa", path)
    assert result.exit_code == 2
    assert "other.json: " in result.stderr

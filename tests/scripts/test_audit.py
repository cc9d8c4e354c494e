from __future__ import annotations

import importlib.util
import io
import json
import sys
import urllib.error
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def audit():
    """The script scripts/audit.py."""
    spec = importlib.util.spec_from_file_location("audit_script", ROOT / "scripts" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(audit, monkeypatch, tmp_path, answer) -> int:
    monkeypatch.setattr(sys, "argv", ["audit.py", "--sbom", str(tmp_path / "sbom.json")])
    monkeypatch.setattr(audit.urllib.request, "urlopen", answer)
    return audit.main()


def answer_with(holes: dict[str, list[str]]):
    """An OSV that knows `holes`."""

    def answer(request, timeout):
        assert timeout > 0
        queries = json.loads(request.data)["queries"]
        results = [
            {"vulns": [{"id": hole} for hole in holes[query["package"]["name"]]]}
            if query["package"]["name"] in holes
            else {}
            for query in queries
        ]
        return io.BytesIO(json.dumps({"results": results}).encode())

    return answer


def test_every_pin_is_in_the_bill_of_materials(audit, monkeypatch, tmp_path):
    """The SBOM names each pinned package with its version; without a hole the audit passes."""
    assert run(audit, monkeypatch, tmp_path, answer_with({})) == 0
    sbom = json.loads((tmp_path / "sbom.json").read_text())
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(sbom["components"]) == sum("==" in line and line[0] != "#" for line in lines)
    assert any(part["purl"].startswith("pkg:pypi/pillow@13") for part in sbom["components"])


def test_hole_without_a_reason_fails(audit, monkeypatch, tmp_path, capsys):
    """A known hole is named with its package, and ends the audit with 1."""
    assert run(audit, monkeypatch, tmp_path, answer_with({"pillow": ["GHSA-x"]})) == 1
    assert "pillow: GHSA-x" in capsys.readouterr().out


def test_reasons_are_kept_clean(audit):
    """A hole with a reason passes; a reason without a hole does not."""
    assert audit.judge({"a": ["X"]}, {"X": "not reached"}) == []
    assert audit.judge({}, {"X": "not reached"}) == ["X: allowed, but no longer found"]


def test_no_network_is_no_success(audit, monkeypatch, tmp_path, capsys):
    """Where OSV cannot be reached nothing was checked, and the status says so."""

    def refuse(*_args, **_options):
        raise urllib.error.URLError("no route")

    assert run(audit, monkeypatch, tmp_path, refuse) == 2
    assert "scan the SBOM" in capsys.readouterr().err

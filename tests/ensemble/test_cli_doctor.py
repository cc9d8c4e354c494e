from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from livewarden_ensemble import cli_doctor, probe
from livewarden_ensemble.claim import Claim, take_claim
from livewarden_ensemble.cli_doctor import doctor
from livewarden_ensemble.doctor import CHECKS, Finding, State
from livewarden_ensemble.keeper import SHARED_MEMORY
from livewarden_ensemble.launch import size_shared_memory
from livewarden_ensemble.policy_watcher import POLICY_KEY_VARIABLE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Configs without a bundle, beside the policy that ships: what a fresh checkout has."""
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    copy = shutil.copytree(
        ROOT / "model_repository",
        tmp_path / "model_repository",
        ignore=lambda _, names: [name for name in names if name.isdigit() or "live" in name],
    )
    return Path(copy)


def examine(repository: Path, *options: str) -> tuple[Result, dict[str, dict[str, str]]]:
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    arguments = ["--repository", str(repository), *ports, *options, "--json"]
    result = CliRunner().invoke(doctor, arguments)
    return result, {found["check"]: found for found in json.loads(result.stdout)["findings"]}


def test_a_fresh_checkout_lacks_a_bundle(repository: Path):
    """Everything that is there is found, what is not exported yet is told, exit code 1."""
    result, found = examine(repository)
    assert result.exit_code == 1
    assert list(found) == list(CHECKS)
    assert found["bundle"]["state"] == "fail"
    assert "run `livewarden export` first" in found["bundle"]["detail"]
    assert found["tritonserver"]["state"] == found["repository"]["state"] == "ok"
    assert found["policy"]["state"] == "ok"


def test_wrong_files_are_findings_and_no_tracebacks(repository: Path, tmp_path: Path):
    """A wrong policy, a file that is no server and a missing config are each told."""
    policy, server = tmp_path / "bad.yaml", tmp_path / "bin" / "tritonserver"
    policy.write_text("labels: {}\n")
    server.parent.mkdir()
    server.write_text("no program\n")
    server.chmod(0o755)
    (tmp_path / "backends").mkdir()
    (repository / "text_encoder" / "config.pbtxt").unlink()
    result, found = examine(repository, "--policy", str(policy), "--tritonserver", str(server))
    assert result.exit_code == 1
    assert found["policy"]["detail"].startswith(f"{policy}:1:1")
    assert "cannot be run" in found["tritonserver"]["detail"]
    assert found["repository"]["detail"] == "no config.pbtxt of text_encoder"


def test_a_changed_file_of_a_bundle_is_named(repository: Path):
    """Hashes are compared with the manifest, not believed."""
    bundle = repository.parent / "bundles" / ("0" * 16)
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text(
        json.dumps({"schema": "livewarden.bundle/v1", "digest": "0" * 64, "files": {"a": "1"}})
    )
    leaves = ("vision_encoder", "nsfw_encoder", "text_encoder", "fusion_classifier")
    pointer = {
        "bundle": bundle.name,
        "path": f"../../bundles/{bundle.name}",
        "versions": dict.fromkeys(leaves, "1"),
    }
    (repository / "moderation" / "live.json").write_text(json.dumps(pointer))
    _, found = examine(repository)
    assert found["bundle"]["state"] == "fail"
    assert found["bundle"]["detail"].endswith("a: is missing; export the bundle again")


def test_a_taken_port_names_its_holder(repository: Path):
    """The process that listens is named; one of ours would be no fault."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _, found = examine(repository, "--http-port", str(port))
    assert found["ports"]["state"] == "fail"
    assert f"Port {port} of 127.0.0.1 is in use already." in found["ports"]["detail"]
    assert "(process " in found["ports"]["detail"]


def test_what_a_killed_server_left_is_seen_and_kept(repository: Path):
    """Files and processes under a free lock are told; the doctor removes nothing."""
    code = "from livewarden_ensemble.claim import take_claim as t; import os;"
    code += "print(t().token, flush=True); os._exit(0)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    dead = Claim(ended.stdout.strip(), lock=-1)
    region = SHARED_MEMORY / f"{dead.name_prefix(0)}region"
    region.write_bytes(b"x" * 2**20)
    idle = [sys.executable, "-c", "import time; time.sleep(60)", f"--p={dead.name_prefix(0)}"]
    with subprocess.Popen(idle) as stub:
        time.sleep(0.1)  # until its arguments can be read
        _, found = examine(repository)
        assert found["leftovers"]["state"] == "warn"
        assert "shared memory files: 2 (1 MiB)" in found["leftovers"]["detail"]
        assert f"processes {stub.pid}" in found["leftovers"]["detail"]
        assert region.exists()
        take_claim().release()  # what the next start does
        stub.wait(10)
    _, found = examine(repository)
    assert found["leftovers"]["state"] == "ok"


def test_pins_are_compared_without_the_mark_of_a_build(tmp_path: Path):
    """2.13.0+cpu is 2.13.0; a version that is not the pinned one is told."""
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("torch==2.13.0\nclick==0.1\n")
    pins = probe._read_pins(constraints)
    assert pins is not None
    assert [(pin.name, pin.wanted == pin.found) for pin in pins] == [
        ("torch", True),
        ("click", False),
    ]


@pytest.mark.parametrize(
    ("state", "code", "last"),
    [
        ("ok", 0, "Fit to serve."),
        ("warn", 0, "Fit to serve; 1 to know about."),
        ("fail", 1, "Not fit to serve: 1 failed, 0 to know about."),
    ],
)
def test_plain_lines_and_exit_codes(
    monkeypatch: pytest.MonkeyPatch, state: str, code: int, last: str
):
    """Without a terminal there is one line per finding, its remedy below, and no colour."""
    found = {"disk": Finding(State(state), "3 MiB free", "Free [some]" * (state != "ok"))}
    monkeypatch.setattr(probe, "gather_facts", lambda _: None)
    monkeypatch.setattr("livewarden_ensemble.doctor.examine", lambda _: found)
    result = CliRunner().invoke(doctor)
    lines = result.stdout.splitlines()
    assert lines[0] == f"{state:<4} disk: 3 MiB free"
    assert lines[1:-1] == (["     -> Free [some]"] if state != "ok" else [])
    assert (lines[-1], result.exit_code) == (last, code)


def test_a_terminal_gets_a_table():
    """The same words as a table; nothing in a finding is read as markup."""
    found = {"disk": Finding(State.FAIL, "3 MiB [red] free", "Free some")}
    console = Console(width=80, force_terminal=True, no_color=True)
    with console.capture() as capture:
        console.print(cli_doctor._render(found))
    assert "3 MiB [red] free" in capture.get()
    assert "Not fit to serve: 1 failed" in capture.get()


def test_shared_memory_is_asked_for_as_serve_does(repository: Path):
    """Each version of a model that lies there counts, or serve refuses where the doctor passed."""
    for version in range(1, 10):
        (repository / "text_encoder" / str(version)).mkdir()
    facts = probe.gather_facts(probe.Wish(repository, "127.0.0.1", {}))
    assert facts.shm_needed == 9 * size_shared_memory()


def test_a_policy_without_the_signature_that_is_asked_for_is_told(
    repository: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where a key is named, a policy that it did not sign cannot be served."""
    monkeypatch.setenv(POLICY_KEY_VARIABLE, str(keys / "release.pub"))
    _, found = examine(repository)
    assert found["policy"]["state"] == "fail"
    assert "only a signed policy is accepted" in found["policy"]["detail"]

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from livewarden_ensemble.doctor import CHECKS, Finding, State, examine, is_fit
from livewarden_ensemble.fact import Facts, Pin, Port

GIB = 2**30

FIT = Facts(
    cpu_flags=frozenset({"avx2", "avx512f", "avx512_bf16"}),
    cores=4,
    quota=None,
    memory_free=16 * GIB,
    shm_total=GIB,
    shm_free=GIB,
    shm_needed=GIB // 8,
    shm_leaked={},
    leftovers=(),
    ports=(Port("--grpc-port", 8001), Port("--http-port", 8000)),
    python=(3, 11, 16),
    pins=(Pin("numpy", "1.26.4", "1.26.4"), Pin("ruff", "0.17.6", "")),
    triton="nvidia-pytriton 0.7.0",
    triton_fault="",
    envoy_wanted=False,
    envoy_fault="",
    gpus=(),
    tensorrt="",
    disk_free=50 * GIB,
    open_files=20_000,
    core_bytes=0,
    clock_synchronised=True,
    clock_behind_s=-5.0,
    bundle="bundle 60f268658ce47a24",
    bundle_fault="",
    stale="",
    policy="policies/default.yaml",
    policy_fault="",
    policy_warnings=0,
    configs_missing=(),
    orphans=0,
)

TAKEN = Port("--http-port", 8000, "Port 8000 of 127.0.0.1 is in use already.", "nginx (process 7)")

# Per check: what is changed in a fit machine, how it ends, and a word of what is told.
CASES: list[tuple[str, dict[str, Any], State, str]] = [
    ("cpu", {"cpu_flags": frozenset()}, State.WARN, "cannot be read"),
    ("cpu", {"cpu_flags": frozenset({"sse4_2"})}, State.WARN, "no AVX2"),
    ("cpu", {"cpu_flags": frozenset({"avx2"})}, State.WARN, "AVX2 without bf16"),
    ("cpu", {"cpu_flags": frozenset({"avx2", "avx512f"})}, State.WARN, "AVX-512 without bf16"),
    ("cpu", {"cpu_flags": frozenset({"avx2", "amx_bf16"})}, State.OK, "AMX"),
    ("cores", {"cores": 1}, State.WARN, "1 core"),
    ("cores", {"quota": 1.5}, State.WARN, "1.5 may be used"),
    ("memory", {"memory_free": GIB}, State.WARN, "little for an export"),
    ("memory", {"memory_free": GIB // 2}, State.FAIL, "512 MiB free"),
    ("shared memory", {"shm_free": GIB // 16}, State.FAIL, "64 MiB of 1.0 GiB"),
    ("leftovers", {"shm_leaked": {"lw_1": 2**20}}, State.WARN, "shared memory files: 1 (1 MiB)"),
    ("leftovers", {"leftovers": (11, 12)}, State.WARN, "processes 11, 12"),
    ("ports", {"ports": (TAKEN,)}, State.FAIL, "held by nginx"),
    ("ports", {"ports": (replace(TAKEN, ours=True),)}, State.OK, "Livewarden server listens"),
    ("ports", {"ports": ()}, State.OK, "any free ones"),
    ("python", {"python": (3, 13, 0)}, State.FAIL, "3.13.0"),
    ("python", {"python": (3, 11, 7)}, State.WARN, "CVE-2026-3276"),
    ("packages", {"pins": (Pin("numpy", "1.26.4", "2.0"),)}, State.WARN, "numpy 2.0 (pinned"),
    ("packages", {"pins": None}, State.OK, "not compared"),
    ("tritonserver", {"triton_fault": "No tritonserver"}, State.FAIL, "No tritonserver"),
    ("envoy", {"envoy_fault": "No Envoy"}, State.OK, "only"),
    ("envoy", {"envoy_fault": "No Envoy", "envoy_wanted": True}, State.FAIL, "No Envoy"),
    ("gpu", {"gpus": ("NVIDIA L4",)}, State.WARN, "no TensorRT"),
    ("gpu", {"gpus": ("NVIDIA L4",), "tensorrt": "10.12"}, State.OK, "TensorRT 10.12"),
    ("disk", {"disk_free": GIB}, State.WARN, "1.0 GiB free"),
    ("disk", {"disk_free": GIB // 8}, State.FAIL, "128 MiB free"),
    ("limits", {"open_files": 2000}, State.WARN, "2000 open files"),
    ("limits", {"open_files": 256}, State.FAIL, "256 open files"),
    ("limits", {"core_bytes": 1}, State.WARN, "core files are on"),
    ("clock", {"clock_synchronised": False}, State.WARN, "not synchronised"),
    ("clock", {"clock_synchronised": None}, State.OK, "cannot be read"),
    ("clock", {"clock_behind_s": 3600.0}, State.FAIL, "3600 s behind"),
    ("repository", {"configs_missing": ("text_encoder",)}, State.FAIL, "text_encoder"),
    ("repository", {"orphans": 2}, State.WARN, "no pointer names: 2"),
    ("bundle", {"bundle_fault": "model.bin: was changed"}, State.FAIL, "was changed"),
    ("bundle", {"stale": "openvino"}, State.WARN, "older than its sources: openvino"),
    ("policy", {"policy_fault": "p.yaml:1:1: no"}, State.FAIL, "p.yaml:1:1"),
    ("policy", {"policy_warnings": 3}, State.WARN, "3 warnings"),
]


def test_a_fit_machine_has_no_findings():
    """Every check passes and asks for nothing."""
    findings = examine(FIT)
    assert list(findings) == list(CHECKS)
    assert {found.state for found in findings.values()} == {State.OK}
    assert not any(found.remedy for found in findings.values())


@pytest.mark.parametrize(("check", "facts", "state", "told"), CASES)
def test_each_fault_is_found_by_its_check_alone(
    check: str, facts: dict[str, Any], state: State, told: str
):
    """One changed fact changes one finding, which says what it is and what to do."""
    findings = examine(replace(FIT, **facts))
    found = findings.pop(check)
    assert found.state is state
    assert told in found.detail
    assert bool(found.remedy) == (state is not State.OK)
    assert {other.state for other in findings.values()} == {State.OK}


def test_every_check_can_end_badly():
    """No check is there that these tests have not seen saying something."""
    assert {check for check, _, state, _ in CASES if state is not State.OK} == set(CHECKS)


def test_warnings_do_not_make_unfit():
    """Only a failure does."""
    warned, failed = Finding(State.WARN, "x", "y"), Finding(State.FAIL, "x", "y")
    assert is_fit([warned])
    assert not is_fit([warned, failed])

"""Scorecard 10 to 13: a real server that runs out of shared memory, of disk and of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from scorecard import Scorecard, within

pytestmark = [pytest.mark.faults, pytest.mark.integration]

HERE = Path(__file__).parent
CRASHES = HERE.parent / "ensemble" / "audit" / "crash_writer.py"
CGROUP = Path("/sys/fs/cgroup/memory")
NEEDS = "needs the right to mount (root): sudo make faults, or docker run --cap-add SYS_ADMIN"


def rmdir_when_empty(folder: Path) -> None:
    give_up = time.monotonic() + 10
    while (folder / "cgroup.procs").read_text() and time.monotonic() < give_up:
        time.sleep(0.05)
    folder.rmdir()


def can_mount() -> bool:
    trial = ("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def run_constrained(scenario: str, repository: Path, folder: Path, mount: str = "") -> Any:
    """Run a scenario, below its own mounts where `mount` is a command for them."""
    command = [sys.executable, str(HERE / "constrained.py"), scenario, repository, folder]
    if mount:
        command = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_10_full_shared_memory(repository: Path, scorecard: Scorecard) -> None:
    """Requests that do not fit get a typed error, small ones go on; with and without spare."""
    test = "/dev/shm with 16 MiB to spare, then none"
    bound = "typed error, small requests 100 %, no region name in a reply"
    if not can_mount():
        scorecard.enter(10, test, bound, "", skip=NEEDS)
        pytest.skip(NEEDS)
    # 16 MiB for each version of each model, and what may be added to them.
    room = 16 * (2 + len(list(repository.glob("*/[0-9]*"))))
    mount = f"mount -t tmpfs -o size={room}m tmpfs /dev/shm"
    result = run_constrained("memory", repository, Path("/dev/shm"), mount)
    well = sum(n for name, n in result["small"].items() if name in {"allow", "review"})
    scorecard.enter(
        10,
        test,
        bound,
        f"large: {result['large']}; region named: {result['names_region']}; small: "
        f"{result['small']}; {result['restarts']} restarts; left behind: {len(result['left'])}",
        met=well == 45 and all(result["large"]) and not result["names_region"],
    )
    assert well == 45
    assert result["left"] == []


def test_11_full_audit_disk(repository: Path, tmp_path: Path, scorecard: Scorecard) -> None:
    """While the audit log cannot be written no verdict leaves; then it goes on, chain intact."""
    test, bound = "audit disk full, then freed", "0 verdicts without a record, resumes <= 5 s"
    if not can_mount():
        scorecard.enter(11, test, bound, "", skip=NEEDS)
        pytest.skip(NEEDS)
    mount = f"mount -t tmpfs -o size=2m tmpfs {tmp_path}"
    result = run_constrained("disk", repository, tmp_path, mount)
    scorecard.enter(
        11,
        test,
        bound,
        f"while full: {result['full']}; {result['verdicts']} verdicts, {result['records']} "
        f"records; resumed after {result['resumed_s']:.1f} s; faults: {result['faults'] or 'none'}",
        met=result["verdicts"] <= result["records"]
        and not result["faults"]
        and within(result["resumed_s"], 5),
    )
    assert result["verdicts"] <= result["records"]
    assert result["faults"] == []
    assert "Unavailable" in result["full"]


def test_12_killed_audit_writer(tmp_path: Path, scorecard: Scorecard) -> None:
    """The audit writer is killed a hundred times in the middle of its work."""
    done = subprocess.run(
        [sys.executable, str(CRASHES), "kill", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    result = json.loads(done.stdout)
    scorecard.enter(
        12,
        f"kill -9 of the audit writer, {result['rounds']} times",
        "0 acknowledged records lost, chain intact",
        f"{result['acknowledged']} acknowledged, {len(result['lost'])} lost, "
        f"{len(result['doubled'])} doubled, {len(result['faults'])} faults",
        met=not result["lost"] and not result["faults"],
    )
    assert result["lost"] == []


def test_13_memory_limit(repository: Path, scorecard: Scorecard) -> None:
    """A fifth more memory than it needs, and images that ask for much: no OOM kill, or healed."""
    test = "cgroup at 1.2 x steady memory, bombs"
    bound = "no OOM kill by input, else healed <= 15 s; 0 allowed unseen"
    folder = CGROUP / f"livewarden-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(16 * 2**30))
    except OSError:
        why = "needs a writable cgroup v1 memory controller (root on such a host)"
        scorecard.enter(13, test, bound, "", skip=why)
        pytest.skip(why)
    try:
        result = run_constrained("oom", repository, folder)
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        rmdir_when_empty(folder)
    well = sum(n for name, n in result["small"].items() if name in {"allow", "review"})
    scorecard.enter(
        13,
        test,
        bound,
        f"limit {result['limit_mib']} MiB, peak {result['peak_mib']} MiB; bombs: "
        f"{result['ends']}; small: {result['small']}; {result['restarts']} restarts, "
        f"well after {result['healed_s']:.1f} s",
        met=well == 20 and within(result["healed_s"], 15),
    )
    assert "ALLOWED UNSEEN" not in result["ends"]
    assert well == 20

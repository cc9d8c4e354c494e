from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from livewarden_ensemble.claim import Claim, take_claim
from livewarden_ensemble.keeper import SHARED_MEMORY

TAKE = """
import sys, time
from livewarden_ensemble.claim import take_claim
claim = take_claim()
(claim.runtime / "file").touch()
print(claim.token, flush=True)
time.sleep(600)
"""


@pytest.fixture
def claim() -> Iterator[Claim]:
    """A claim of this process."""
    claim = take_claim()
    yield claim
    claim.release()


def test_claim_owns_a_private_directory(claim: Claim):
    """The runtime directory is for the own user only; each start has names of its own."""
    assert claim.runtime.stat().st_mode & 0o777 == 0o700
    assert claim.lock_path.stat().st_mode & 0o777 == 0o600
    assert not claim.name_prefix(10).startswith(claim.name_prefix(1))


def test_held_claim_is_left_alone(claim: Claim):
    """A second server, in this process or another, does not touch the files of a living one."""
    region = SHARED_MEMORY / f"{claim.name_prefix(0)}region"
    region.touch()
    take_claim().release()
    subprocess.run([sys.executable, "-c", TAKE.replace("600", "0")], check=True)
    assert region.exists()
    assert claim.runtime.exists()
    assert claim.lock_path.exists()


def test_claim_of_the_dead_is_removed():
    """Files and processes of a killed owner go when the next server starts."""
    with subprocess.Popen([sys.executable, "-c", TAKE], stdout=subprocess.PIPE) as owner:
        dead = Claim(owner.stdout.readline().decode().strip(), lock=-1)
        region = SHARED_MEMORY / f"{dead.name_prefix(3)}region"
        region.touch()
        owner.kill()
    wait = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", wait, f"{dead.name_prefix(3)}x"]) as stub:
        psutil.Process(stub.pid).suspend()
        take_claim().release()
        assert stub.wait(10) == -9
    assert not region.exists()
    assert not dead.runtime.exists()
    assert not dead.lock_path.exists()


def test_copy_of_the_lock_keeps_the_claim():
    """The keeper's copy of the descriptor holds the claim when the supervisor is gone."""
    claim = take_claim()
    copy = os.dup(claim.lock)
    os.close(claim.lock)
    take_claim().release()
    assert claim.runtime.exists()
    Claim(claim.token, copy).release()


def test_release_leaves_nothing():
    """After release no file of the claim is left; a second release is harmless."""
    claim = take_claim()
    (SHARED_MEMORY / f"{claim.name_prefix(0)}region").touch()
    claim.release()
    claim.release()
    assert not list(SHARED_MEMORY.glob(f"lw_{claim.token}*"))
    assert not list(Path(tempfile.gettempdir()).glob(f"livewarden-{claim.token}*"))

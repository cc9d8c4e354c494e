from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from livewarden_ensemble import keeper


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix with one file in shared memory, as a stub would have made it."""
    prefix = f"lwtest_{uuid.uuid4().hex}_"
    (keeper.SHARED_MEMORY / f"{prefix}region").touch()
    yield prefix
    keeper.remove_shared_memory(prefix)


@contextlib.contextmanager
def keep(prefix: str, runtime: Path, script: str, grace: float = 5) -> Iterator[subprocess.Popen]:
    """A keeper of a shell script, and beside it the id of the shell as `server`."""
    settings = (prefix, str(runtime / "lock"), str(runtime), str(grace))
    with subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, *settings, "/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        process.server = int(process.stdout.readline() or 0)
        yield process


def leftover(prefix: str) -> list[Path]:
    return list(keeper.SHARED_MEMORY.glob(f"{prefix}*"))


def wait_for_children(process: subprocess.Popen, count: int) -> list[psutil.Process]:
    while True:
        children = psutil.Process(process.pid).children(recursive=True)
        if len(children) == count:
            return children
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -SEGV $$", 128 + 11)]
)
def test_status_is_the_servers(prefix: str, tmp_path: Path, script: str, status: int):
    """The keeper ends as its server ended, deletes its shared memory, keeps the runtime folder."""
    with keep(prefix, tmp_path, script) as process:
        assert process.wait(10) == status
    assert leftover(prefix) == []
    assert tmp_path.exists()


def test_binary_that_cannot_run_is_an_error(tmp_path: Path):
    """A missing binary gives a message, no process id, and the shell's status for it."""
    command = [sys.executable, keeper.__file__, "p", "l", str(tmp_path), "1", "/no/such/binary"]
    ended = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (127, "")
    assert "cannot run /no/such/binary: No such file" in ended.stderr


@pytest.mark.parametrize("how", ["asked", "crash", "supervisor gone"])
def test_everything_below_ends(prefix: str, tmp_path: Path, how: str):
    """Children that ignore SIGTERM, have their own session or are paused end with the server."""
    (tmp_path / "runtime").mkdir()
    script = "trap '' TERM; sleep 1000 & setsid sleep 1001 & wait"
    with keep(prefix, tmp_path / "runtime", script) as process:
        children = wait_for_children(process, 3)
        children[1].suspend()
        if how == "asked":
            process.stdin.write(b"k")
            process.stdin.flush()
        elif how == "crash":
            os.kill(process.server, signal.SIGKILL)
        else:
            process.stdin.close()
        assert process.wait(10) == 128 + signal.SIGKILL
        assert not any(child.is_running() for child in children)
    assert leftover(prefix) == []
    assert (tmp_path / "runtime").exists() == (how != "supervisor gone")


def test_drain_lets_the_server_finish(prefix: str, tmp_path: Path):
    """SIGTERM goes on to the server, which may take its time and choose its status."""
    with keep(prefix, tmp_path, "trap 'sleep 0.3; exit 3' TERM; while :; do sleep 0.1; done") as it:
        wait_for_children(it, 2)
        it.terminate()
        assert it.wait(10) == 3


def test_drain_ends_after_the_grace(prefix: str, tmp_path: Path):
    """A server that ignores SIGTERM is killed when the grace is over."""
    with keep(prefix, tmp_path, "trap '' TERM; while :; do sleep 0.1; done", grace=0.3) as process:
        wait_for_children(process, 2)
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGKILL


def test_server_dies_with_its_keeper(prefix: str, tmp_path: Path):
    """The kernel kills the server when the keeper is killed."""
    with keep(prefix, tmp_path, "exec sleep 1000") as process:
        server = psutil.Process(process.server)
        process.kill()
    server.wait(10)


def test_secrets_are_in_no_argument(prefix: str, tmp_path: Path):
    """The keeper never shows a secret; its server does until it has a child, and still has it."""
    secret, seen = "s3cret" * 4, tmp_path / "seen"
    script = f"echo $0 > {seen}; while [ ! -e {tmp_path}/go ]; do :; done; sleep 1000; echo $0"
    command = ["/bin/sh", "-c", script, f"--lock=a:{secret}"]
    masked = keeper.mask_secrets(command, [secret])
    assert secret not in "".join(masked)
    assert keeper.fill_secrets(masked, [secret]) == command
    settings = (prefix, str(tmp_path / "lock"), str(tmp_path), "1")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, *settings, *masked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, keeper.SECRETS_VARIABLE: secret},
    ) as process:
        server = psutil.Process(int(process.stdout.readline()))
        while not seen.exists() or not seen.read_text():
            time.sleep(0.01)
        assert seen.read_text() == f"--lock=a:{secret}\n"
        assert secret in server.cmdline()[-1]
        assert secret not in "".join(psutil.Process(process.pid).cmdline())
        assert keeper.SECRETS_VARIABLE not in server.environ()
        (tmp_path / "go").touch()
        deadline = time.monotonic() + 20
        while secret in server.cmdline()[-1] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.cmdline()[-1] == "--lock=a:" + "*" * len(secret)
        process.stdin.write(b"k")
        process.stdin.flush()
        process.wait(10)


def test_a_process_that_is_gone_keeps_its_secrets(capsys: pytest.CaptureFixture[str]):
    """Where the arguments cannot be written, that is said, and the server goes on."""
    keeper.hide_secrets(2**22 + 1, ["secret"])
    assert "secrets stay in the process list" in capsys.readouterr().err

"""The whole command on a real Ray, against a server in a process of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import answering_server
import pytest
from backfill_case import SECRET, judge, write_clips
from click.testing import CliRunner

from livewarden_client import Client
from livewarden_client.request import Request
from livewarden_client.verdict_json import verdict_to_json
from livewarden_export.backfill.output import read_output
from livewarden_export.cli_backfill import backfill

pytest.importorskip("ray.data", reason="needs pip install 'livewarden[backfill]' (490 MB)")

CLIPS = 400
COMMAND = "from livewarden_export.cli_backfill import backfill; backfill()"


@pytest.fixture
def server(tmp_path):
    """A server that answers every clip with one verdict."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    verdict = tmp_path / "verdict.json"
    verdict.write_text(verdict_to_json(judge(Request("", "", 1.0, b"{}", texts=(b"x",)))))
    command = [sys.executable, answering_server.__file__, address.partition(":")[2], str(verdict)]
    with subprocess.Popen(command) as process:
        with Client(address) as client:
            client.wait_for_ready(60)
        yield address
        process.terminate()


@pytest.fixture
def ray_folder():
    """Where Ray keeps its logs and sockets, whose paths must be short."""
    folder = Path(tempfile.mkdtemp(prefix="lwr-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def start(folder, out, address, ray_folder, *more):
    """Start the command in a process of its own."""
    given = [str(folder), "--output", str(out), "--server", address, "--part-clips", "2", *more]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "RAY_TMPDIR": str(ray_folder)},
        text=True,
    )


@pytest.mark.timeout(600)
def test_kill_9_in_the_middle_of_a_real_run(tmp_path, server, ray_folder):
    """Killed and run again: one row for each clip; no word of a clip in output, rows or logs."""
    folder, out = write_clips(tmp_path / "clips", CLIPS), tmp_path / "out"
    with start(folder, out, server, ray_folder) as process:
        while process.poll() is None and len(list(out.glob("parts/part-*"))) < 20:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        printed = process.communicate()[0]
    there = len(list(out.glob("parts/part-*")))
    assert 0 < there < CLIPS // 2, printed  # parts of 2 clips: not yet all
    with start(folder, out, server, ray_folder, "--workers", "2") as process:
        printed += process.communicate()[0]
    assert process.returncode == 0, printed
    rows = list(read_output(out))
    assert [row.id for row in rows] == [f"clip {number}" for number in range(CLIPS)]
    scored = json.loads((out / "summary.json").read_text())["this_run"]["clips"]
    assert scored == CLIPS - 2 * there
    assert f"This run: {scored} clips" in printed
    logs = [path for path in ray_folder.rglob("*") if path.is_file()]
    written = [path for path in out.rglob("*") if path.is_file()]
    assert logs
    assert SECRET not in printed
    assert not [path for path in logs + written if SECRET.encode() in path.read_bytes()]


def test_without_a_server_nothing_is_started(tmp_path, clips):
    """One line that asks whether one is up, exit code 1, and nothing counted as failed."""
    result = CliRunner().invoke(
        backfill,
        [
            *(str(clips), "--output", str(tmp_path / "out")),
            *("--server", "127.0.0.1:1", "--patience", "0.2"),
        ],
    )
    assert result.exit_code == 1
    assert "no server was ready within 0.2 s" in result.stderr
    assert not list((tmp_path / "out").glob("parts/*"))

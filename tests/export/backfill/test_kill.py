import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from backfill_case import SECRET, write_clips

from livewarden_export.backfill.output import read_output

HERE = Path(__file__).parent
CLIPS = 300


def test_kill_9_at_random_points_loses_and_doubles_nothing(tmp_path):
    """Killed again and again, the same command completes: one row for each clip, each whole."""
    folder, out = write_clips(tmp_path / "clips", CLIPS), tmp_path / "out"
    command = [sys.executable, str(HERE / "kill_run.py"), str(folder), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    draw = random.Random(7)
    kills, printed = 0, b""
    while True:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            there = len(list(out.glob("parts/part-*")))
            # After some more parts, and then anywhere within one.
            until = there + draw.randint(0, 12)
            while process.poll() is None and len(list(out.glob("parts/part-*"))) < until:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.03))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            printed += process.communicate()[0]
            if process.returncode == 0:
                break
    assert kills, "the run ended before it was ever killed"
    rows = list(read_output(out))
    assert [row.id for row in rows] == [f"clip {number}" for number in range(CLIPS)]
    assert all(row.error is None for row in rows)
    assert SECRET.encode() not in printed

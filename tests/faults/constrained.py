"""A real server where something has run out; run by test_faults_resource.py in a cage of its own.

    constrained.py memory|disk|oom REPOSITORY FOLDER

`memory` expects a small /dev/shm, `disk` a small file system at FOLDER, `oom` a cgroup's folder at
FOLDER. Prints what happened as one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tritonclient.grpc as triton
from history import draw_noise, make_clips

from livewarden_client import Client, Clip, FarSideFailed, Text, Verdict
from livewarden_ensemble.audit_key import load_keys
from livewarden_ensemble.audit_verify import verify_log
from livewarden_ensemble.server import Server

MIB = 2**20
SMALL = Clip(texts=[Text("chat", "hello there")])
SHARED_MEMORY = Path("/dev/shm")


def ask(client: Client, clip: Clip, timeout: float = 20) -> str:
    """The action, or the name of the error; what was allowed unseen has a name of its own."""
    try:
        verdict = client.moderate(clip, timeout)
    except FarSideFailed as error:
        return type(error).__name__
    return "ALLOWED UNSEEN" if is_unseen(verdict) else verdict.action


def is_unseen(verdict: Verdict) -> bool:
    """Whether a clip passes although something in it was not scored."""
    return verdict.action == "allow" and verdict.coverage.degraded


def ask_raw(url: str, size: int) -> str:
    """What the server itself says to a frame of `size` bytes; "" where it takes it."""
    client = triton.InferenceServerClient(url)
    inputs = []
    for name, value in (("frames", os.urandom(size)), ("context", b'{"request_id": "r"}')):
        inputs.append(triton.InferInput(name, [1, 1], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array([[value]], object))
    try:
        client.infer("moderation", inputs, client_timeout=60)
    except triton.InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    else:
        return ""
    finally:
        client.close()


def fill(folder: Path) -> Path | None:
    """Take all the space that is left in a file system; None where there is not even a page."""
    path = folder / "filler"
    try:
        file = path.open("wb", buffering=0)
    except OSError:
        return None
    with file:
        for size in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                # Less than was asked for is written where less is left.
                while file.write(bytes(size)) == size:
                    pass
    return path


def starve_memory(server: Server, client: Client, _: Path) -> dict[str, Any]:
    """Requests too large for what /dev/shm has left, with some spare and with none."""
    said, small = [], []
    filler = None
    for spare in (True, False):
        if not spare:
            filler = fill(SHARED_MEMORY)
        said.append(ask_raw(server.grpc_url, 96 * MIB))
        small += [ask(client, SMALL) for _ in range(20)]
    if filler is not None:
        filler.unlink()
    small += [ask(client, SMALL) for _ in range(5)]
    return {
        "large": [text.partition(":")[0] for text in said],
        "names_region": any("lw_" in text for text in said),
        "small": {name: small.count(name) for name in sorted(set(small))},
        "restarts": server.restarts,
    }


def starve_disk(_: Server, client: Client, folder: Path) -> dict[str, Any]:
    """No verdict leaves while the audit log cannot be written; then all goes on by itself."""
    before = [ask(client, SMALL) for _ in range(5)]
    filler = fill(folder)
    # What fits into the log's own last block may still get through.
    full = [ask(client, SMALL, 5) for _ in range(20)]
    assert filler is not None
    filler.unlink()
    begin = time.monotonic()
    while (after := ask(client, SMALL, 5)) in FAILED:
        assert time.monotonic() - begin < 60
        time.sleep(0.1)
    resumed = time.monotonic() - begin
    verdicts = sum(name not in FAILED for name in [*before, *full, after])
    keys = load_keys(folder / "keys")
    report = verify_log(folder / "log", keys)
    return {
        "full": {name: full.count(name) for name in sorted(set(full))},
        "resumed_s": resumed,
        "verdicts": verdicts,
        "records": sum(chain.records for chain in report.chains.values()),
        "faults": [finding.kind for finding in report.findings],
    }


FAILED = {"Unavailable", "Overloaded", "DeadlineExceeded", "ServerError"}


def starve_process(server: Server, client: Client, folder: Path) -> dict[str, Any]:
    """The memory of the whole server capped a fifth above what it needs, and hostile images."""
    for clip in make_clips(24):
        ask(client, clip)
    # Out of the cage: callers and the supervisor are not what is tested.
    (folder.parent / "cgroup.procs").write_text(str(os.getpid()))
    steady = int((folder / "memory.usage_in_bytes").read_text())
    (folder / "memory.limit_in_bytes").write_text(str(int(1.2 * steady)))
    bombs = [draw_bomb(8000), draw_bomb(12000), draw_noise(1, 4000), bytes(4 * MIB)]
    ends = [ask(client, Clip(frames=[bomb] * 8)) for bomb in bombs for _ in range(3)]
    begin = time.monotonic()
    while not (server.ready and ask(client, SMALL) not in FAILED):
        assert time.monotonic() - begin < 120
        time.sleep(0.2)
    healed = time.monotonic() - begin
    small = [ask(client, SMALL) for _ in range(20)]
    return {
        "healed_s": healed,
        "limit_mib": round(1.2 * steady / MIB),
        "ends": {name: ends.count(name) for name in sorted(set(ends))},
        "small": {name: small.count(name) for name in sorted(set(small))},
        "restarts": server.restarts,
        "peak_mib": round(int((folder / "memory.max_usage_in_bytes").read_text()) / MIB),
        "processes": len(psutil.Process(server.pid).children()) if server.pid else 0,
    }


def draw_bomb(side: int) -> bytes:
    """A flat PNG that is small as a file and large as a picture."""
    import io  # noqa: PLC0415 - two scenarios of three do without Pillow

    from PIL import Image  # noqa: PLC0415

    out = io.BytesIO()
    Image.new("1", (side, side)).save(out, "PNG")
    return out.getvalue()


SCENARIOS: dict[str, Callable[[Server, Client, Path], dict[str, Any]]] = {
    "memory": starve_memory,
    "disk": starve_disk,
    "oom": starve_process,
}


def main() -> None:
    """Run one scenario."""
    scenario, repository, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if scenario == "oom":
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    if scenario == "disk":
        (folder / "keys").write_text(f"k1:{'5a' * 32}")
        (folder / "keys").chmod(0o600)
        os.environ["LIVEWARDEN_AUDIT"] = str(folder / "log")
        os.environ["LIVEWARDEN_AUDIT_KEYS_FILE"] = str(folder / "keys")
    with (
        Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server,
        Client(server.grpc_url, on_failure="raise") as client,
    ):
        result = SCENARIOS[scenario](server, client, folder)
    if scenario == "memory":  # where /dev/shm is nobody else's
        result["left"] = [path.name for path in SHARED_MEMORY.glob("lw_*")]
    print(json.dumps(result))  # noqa: T201 - for the test that runs this


if __name__ == "__main__":
    main()

"""The supervisor against a real tritonserver, with models that take no time to load.

The repository made here has the real contract of `moderation`, and a leaf behind it, so that the
canary is the product's own and passes through two stubs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as triton

from livewarden_client.wire import MODERATION, Tensor
from livewarden_ensemble.admin import count_waiting
from livewarden_ensemble.canary import ModerationCanary, build_inputs
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.server import Server
from livewarden_ensemble.supervisor import Notice, Phase
from livewarden_ensemble.vitals import Beat, Timing

pytestmark = pytest.mark.integration

ANY_PORTS = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
# Each test harms it anew; what a repeat costs is shown by the unit tests of Backoff.
# A hang is found by its steps before two canaries of a second each could be missed.
IMPATIENT = Timing(look_s=0.1, hung_s=1.0, canary_every_s=0.3, first_delay_s=0.1, healthy_s=0)
SHARED_MEMORY = Path("/dev/shm")
# For a machine that is busy with other things.
SLACK_S = 5

# Reports to the supervisor as the real one does. A file beside it is what ails it: HANG and BUSY
# for ever, CROSS once, SLOW for the time that it says.
MODERATION_PY = """
import json, os, time
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils
from livewarden_ensemble.stub import announce_stub, dismiss_stub, is_closed

HERE = Path(__file__).parent

class TritonPythonModel:
    def initialize(self, args):
        self.progress = announce_stub()

    def finalize(self):
        dismiss_stub(self.progress)

    def execute(self, requests):
        if is_closed():
            closed = pb_utils.TritonError("closed", pb_utils.TritonError.UNAVAILABLE)
            return [pb_utils.InferenceResponse(error=closed) for _ in requests]
        with self.progress.work(len(requests)):
            self.suffer()
            return [self.answer(request) for request in requests]

    def suffer(self):
        while (HERE / "BUSY").exists():
            pass
        if (HERE / "HANG").exists():
            time.sleep(600)
        if (HERE / "CROSS").exists():
            (HERE / "CROSS").unlink()
            self.progress.note_crossed()
        if (HERE / "SLOW").exists():
            time.sleep(float((HERE / "SLOW").read_text()))

    def answer(self, request):
        raw = pb_utils.get_input_tensor_by_name(request, "context").as_numpy()
        nonce = json.loads(raw.item())["nonce"]
        call = pb_utils.InferenceRequest(
            model_name="leaf",
            requested_output_names=["echo"],
            inputs=[pb_utils.Tensor("nonce", np.ones((1, 1), np.int64))],
        ).exec()
        degraded = call.has_error()
        verdict = {"nonce": nonce, "coverage": {"degraded": degraded},
                   "seen": os.environ["LIVEWARDEN_REPOSITORY"]}
        return pb_utils.InferenceResponse([
            pb_utils.Tensor("verdict", np.array([[json.dumps(verdict).encode()]], object)),
            pb_utils.Tensor("scores", np.zeros((1, 14), np.float32)),
        ])
"""

LEAF_PY = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        rows = [pb_utils.get_input_tensor_by_name(r, "nonce").as_numpy() for r in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("echo", row)]) for row in rows]
"""


def describe(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(
        f'{{name: "{tensor.name}" data_type: '
        f"TYPE_{'STRING' if tensor.dtype == 'BYTES' else tensor.dtype} dims: {list(tensor.dims)}"
        f"{' optional: true' if tensor.optional else ''}}}"
        for tensor in tensors
    )


def write_model(
    repository: Path, name: str, code: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(code)
    (repository / name / "config.pbtxt").write_text(
        f'name: "{name}" backend: "python" max_batch_size: 8\n'
        f"input [{describe(inputs)}]\noutput [{describe(outputs)}]\n"
        "instance_group [{kind: KIND_CPU count: 1}]\n"
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of `moderation` and one leaf that echo what they get."""
    root = tmp_path_factory.mktemp("models")
    write_model(root, "moderation", MODERATION_PY, MODERATION.inputs, MODERATION.outputs)
    nonce, echo = Tensor("nonce", "INT64", (1,)), Tensor("echo", "INT64", (1,))
    write_model(root, "leaf", LEAF_PY, (nonce,), (echo,))
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    """One server for the tests that it must survive."""
    canary = ModerationCanary(timeout_s=1)
    with Server(
        models, **ANY_PORTS, canary=canary, timing=IMPATIENT, tell=NOTICES.append
    ) as server:
        yield server


NOTICES: list[Notice] = []


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def harm(server: Server, harm_it: Callable[[], object]) -> float:
    """Seconds from the harm until the server, replaced, answers again."""
    before = server.restarts
    start = time.monotonic()
    harm_it()
    wait_healed(server, before)
    return time.monotonic() - start


def wait_healed(server: Server, before: int) -> None:
    wait_until(lambda: server.restarts > before or server.phase is Phase.FAILED)
    server.wait_ready(20)


def ask(server: Server) -> Beat:
    canary = ModerationCanary(timeout_s=5)
    try:
        return canary(server.grpc_url).beat
    finally:
        canary.close()


def find_processes(word: str) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(word in part for part in process.info["cmdline"] or ())
    ]


def find_files(token: str) -> list[Path]:
    temporary = Path(tempfile.gettempdir())
    return [*SHARED_MEMORY.glob(f"lw_{token}*"), *temporary.glob(f"livewarden-{token}*")]


def find_token(pid: int) -> str:
    """The token in the names of a running tritonserver's shared memory."""
    argument = next(a for a in psutil.Process(pid).cmdline() if "shm-region-prefix-name" in a)
    return argument.rpartition("=")[2].split("_")[1]


def stub_of(server: Server, model: str) -> int:
    return next(pid for pid in server.stub_pids if f"{model}_0_0" in psutil.Process(pid).cmdline())


def test_ready_server_has_answered_and_shows_its_processes(server: Server) -> None:
    """A server that is ready answers a clip, and knows tritonserver and one stub per model."""
    assert server.ready
    assert ask(server) is Beat.ALIVE
    assert psutil.Process(server.pid).name() == "tritonserver"
    assert len(server.stub_pids) == 2


def test_ready_waits_for_the_canary(models: Path, tmp_path: Path) -> None:
    """Triton's own readiness is not enough: no right answer, no ready, and a clear error."""
    # A copy: the server of the other tests would hang as well.
    own = shutil.copytree(models, tmp_path / "models")
    (own / "moderation" / "1" / "HANG").touch()
    server = Server(
        own,
        **ANY_PORTS,
        canary=ModerationCanary(timeout_s=0.5),
        timing=Timing(look_s=0.1, starts=2),
    )
    with pytest.raises(ServerFailed, match=r"no answer within 0\.5 s"), server:
        pass
    assert not server.ready


@pytest.mark.parametrize("model", ["moderation", "leaf"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_harmed_stub_is_replaced(server: Server, model: str, number: signal.Signals) -> None:
    """A killed or paused stub leads to a new server that answers; the paused one never resumes."""
    stub = stub_of(server, model)
    harm(server, lambda: os.kill(stub, number))
    assert not psutil.pid_exists(stub)
    assert ask(server) is Beat.ALIVE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_harmed_tritonserver_is_replaced(server: Server, number: signal.Signals) -> None:
    """A crashed or paused tritonserver is replaced, with none of its stubs left."""
    stubs, url = server.stub_pids, server.grpc_url
    harm(server, lambda: os.kill(server.pid, number))
    assert not any(map(psutil.pid_exists, stubs))
    assert server.grpc_url == url
    assert ask(server) is Beat.ALIVE


@pytest.mark.parametrize("how", ["HANG", "BUSY"])
def test_hung_model_is_replaced(server: Server, models: Path, how: str) -> None:
    """A model that sleeps or spins for ever is killed within 5 s; no process looks wrong."""
    ailment, stub = models / "moderation" / "1" / how, stub_of(server, "moderation")
    before = server.restarts
    NOTICES.clear()
    ailment.touch()
    try:
        # The canary that meets it comes within its 0.3 s.
        wait_until(lambda: not psutil.pid_exists(stub), seconds=5 + SLACK_S)
    finally:
        ailment.unlink()
    wait_healed(server, before)
    assert "moderation_0_0 has hung" in NOTICES[0].detail
    assert ask(server) is Beat.ALIVE


def test_server_that_mixes_up_answers_is_replaced(server: Server, models: Path) -> None:
    """A reply that belonged to another question condemns the server that delivered it."""
    harm(server, (models / "moderation" / "1" / "CROSS").touch)
    assert ask(server) is Beat.ALIVE


def test_drain_answers_what_is_in_flight(models: Path, tmp_path: Path) -> None:
    """Requests running and queued at the stop are answered in full; Triton is not ready by then."""
    own = shutil.copytree(models, tmp_path / "models")
    (own / "moderation" / "1" / "SLOW").write_text("0.4")
    answers: list[tuple[object, object]] = []
    with Server(own, **ANY_PORTS, canary=ModerationCanary(timeout_s=20), health_port=0) as server:
        client = triton.InferenceServerClient(server.grpc_url)
        for number in range(12):
            client.async_infer(
                "moderation",
                build_inputs(f"clip-{number}", f"nonce-{number}"),
                lambda result, error: answers.append((result, error)),
            )
        wait_until(lambda: count_waiting(server._record, "moderation") > 5)
        closer = threading.Thread(target=server.close)
        closer.start()
        wait_until(lambda: not client.is_server_ready())
        with pytest.raises(urllib.error.HTTPError) as unready:
            urllib.request.urlopen(f"{server.health_url}/ready")
        assert unready.value.code == 503
        unready.value.close()
        assert len(answers) < 12
        wait_until(lambda: len(answers) == 12)
        closer.join()
        client.close()
    assert [error for _, error in answers] == [None] * 12
    verdicts = [json.loads(result.as_numpy("verdict").item()) for result, _ in answers]
    assert not any(verdict["coverage"]["degraded"] for verdict in verdicts)
    assert {verdict["nonce"] for verdict in verdicts} == {f"nonce-{n}" for n in range(12)}


def test_killed_keeper_leaves_nothing_behind(server: Server) -> None:
    """With the keeper killed, the server dies with it and the supervisor starts both anew."""
    old, stubs = server.pid, server.stub_pids
    harm(server, psutil.Process(old).parent().kill)
    wait_until(lambda: not any(map(psutil.pid_exists, (old, *stubs))))
    assert len(list(SHARED_MEMORY.glob(f"lw_{find_token(server.pid)}_*"))) == 2
    assert ask(server) is Beat.ALIVE


def test_restarts_leak_no_shared_memory(server: Server) -> None:
    """However often it was restarted, a server has one file per stub and its lock."""
    harm(server, lambda: os.kill(server.pid, signal.SIGKILL))
    names = [path.name for path in SHARED_MEMORY.glob(f"lw_{find_token(server.pid)}*")]
    assert len(names) == 3


def test_admin_endpoints_are_locked(server: Server) -> None:
    """Shared memory, model control, trace and log settings are refused; reading models is not."""
    paths = {
        "v2/repository/index": b"",
        "v2/systemsharedmemory/region/x/register": b"{}",
        "v2/trace/setting": b"{}",
        "v2/logging": b"{}",
    }
    for path, body in paths.items():
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.http_url}/{path}", body)
        assert refused.value.code == 403, path
        refused.value.close()
    for path in ("v2/models/moderation/config", "v2/models/moderation/stats", "v2/health/ready"):
        with urllib.request.urlopen(f"{server.http_url}/{path}") as answer:
            assert answer.status == 200, path


def test_close_leaves_nothing(models: Path) -> None:
    """After close: no process, no file in /dev/shm, no runtime directory; notices in order."""
    notices: list[Notice] = []
    with Server(models, **ANY_PORTS, tell=notices.append) as server:
        token = find_token(server.pid)
        assert find_processes(f"lw_{token}_")
        runtime = Path(tempfile.gettempdir()) / f"livewarden-{token}"
        assert runtime.stat().st_mode & 0o777 == 0o700
    assert find_processes(f"lw_{token}_") == []
    assert find_files(token) == []
    assert [notice.phase for notice in notices] == [Phase.READY, Phase.STOPPING, Phase.STOPPED]
    server.close()


SERVE = (str(Path(sys.executable).with_name("livewarden")), "serve")
SUPERVISE = """
import sys, time
from livewarden_ensemble.server import Server
with Server(sys.argv[1], grpc_port=0, http_port=0, metrics_port=0) as server:
    print(server.pid, *server.stub_pids, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("paused", [False, True])
def test_nothing_outlives_a_killed_supervisor(models: Path, *, paused: bool) -> None:
    """Kill -9 of the supervising process ends tritonserver, stubs (paused too) and their files."""
    command = [sys.executable, "-c", SUPERVISE, str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        token = find_token(pids[0])
        if paused:
            os.kill(pids[1], signal.SIGSTOP)
        supervisor.kill()
    wait_until(lambda: not any(map(psutil.pid_exists, pids)) and not find_files(token))


def test_leftovers_of_a_dead_server_are_removed(models: Path) -> None:
    """What supervisor and keeper, both killed, left behind goes at the next start of a server."""
    command = [sys.executable, "-c", SUPERVISE, str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        triton, *stubs = [int(word) for word in supervisor.stdout.readline().split()]
        token = find_token(triton)
        for stub in stubs:  # paused, they cannot notice that their server died
            os.kill(stub, signal.SIGSTOP)
        keeper = psutil.Process(triton).parent()
        supervisor.send_signal(signal.SIGSTOP)
        keeper.kill()
        supervisor.kill()
    wait_until(lambda: not psutil.pid_exists(triton))
    assert find_files(token)
    assert all(map(psutil.pid_exists, stubs))
    with Server(models, **ANY_PORTS):
        assert find_files(token) == []
        wait_until(lambda: not any(map(psutil.pid_exists, stubs)))


def test_model_that_does_not_load_is_named(tmp_path: Path) -> None:
    """A start that cannot succeed fails at once, with the model and the reason in the error."""
    for name, code in (("moderation", MODERATION_PY), ("leaf", "raise ValueError('no weights')")):
        nonce, echo = Tensor("nonce", "INT64", (1,)), Tensor("echo", "INT64", (1,))
        write_model(tmp_path, name, code, (nonce,), (echo,))
    start = time.monotonic()
    expected = "model 'leaf': Internal: ValueError: no weights"
    with pytest.raises(ServerFailed, match=expected), Server(tmp_path, **ANY_PORTS):
        pass
    assert time.monotonic() - start < 30


def test_server_that_cannot_be_healed_fails(tmp_path: Path) -> None:
    """Once healing has failed `starts` times in a row, it gives up, says why, leaves nothing."""
    write_model(tmp_path, "moderation", MODERATION_PY, MODERATION.inputs, MODERATION.outputs)
    nonce, echo = Tensor("nonce", "INT64", (1,)), Tensor("echo", "INT64", (1,))
    write_model(tmp_path, "leaf", LEAF_PY, (nonce,), (echo,))
    timing = Timing(look_s=0.1, first_delay_s=0.1, starts=2)
    with Server(tmp_path, **ANY_PORTS, timing=timing) as server:
        token = find_token(server.pid)
        (tmp_path / "leaf" / "1" / "model.py").write_text("raise ValueError('lost its weights')")
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerFailed, match=r"2 failed starts .* lost its weights"):
            server.wait_ended(timeout=30)
        assert server.phase is Phase.FAILED
        assert find_processes(f"lw_{token}_") == []
    assert find_files(token) == []


def test_busy_port_is_named(models: Path) -> None:
    """The command names a port in use and the flag that changes it, and starts nothing."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        command = [*SERVE, "--repository", str(models), "--http-port", str(port)]
        ended = subprocess.run(
            [*command, "--grpc-port", "0"], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 1
    assert f"Port {port} of 127.0.0.1 is in use" in ended.stderr
    assert "--http-port" in ended.stderr


def run_serve(
    models: Path, signals: dict[str, signal.Signals], *, twice: bool = False
) -> tuple[int, str, str]:
    """Status, output and token of `livewarden serve`, sent a signal when a line has its word."""
    ports = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")
    command = [*SERVE, "--repository", str(models), *ports]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as serve:
        killer = threading.Timer(60, serve.kill)
        killer.start()
        lines = []
        for line in serve.stderr:
            lines.append(line)
            if line.startswith("Ready"):
                children = psutil.Process(serve.pid).children(recursive=True)
                token = find_token(next(c.pid for c in children if c.name() == "tritonserver"))
            for word in signals.keys() & line.split():
                serve.send_signal(signals[word])
                if twice:
                    # Well before an idle server has drained, whose last word would come too late.
                    time.sleep(0.2)
                    serve.send_signal(signals[word])
        killer.cancel()
    return serve.returncode, "".join(lines), token


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_drains_on_a_signal(models: Path, number: signal.Signals) -> None:
    """`livewarden serve` says ready with its addresses, drains on the signal and exits with 0."""
    status, said, _ = run_serve(models, {"curl": number})
    assert status == 0, said
    for word in ("Ready", "gRPC", "metrics", "Stopping", "Stopped"):
        assert word in said


def test_second_signal_stops_at_once(models: Path) -> None:
    """A second Ctrl-C skips the drain; the keeper leaves no process and no file all the same."""
    status, said, token = run_serve(models, {"curl": signal.SIGINT}, twice=True)
    assert status == 1, said
    assert "Stopped" not in said
    wait_until(lambda: not find_processes(f"lw_{token}_") and not find_files(token))

"""Replicas behind a real Envoy, with the real models."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
import trustme

from livewarden_client import Client, Clip, Credentials, Text
from livewarden_client.errors import FarSideFailed, InvalidRequest
from livewarden_ensemble.envoy_config import MIB, Tls
from livewarden_ensemble.replicas import Replicas

pytest.importorskip("envoy")
pytestmark = pytest.mark.integration

CLIP = Clip(texts=[Text("chat", "hello")])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate")
    issued.private_key_pem.write_to_path(folder / "key")
    authority.cert_pem.write_to_path(folder / "authority")
    return Tls(folder / "certificate", folder / "key", folder / "authority")


@pytest.fixture(scope="module")
def replicas(repository: Path, tls: Tls) -> Iterator[Replicas]:
    with Replicas(
        repository, count=2, grpc_port=0, health_port=0, tls=tls, max_message_bytes=4 * MIB
    ) as replicas:
        yield replicas


def make_credentials(authority: trustme.CA, caller: trustme.CA) -> Credentials:
    """Trust `authority`, show a certificate of `caller`."""
    issued = caller.issue_cert("caller.internal")
    return Credentials(
        ca=authority.cert_pem.bytes(),
        certificate=b"".join(pem.bytes() for pem in issued.cert_chain_pems),
        key=issued.private_key_pem.bytes(),
    )


@pytest.fixture
def client(replicas: Replicas, authority: trustme.CA) -> Iterator[Client]:
    credentials = make_credentials(authority, authority)
    with Client(replicas.grpc_url, credentials=credentials, on_failure="raise") as client:
        client.wait_for_ready(30)
        yield client


def test_loss_of_a_replica_costs_no_call(client: Client, replicas: Replicas) -> None:
    """Kill -9 of one tritonserver under load: every call gets a verdict, and the replica heals."""
    ends: Counter[str] = Counter()
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            try:
                client.moderate(CLIP, 20)
                ends["verdict"] += 1
            except FarSideFailed as error:
                ends[type(error).__name__] += 1

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    time.sleep(1)
    victim = replicas.servers[0]
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not (victim.restarts and victim.ready):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    over.set()
    for caller in callers:
        caller.join()
    assert set(ends) == {"verdict"}
    assert ends["verdict"] > 20


def test_both_replicas_answer(client: Client, replicas: Replicas) -> None:
    """Calls are spread; each replica has answered some, and a verdict says which one did."""
    named = {client.moderate(CLIP, 20).provenance.server for _ in range(20)}
    host = socket.gethostname()
    assert {name.partition("/")[0] for name in named} == {f"{host}-0", f"{host}-1"}
    for server in replicas.servers:
        with urllib.request.urlopen(server.metrics_url) as answer:
            lines = answer.read().decode().splitlines()
        wanted = 'nv_inference_request_success{model="moderation"'
        assert sum(float(line.split()[-1]) for line in lines if line.startswith(wanted)) > 3


def test_stream_goes_from_replica_to_replica(client: Client) -> None:
    """The state that one replica seals is read by the other: hits of a stream add up."""
    stream = client.open_stream("s", max_age=60)
    verdicts = [stream.moderate(CLIP) for _ in range(8)]
    assert all(verdict is not None and verdict.state for verdict in verdicts)
    codes = {reason.code for verdict in verdicts if verdict for reason in verdict.reasons}
    assert not any("state" in code for code in codes)


def test_caller_without_the_right_certificate_is_refused(
    replicas: Replicas, authority: trustme.CA
) -> None:
    """No certificate, one of another authority, plain text: refused; nobody reaches a model."""
    stranger = make_credentials(authority, trustme.CA())
    for credentials in (Credentials(ca=authority.cert_pem.bytes()), stranger, None):
        with (
            Client(replicas.grpc_url, credentials=credentials, on_failure="raise") as client,
            pytest.raises(FarSideFailed),
        ):
            client.moderate(CLIP, 3)


def test_too_large_message_ends_at_the_front(client: Client, replicas: Replicas) -> None:
    """A request over the limit is refused in the front; the next one is answered."""
    with pytest.raises(InvalidRequest, match="larger than the far side accepts"):
        client.moderate(Clip(frames=[bytes(6 * MIB)]), 20)
    client.moderate(CLIP, 20)
    assert all(server.ready for server in replicas.servers)


def test_admin_stays_behind_the_front(
    replicas: Replicas, tls: Tls, authority: trustme.CA, tmp_path: Path
) -> None:
    """Even with a server's own secret, nobody loads a model or maps memory through the front."""
    issued = authority.issue_cert("caller.internal")
    (tmp_path / "certificate").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
    (tmp_path / "key").write_bytes(issued.private_key_pem.bytes())
    admin = triton.InferenceServerClient(
        replicas.grpc_url,
        ssl=True,
        root_certificates=str(tls.client_ca),
        private_key=str(tmp_path / "key"),
        certificate_chain=str(tmp_path / "certificate"),
    )
    secret = {"triton-grpc-protocol-livewarden-admin": replicas.servers[0]._launch.secret}
    assert admin.is_server_live()
    for ask in (
        lambda: admin.load_model("moderation", headers=secret),
        lambda: admin.get_system_shared_memory_status(headers=secret),
        lambda: admin.get_log_settings(headers=secret),
    ):
        with pytest.raises(triton.InferenceServerException, match=r"403|PERMISSION_DENIED"):
            ask()
    admin.close()


def test_front_that_dies_is_replaced(client: Client, replicas: Replicas) -> None:
    """Kill -9 of Envoy: a new one listens, with its keeper, and the client goes on."""
    assert replicas._front is not None
    before = replicas._front.restarts
    [envoy] = psutil.Process(replicas._front._process.pid).children()
    envoy.kill()
    deadline = time.monotonic() + 30
    while replicas._front.restarts == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.wait_for_ready(30)
    client.moderate(CLIP, 20)
    assert replicas.ready


def test_nothing_is_left(repository: Path) -> None:
    """After close no process of the replicas or their front runs; in plain text it works too."""
    others = set(psutil.Process().children(recursive=True))
    with Replicas(repository, count=1, grpc_port=0) as replicas:
        with Client(replicas.grpc_url, on_failure="raise") as client:
            assert np.isfinite([label.score for label in client.moderate(CLIP, 20).labels]).all()
        children = set(psutil.Process().children(recursive=True)) - others
    assert len(children) > 8
    _, alive = psutil.wait_procs(list(children), timeout=10)
    assert alive == []

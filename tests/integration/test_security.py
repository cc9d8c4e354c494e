"""What a caller can reach, and what is left of what a caller sent, on a real server."""

from __future__ import annotations

import json
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from livewarden_client.wire import MODERATION
from livewarden_ensemble.routing import derive_server_key
from livewarden_ensemble.server import Server

pytestmark = pytest.mark.integration

# In every text, name and key that a caller can fill, and in the pixels as they are.
CANARY = "canary-9c41d7e2"
# In the fields that a recording keeps, because policies decide by them; it is asked for by name.
NAME = "name-5b80aa13"
PIXELS = bytes(range(101, 197))
SHARED_MEMORY = Path("/dev/shm")


@dataclass
class Place:
    """A server that keeps all that it can keep, and the folders where it does."""

    server: Server
    folder: Path
    said: list[str]

    @property
    def processes(self) -> list[psutil.Process]:
        """The keeper, tritonserver and its stubs."""
        tritonserver = psutil.Process(self.server.pid)
        return [tritonserver.parent(), tritonserver, *tritonserver.children(recursive=True)]


@pytest.fixture(scope="module")
def place(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIVEWARDEN_AUDIT", str(folder / "audit"))
        patch.setenv("LIVEWARDEN_AUDIT_KEYS", "a:" + "ab" * 32)
        patch.setenv("LIVEWARDEN_RECORDS", str(folder / "records"))
        with Server(
            repository,
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            log_level="info",
            log_file=folder / "tritonserver.log",
        ) as server:
            yield Place(server, folder, [])


def ask(place: Place, context: bytes, **items: list[bytes]) -> str:
    """Send raw tensors; gives what came back: the verdict, or the error as callers see it."""
    values: dict[str, Any] = {"context": np.array([[context]], object)}
    values |= {name: np.array([data], object) for name, data in items.items()}
    return send(place, values)


def send(place: Place, values: dict[str, Any]) -> str:
    inputs = []
    for name, value in values.items():
        tensor = triton.InferInput(name, list(value.shape), MODERATION.input(name).dtype)
        tensor.set_data_from_numpy(value)
        inputs.append(tensor)
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with triton.InferenceServerClient(place.server.grpc_url, channel_args=options) as client:
        try:
            result = client.infer(MODERATION.name, inputs, client_timeout=120)
        except InferenceServerException as error:
            place.said.append(str(error))
            return str(error)
    return result.as_numpy("verdict").item().decode()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture() -> bytes:
    """A PNG that holds the canary as a comment, and its pixels as they are, unfiltered."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 20, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + PIXELS) * 20, 0))
    text = chunk(b"tEXt", b"Comment\0" + CANARY.encode())
    return b"\x89PNG\r\n\x1a\n" + head + text + pixels + chunk(b"IEND", b"")


def test_nothing_of_what_callers_send_stays(place: Place) -> None:
    """Good, bad and malformed requests leave no word and no pixel in anything that is kept."""
    names = {"request_id": NAME, "stream_id": NAME, "pass_through": {CANARY: [CANARY]}}
    kinds = {"texts": [{"kind": "chat", "author_ref": CANARY, "lang": "en"}]}
    good = json.dumps({**names, **kinds}).encode()
    whole = picture()
    broken = b"\xff\xd8\xff\xfe\0\x40" + CANARY.encode() + PIXELS
    assert PIXELS in whole
    assert CANARY.encode() in whole
    text = CANARY.encode()
    assert CANARY in ask(place, good, frames=[whole, broken, text], texts=[text])
    ask(place, good, frames=[whole], texts=[b"\xff" + text])
    rgb = np.frombuffer(PIXELS * 20, np.uint8).reshape(1, 1, 20, 32, 3)
    send(place, {"context": np.array([[b"{}"]], object), "frames_rgb": rgb})
    for field, value in (("state", CANARY), ("policy", NAME), ("room", NAME), ("nonce", CANARY)):
        ask(place, json.dumps({**names, **kinds, field: value}).encode(), texts=[text])
    for context in (
        text,
        json.dumps({CANARY: 1}).encode(),
        json.dumps({"stream_id": [CANARY]}).encode(),
        json.dumps({"policy": CANARY + "!"}).encode(),
        json.dumps({"texts": [{"kind": CANARY}]}).encode(),
        json.dumps({"options": {"bundle": CANARY}}).encode(),
        json.dumps({"pass_through": CANARY, "clip_seq": CANARY}).encode(),
        good[:-1],
        good + text,
        b"\xff" + text,
    ):
        assert "INVALID_ARGUMENT" in ask(place, context, texts=[text]), context
    with urllib.request.urlopen(place.server.metrics_url, timeout=10) as page:
        metrics = page.read()
    kept = {str(path): path.read_bytes() for path in place.folder.rglob("*") if path.is_file()}
    runtime = Path(place.server._claim.runtime)
    kept |= {str(path): path.read_bytes() for path in runtime.rglob("*") if path.is_file()}
    kept |= {"metrics": metrics, "errors": "\n".join(place.said).encode()}
    assert any("audit" in name for name in kept)
    assert any("records" in name for name in kept)
    assert len(place.said) >= 10
    assert [name for name, data in kept.items() if text in data or PIXELS in data] == []
    secret, name = derive_server_key(place.server._launch.secret).encode(), NAME.encode()
    own = str(runtime / "server.json")
    assert [file for file, data in kept.items() if secret in data and file != own] == []
    assert {
        file for file, data in kept.items() if name in data and "/records/" not in file
    } == set()
    assert [path for path in Path.cwd().glob("core*") if path.is_file()] == []


def test_no_error_names_the_shared_memory(place: Place) -> None:
    """A request too large for its shared memory does not tell callers the name of the region."""
    large = np.full((1, 64), None, object)
    large[:] = bytes(3_300_000)
    said = send(place, {"context": np.array([[b"{}"]], object), "frames": large})
    assert "lw_" not in said
    assert '"action":"review"' in said or "StatusCode" in said
    assert '"action":"review"' in ask(place, b'{"texts":[{"kind":"chat"}]}', texts=[b"hello"])


def test_a_message_of_210_megabytes_leaves_the_server_up(place: Place) -> None:
    """Triton takes it, having no limit: the frame is refused by its size, before any decoder."""
    large = np.array([[bytes(210_000_000)]], object)
    verdict = json.loads(send(place, {"context": np.array([[b"{}"]], object), "frames": large}))
    assert verdict["action"] == "review"
    assert verdict["coverage"]["frames"]["states"] == {"too_large": [0]}
    assert '"action":"allow"' in ask(place, b'{"texts":[{"kind":"chat"}]}', texts=[b"hello"])
    assert place.server.restarts == 0


def test_a_request_without_context_is_refused(place: Place) -> None:
    """Triton does not miss the input: the caller is told, others in the batch are not harmed."""
    said = send(place, {"texts": np.array([[b"hello"]], object)})
    assert "INVALID_ARGUMENT" in said
    assert "/context" in said


def test_only_loopback_is_listened_on(place: Place) -> None:
    """Three ports of tritonserver on 127.0.0.1, and none of any other process."""
    listening = {
        connection.laddr
        for process in place.processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {host.removeprefix("::ffff:") for host, _ in listening} == {"127.0.0.1"}
    urls = (place.server.grpc_url, place.server.http_url, place.server.metrics_url)
    assert {port for _, port in listening} == {
        int(url.split(":")[-1].split("/")[0]) for url in urls
    }


def test_no_argument_holds_a_secret(place: Place) -> None:
    """Everyone may read a process list: the admin secret is in no command line of it."""
    secret = place.server._launch.secret
    lines = [" ".join(process.cmdline()) for process in place.processes]
    assert any("livewarden-admin=****" in line for line in lines)
    assert not any(secret in line for line in lines)


@pytest.mark.parametrize("key", ["", "wrong", "*" * 32])
def test_admin_endpoints_are_shut(place: Place, key: str) -> None:
    """Loading, unloading, memory, tracing and logging are refused without the secret."""
    name = "livewarden-admin"
    headers = {f"triton-grpc-protocol-{name}": key} if key else {}
    with triton.InferenceServerClient(place.server.grpc_url) as client:
        for call in (
            lambda: client.load_model("moderation", headers=headers),
            lambda: client.unload_model("moderation", headers=headers),
            lambda: client.get_model_repository_index(headers=headers),
            lambda: client.register_system_shared_memory("x", "/x", 1, headers=headers),
            lambda: client.register_cuda_shared_memory("x", b"eA==", 0, 1, headers=headers),
            lambda: client.get_system_shared_memory_status(headers=headers),
            lambda: client.unregister_system_shared_memory(headers=headers),
            lambda: client.update_trace_settings("moderation", {}, headers=headers),
            lambda: client.get_trace_settings(headers=headers),
            lambda: client.update_log_settings({"log_verbose_level": 9}, headers=headers),
            lambda: client.get_log_settings(headers=headers),
        ):
            with pytest.raises(InferenceServerException, match="This protocol is restricted"):
                call()
    for path in (
        "v2/repository/index",
        "v2/repository/models/moderation/load",
        "v2/repository/models/moderation/unload",
        "v2/systemsharedmemory/region/x/register",
        "v2/cudasharedmemory/region/x/register",
        "v2/logging",
        "v2/trace/setting",
    ):
        request = urllib.request.Request(
            f"{place.server.http_url}/{path}", b"{}", {name: key} if key else {}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        refused.value.close()
        assert refused.value.code == 403, path


def test_callers_choose_no_bundle_and_are_no_canary(place: Place) -> None:
    """A clip that says it is the server's own is answered, and recorded, like any other."""
    before = sum(path.stat().st_size for path in (place.folder / "audit").rglob("*.jsonl"))
    options = {"bundle": "0" * 16, "canary": True, "server_key": "00"}
    context = {"texts": [{"kind": "chat"}], "options": options}
    verdict = json.loads(ask(place, json.dumps(context).encode(), texts=[b"hello"]))
    live = json.loads(ask(place, b'{"texts":[{"kind":"chat"}]}', texts=[b"hello"]))
    assert verdict["provenance"]["bundle"] == live["provenance"]["bundle"]
    files = list((place.folder / "audit").rglob("*"))
    after = sum(path.stat().st_size for path in files if path.suffix == ".jsonl")
    assert after > before, files


def test_everything_is_gone_with_the_server(place: Place) -> None:
    """No restart was needed; after the stop no file in shared memory or runtime is left."""
    assert place.server.restarts == 0
    claim = place.server._claim
    place.server.close()
    assert list(SHARED_MEMORY.glob(f"lw_{claim.token}*")) == []
    assert not claim.runtime.exists()

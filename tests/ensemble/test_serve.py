from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from livewarden_ensemble.cli import serve
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.server import Server


def test_help_has_every_option_and_an_example():
    """`--help` names the options of the design and shows an example."""
    result = CliRunner().invoke(serve, ["--help"])
    assert result.exit_code == 0
    for word in ("--repository", "--host", "--grpc-port", "--http-port", "--metrics-port"):
        assert word in result.output
    for word in ("--policy", "--model-config-name", "--log-level", "--shared-memory"):
        assert word in result.output
    assert "  Example:\n    livewarden serve" in result.output


def test_help_imports_nothing_heavy():
    """Asking for help loads neither gRPC, numpy nor an image library."""
    code = (
        "import sys, livewarden_ensemble.cli\n"
        "print({'grpc', 'numpy', 'PIL', 'rich', 'psutil'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


@pytest.mark.parametrize("arguments", [["--repository", "/no/such"], ["--grpc-port", "70000"]])
def test_wrong_usage_exits_with_2(arguments: list[str]):
    """A missing directory or an impossible port is wrong usage."""
    assert CliRunner().invoke(serve, arguments).exit_code == 2


def test_empty_repository_exits_with_1(tmp_path: Path):
    """A failure is one clear line and status 1."""
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    result = CliRunner().invoke(serve, ["--repository", str(tmp_path), *ports])
    assert result.exit_code == 1
    assert "holds no model" in result.output


def make(tmp_path: Path, **settings) -> Server:
    (tmp_path / "moderation").mkdir(exist_ok=True)
    (tmp_path / "moderation" / "config.pbtxt").touch()
    return Server(tmp_path, grpc_port=0, http_port=0, metrics_port=0, **settings)


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")]
)
def test_addresses_can_be_called(tmp_path: Path, host: str, shown: str):
    """The addresses of a server name the real ports, and a host that a client can connect to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no address {host}")
    server = make(tmp_path, host=host)
    for url in (server.grpc_url, server.http_url, server.metrics_url):
        name, _, port = url.removeprefix("http://").removesuffix("/metrics").rpartition(":")
        assert name == shown
        assert int(port) > 1023


def test_server_that_was_not_started_says_so(tmp_path: Path):
    """Before the start nothing is ready, nothing runs, waiting is an error and closing harmless."""
    server = make(tmp_path)
    assert (server.ready, server.pid, server.stub_pids, server.restarts) == (False, None, (), 0)
    with pytest.raises(ServerFailed, match="not been started"):
        server.wait_ready(1)
    server.close()


def test_missing_policy_is_refused(tmp_path: Path):
    """A policy file that does not exist is named."""
    with pytest.raises(ServerFailed, match=r"nowhere\.yaml does not exist"):
        make(tmp_path, policy=tmp_path / "nowhere.yaml")

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from livewarden_ensemble import launch
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.launch import Launch, Ports, choose_ports, read_key, size_shared_memory
from livewarden_ensemble.routing import SERVER_KEY_VARIABLE, derive_server_key
from livewarden_ensemble.state_token import parse_keys


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A directory that looks like a repository of one model."""
    (tmp_path / "moderation").mkdir()
    (tmp_path / "moderation" / "config.pbtxt").write_text('name: "moderation"')
    return tmp_path


def start(repository: Path, **settings) -> Launch:
    return Launch(repository, "127.0.0.1", Ports(1, 2, 3), **settings)


def test_shared_memory_holds_a_full_batch_of_frames():
    """The pool is a power of two of MiB, and 64 frames of 224x224 fit."""
    mib, rest = divmod(size_shared_memory(), 1024 * 1024)
    assert rest == 0
    assert mib & (mib - 1) == 0
    assert 64 * 224 * 224 * 3 <= size_shared_memory() < 2 * 64 * 224 * 224 * 3 + 2**20


def test_zero_means_free_ports():
    """Zeros become three different ports above 1023; what was given stays."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    ports = choose_ports("127.0.0.1", Ports(free, 0, 0))
    assert ports.grpc == free
    assert len({ports.grpc, ports.http, ports.metrics}) == 3
    assert min(ports.http, ports.metrics) > 1023


@pytest.mark.parametrize("name", ["grpc", "http", "metrics"])
def test_busy_port_is_named_with_its_flag(name: str):
    """The error names the port in use and the flag to change."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        wanted = Ports(**{"grpc": 0, "http": 0, "metrics": 0, name: port})
        with pytest.raises(ServerFailed, match=rf"Port {port} .* in use .*--{name}-port 0"):
            choose_ports("127.0.0.1", wanted)


def test_same_port_twice_is_refused():
    """Two services cannot share a port; the second flag is named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerFailed, match="--http-port"):
        choose_ports("127.0.0.1", Ports(port, port, 0))


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_foreign_host_is_refused(host: str):
    """An address that is not of this machine is named."""
    with pytest.raises(ServerFailed, match=f"--host {host}"):
        choose_ports(host, Ports(0, 0, 0))


def test_command_locks_what_callers_do_not_need(repository: Path):
    """Admin protocols need the secret; only they load models; everything listens on the host."""
    settings = start(repository)
    command = settings.build_command(Path("/t"), Path("/b"), "lw_x_0_")
    locked = "shared-memory,model-repository,trace,logging:livewarden-admin=" + settings.secret
    assert f"--grpc-restricted-protocol={locked}" in command
    assert f"--http-restricted-api={locked}" in command
    assert {"--model-control-mode=explicit", "--load-model=*"} <= {*command}
    assert "--disable-auto-complete-config" in command
    assert {f"--{name}-address=127.0.0.1" for name in ("grpc", "http", "metrics")} <= {*command}
    assert "--backend-config=python,shm-region-prefix-name=lw_x_0_" in command
    assert settings.secret not in repr(settings)
    assert settings.secret != start(repository).secret


def test_shared_memory_is_opened_with_a_key_of_its_own(repository: Path):
    """Where asked for, gRPC alone takes regions, from whoever has that key; the rest stays shut."""
    settings = start(repository, shared_memory_key="k" * 16)
    command = settings.build_command(Path("/t"), Path("/b"), "lw_x_0_")
    admin = "livewarden-admin=" + settings.secret
    locks = [flag for flag in command if flag.startswith("--grpc-restricted-protocol=")]
    assert locks == [
        f"--grpc-restricted-protocol=model-repository,trace,logging:{admin}",
        "--grpc-restricted-protocol=shared-memory:livewarden-shared-memory=" + "k" * 16,
    ]
    assert f"--http-restricted-api=shared-memory,model-repository,trace,logging:{admin}" in command
    assert "k" * 16 not in repr(settings)


@pytest.mark.parametrize("text", ["", "short", "k" * 257, "with space" * 3, "a=b," * 8])
def test_bad_key_for_shared_memory_is_refused(tmp_path: Path, text: str):
    """A key that is short, or would break the flag, is not used; the message does not hold it."""
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ServerFailed, match="no key for shared memory") as caught:
        read_key(file)
    assert not text or text not in str(caught.value)


def test_key_that_everyone_may_read_is_refused(tmp_path: Path):
    """The key is a secret: a file that any user may read is named, with the remedy."""
    file = tmp_path / "key"
    file.write_text("k" * 16 + "\n")
    file.chmod(0o644)
    with pytest.raises(ServerFailed, match="chmod o-rwx"):
        read_key(file)
    file.chmod(0o640)
    assert read_key(file) == "k" * 16


@pytest.mark.parametrize(
    ("level", "info", "warning"),
    [("error", "false", "false"), ("warning", "false", "true"), ("info", "true", "true")],
)
def test_log_level_sets_the_flags(repository: Path, level: str, info: str, warning: str):
    """Each level includes those above it."""
    command = start(repository, log_level=level).build_command(Path("/t"), Path("/b"), "p")
    assert f"--log-info={info}" in command
    assert f"--log-warning={warning}" in command


def test_target_and_policy_reach_the_models(repository: Path):
    """The target is a flag, repository and policy are environment; absent ones are left out."""
    plain, full = start(repository), start(repository, model_config_name="t", policy=Path("/p"))
    assert "--model-config-name=t" in full.build_command(Path("/t"), Path("/b"), "p")
    assert not any("model-config" in a for a in plain.build_command(Path("/t"), Path("/b"), "p"))
    given = {"A": "1", "LIVEWARDEN_STATE_KEYS": "k"}
    expected = {
        **given,
        "LIVEWARDEN_REPOSITORY": str(repository),
        "LIVEWARDEN_GRPC": "127.0.0.1:1",
    }
    own = {SERVER_KEY_VARIABLE: derive_server_key(plain.secret)}
    assert plain.build_environment(given) == {**expected, **own}
    own = {SERVER_KEY_VARIABLE: derive_server_key(full.secret), "LIVEWARDEN_POLICY": "/p"}
    assert full.build_environment(given) == {**expected, **own}


def test_a_server_without_keys_for_its_state_tokens_gets_one(repository: Path):
    """Streams are remembered without any setting; a key that was given stays."""
    made = start(repository).build_environment({})["LIVEWARDEN_STATE_KEYS"]
    assert parse_keys(made) is not None
    assert start(repository).build_environment({})["LIVEWARDEN_STATE_KEYS"] != made
    given = {"LIVEWARDEN_STATE_KEYS_FILE": "/keys"}
    assert "LIVEWARDEN_STATE_KEYS" not in start(repository).build_environment(given)


def test_empty_repository_is_refused(tmp_path: Path):
    """A directory without models is named together with the flag."""
    with pytest.raises(ServerFailed, match=r"holds no model .*--repository"):
        start(tmp_path)


def test_path_that_a_shell_would_cut_is_refused(tmp_path: Path):
    """A space in the path is said at once; Triton would wait for ever for its stubs."""
    folder = tmp_path / "my models" / "moderation"
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").touch()
    with pytest.raises(ServerFailed, match="a space"):
        start(folder.parent)


def test_small_shared_memory_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch):
    """Less room in /dev/shm than the models take is said before they fail one by one."""
    real = os.statvfs("/dev/shm")
    little = os.statvfs_result((4096, 4096, *[1024] * 3, *real[5:10]))
    monkeypatch.setattr(launch.os, "statvfs", lambda _: little)
    with pytest.raises(ServerFailed, match=r"4 MiB free; 1 models need 16 MiB.*--shm-size"):
        start(repository)

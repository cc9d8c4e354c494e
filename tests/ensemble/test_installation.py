from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from livewarden_ensemble import installation
from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.installation import Installation, find_installation


def test_wheel_has_all_parts(tmp_path: Path):
    """The wheel's server, libraries and the stub for this Python are found and put in place."""
    found = find_installation()
    assert os.access(found.binary, os.X_OK)
    assert all(path.is_dir() for path in found.libraries)
    python = found.prepare_backends(tmp_path) / "python"
    names = {path.name for path in python.iterdir()}
    stub = "triton_python_backend_stub"
    assert names == {"libtriton_python.so", "triton_python_backend_utils.py", stub}
    assert os.access(python / stub, os.X_OK)
    assert not (found.backends / "python" / stub).exists()


def test_own_python_and_libraries_come_first():
    """The stubs find the running interpreter before any other, and nothing else is lost."""
    base = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib/x", "PYTHONPATH": "/p"}
    built = find_installation().build_environment(base)
    assert built["PATH"] == f"{Path(sys.executable).parent}:/bin"
    assert built["LD_LIBRARY_PATH"].endswith(":/lib/x")
    assert built["LD_LIBRARY_PATH"].split(":")[0].endswith("nvidia_pytriton.libs")
    assert built["PYTHONPATH"] == "/p"


def test_image_is_used_as_it_is(tmp_path: Path):
    """Another binary brings its own backends and needs no library path of ours."""
    binary = tmp_path / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\n")
    with pytest.raises(ServerFailed, match="not an executable"):
        find_installation(binary)
    binary.chmod(0o755)
    with pytest.raises(ServerFailed, match="backends is not a directory"):
        find_installation(binary)
    (tmp_path / "backends").mkdir()
    found = find_installation(binary)
    assert found == Installation(binary, tmp_path / "backends")
    assert found.prepare_backends(tmp_path / "runtime") == tmp_path / "backends"
    assert "LD_LIBRARY_PATH" not in found.build_environment({})


def test_missing_parts_are_named(monkeypatch: pytest.MonkeyPatch):
    """Without the wheel, or with a Python it does not know, the error says what to do."""
    monkeypatch.setattr(installation.sys, "version_info", type("V", (), {"major": 3, "minor": 99}))
    with pytest.raises(ServerFailed, match=r"no stub for Python 3\.99; it has: .*3\.11"):
        find_installation()
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    with pytest.raises(ServerFailed, match="pip install"):
        find_installation()

"""Where tritonserver is installed, and what its processes need around them."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from livewarden_ensemble.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Installation:
    """One tritonserver: its binary, its backends, and the folders of its shared libraries.

    `stub` is the Python backend's process for the running Python, None where the backend folder
    already holds the one to use.
    """

    binary: Path
    backends: Path
    libraries: tuple[Path, ...] = ()
    stub: Path | None = None

    def prepare_backends(self, directory: Path) -> Path:
        """The backend folder to use; the wheel's gets its stub added in a copy in `directory`.

        The wheel ships one stub per Python version and keeps none where Triton looks for it;
        site-packages may be read-only, or shared by two versions.
        """
        if self.stub is None:
            return self.backends
        target = directory / "backends"
        shutil.copytree(
            self.backends, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        shutil.copy2(self.stub, target / "python" / self.stub.name)
        return target

    def build_environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with the paths by which the server finds libraries and the stubs find Python."""
        environment = dict(base)
        if self.libraries:
            parts = [*map(str, self.libraries), environment.get("LD_LIBRARY_PATH", "")]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, parts))
        # A stub takes the packages of the python3 that it finds first.
        own = str(Path(sys.executable).parent)
        environment["PATH"] = os.pathsep.join(
            filter(None, [own, environment.get("PATH", os.defpath)])
        )
        return environment


def find_installation(binary: Path | None = None) -> Installation:
    """The tritonserver at `binary` (NVIDIA's image), else the one in the nvidia-pytriton wheel.

    Raises ServerFailed where there is none, or none for the running Python.
    """
    if binary is not None:
        return _find_image(binary)
    spec = find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            "No tritonserver: the package nvidia-pytriton is not installed. "
            'Run `pip install "livewarden[server]"`, or name a binary with --tritonserver.'
        )
    package = Path(spec.submodule_search_locations[0])
    root = package / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        known = sorted(path.name for path in stub.parent.parent.glob("*"))
        raise ServerFailed(
            f"nvidia-pytriton has no stub for Python {version}; it has: {', '.join(known)}."
        )
    return Installation(
        binary=root / "bin" / "tritonserver",
        backends=root / "backends",
        libraries=(
            package.parent / "nvidia_pytriton.libs",
            Path(sysconfig.get_config_var("LIBDIR")),
        ),
        stub=stub,
    )


def _find_image(binary: Path) -> Installation:
    backends = binary.parent.parent / "backends"
    if not os.access(binary, os.X_OK):
        raise ServerFailed(f"No tritonserver at {binary}: it is not an executable file.")
    if not backends.is_dir():
        raise ServerFailed(f"{binary} has no backends: {backends} is not a directory.")
    return Installation(binary.resolve(), backends.resolve())

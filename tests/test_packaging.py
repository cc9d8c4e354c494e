from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, metadata, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import livewarden_client

ROOT = Path(__file__).parents[1]
CLIENT = Path(livewarden_client.__file__).parent
HEAVY = (
    *("torch", "PIL", "cv2", "click", "rich", "msgspec", "openvino", "tokenizers", "pytriton"),
    *("opentelemetry", "prometheus_client"),
)
OURS = ("livewarden_ensemble", "livewarden_export", "livewarden_perf")
# What a bare `pip install livewarden` brings, and what the extra [cli] adds for the commands.
BASE = {"numpy", "tritonclient", "grpc", "livewarden_client"}
CLI = {"click", "rich"}
EXTRAS = {
    "hook_opentelemetry.py": {"opentelemetry"},
    "hook_prometheus.py": {"prometheus_client"},
    "video.py": {"av"},
}
# 230 MB for one check, so outside the environments that `make pin` reads.
UNPINNED = {"tensorrt-rtx"}
CLI_MODULES = {"cli.py", "cli_completion.py", "cli_group.py", "cli_moderate.py", "render.py"}


def list_modules(code: str) -> set[str]:
    """List the top-level modules that a fresh process has loaded after running `code`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_client_loads_nothing_heavy() -> None:
    """`import livewarden_client` loads no model, image or CLI library, and not even gRPC."""
    loaded = list_modules("import livewarden_client")
    assert "livewarden_client" in loaded
    assert loaded.isdisjoint({*HEAVY, *OURS, "grpc", "tritonclient"})


def test_calling_needs_the_base_install_only() -> None:
    """A connected client has loaded gRPC, and still nothing of the extras."""
    loaded = list_modules(
        "from livewarden_client import Client, Clip\nClient().close()\nClip(frames=[b''])"
    )
    assert "tritonclient" in loaded
    assert loaded.isdisjoint({*HEAVY, *OURS})


@pytest.mark.parametrize("path", sorted(CLIENT.glob("*.py")), ids=lambda path: path.name)
def test_client_imports_only_what_it_may(path: Path) -> None:
    """A module names packages of the base install, or of its own extra, and no others."""
    allowed = BASE | EXTRAS.get(path.name, CLI if path.name in CLI_MODULES else set())
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add((node.module or "").partition(".")[0])
    assert named - set(sys.stdlib_module_names) <= allowed


def test_public_names_are_real() -> None:
    """Each name of `__all__` exists, is listed once and in order; the version is the package's."""
    names = livewarden_client.__all__
    assert names == sorted(set(names))
    assert all(hasattr(livewarden_client, name) for name in names)
    assert livewarden_client.__version__ == version("livewarden")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = livewarden_client.nothing


def test_base_dependencies_are_the_callers() -> None:
    """A bare install brings numpy and tritonclient[grpc], and nothing else by name."""
    base = [line for line in requires("livewarden") or [] if "extra ==" not in line]
    names = {line.partition(">")[0].strip() for line in base}
    assert names == {"numpy", "tritonclient[grpc]"}


def test_extras_named_to_people_exist() -> None:
    """Each extra that an error message tells people to install is one of the package."""
    from livewarden_client.cli_group import ENTRY_POINTS, EXTRAS  # noqa: PLC0415 - needs [cli]

    assert set(EXTRAS.values()) <= set(metadata("livewarden").get_all("Provides-Extra") or [])
    assert entry_points(group=ENTRY_POINTS)


def test_packages_are_typed() -> None:
    """The client ships py.typed, so that callers' type checkers read its annotations."""
    assert (CLIENT / "py.typed").exists()


def list_declared() -> set[str]:
    """The names of every dependency that pyproject.toml declares, in any extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = [line for group in groups for line in group]
    return {canonicalize_name(Requirement(line).name) for line in lines} - {"livewarden"}


def test_every_dependency_has_its_reason() -> None:
    """The table of CONTRIBUTING.md names what pyproject.toml declares, and nothing else."""
    rows = re.findall(
        r"^\| (?!package)([^|]+) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    named = [re.sub(r"\(.*?\)|\[.*?\]", "", row).split(",") for row in rows]
    assert {canonicalize_name(name.strip()) for row in named for name in row} == list_declared()


def test_every_dependency_is_pinned() -> None:
    """Two installations with constraints.txt get the same versions of what is declared."""
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert list_declared() - {canonicalize_name(pin) for pin in pins} == UNPINNED

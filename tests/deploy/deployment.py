"""What the tests of deploy/ share: recipes as steps, command lines as options."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livewarden_ensemble.cli import serve
from livewarden_ensemble.drain import FINISH_S
from livewarden_ensemble.launch import EXIT_TIMEOUT_S, GRACE_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "livewarden"
EXAMPLES = sorted((DEPLOY / "helm" / "examples").glob("*.yaml"))

# The longest that a server may take from SIGTERM to its end.
DRAIN_S = FINISH_S + EXIT_TIMEOUT_S + GRACE_S

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile, with its continuation lines joined."""

    stage: int
    name: str
    text: str


def read_steps(path: Path) -> list[Step]:
    """Read the instructions of a Dockerfile; stages are counted from 0, -1 is before the first."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    stage, steps = -1, []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, text = line.partition(" ")
        if name:
            stage += name == "FROM"
            steps.append(Step(stage, name, text.strip()))
    return steps


def parse_serve(arguments: Sequence[str]) -> dict[str, Any]:
    """Read the arguments of `livewarden` as it would; anything it does not know is an error."""
    name, *rest = arguments
    assert name == serve.name
    context = serve.make_context(name, [], resilient_parsing=True)
    options, extra, _ = serve.make_parser(context).parse_args(list(rest))
    assert not extra
    return options


def find_serve(script: str) -> list[str]:
    """The arguments of `livewarden serve` in a shell script."""
    words = shlex.split(script.replace("\\\n", " "))
    return words[words.index("serve") :]


def merge(base: Manifest, change: Manifest) -> Manifest:
    """`base` with `change` laid over it, maps into maps, as Helm does with values."""
    merged = dict(base)
    for name, value in change.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = merge(old, value) if both else value
    return merged

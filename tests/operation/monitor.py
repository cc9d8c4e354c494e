"""A real Prometheus beside a test, and what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from livewarden_ensemble.launch import choose_port

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "livewarden.json"
INSTALL = "apt-get install --no-install-recommends prometheus"


def find_binary(name: str) -> str:
    """The path of `prometheus` or `promtool`; the test is skipped where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}; on Debian: {INSTALL}")
    return path


def read_alerts() -> list[dict[str, Any]]:
    """The alert rules, as the file has them."""
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


class Prometheus:
    """Scrapes `targets` (job -> HOST:PORT) every second and evaluates the rules that ship."""

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        binary = find_binary("prometheus")
        rules = yaml.safe_load(ALERTS.read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"
        (folder / "alerts.yaml").write_text(yaml.safe_dump(rules))
        config = {
            "global": {"scrape_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]}
                for job, target in targets.items()
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = choose_port("127.0.0.1", 0, "port")
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ]
        )

    def __enter__(self) -> Self:
        """Itself; it may not answer yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)

    def ask(self, path: str, **query: str) -> Any:
        """`data` of one endpoint of its HTTP API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and values of an instant query."""
        found = self.ask("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def wait(self, expression: str, is_true: Callable[[float], bool], seconds: float = 60) -> float:
        """Wait until the one value of `expression` is as wanted."""
        give_up = time.monotonic() + seconds
        values: list[float] = []
        while time.monotonic() < give_up:
            try:
                values = [value for _, value in self.query(expression)]
            except OSError:  # it is starting
                values = []
            if len(values) == 1 and is_true(values[0]):
                return values[0]
            time.sleep(0.25)
        pytest.fail(f"{expression} stayed {values}")

    def read_rules(self) -> dict[str, dict[str, Any]]:
        """The rules by name, each with its health and state."""
        [group] = self.ask("rules")["groups"]
        return {rule["name"]: rule for rule in group["rules"]}

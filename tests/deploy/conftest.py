"""The chart, rendered by Helm's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import helm_python
import pytest
import yaml
from deployment import CHART, EXAMPLES, Manifest


@pytest.fixture(scope="session")
def render() -> Iterator[Callable[[Manifest], list[Manifest]]]:
    """Render the chart with Helm's own code; gives the manifests."""
    with helm_python.Chart.load(CHART) as chart:

        def render_values(values: Manifest) -> list[Manifest]:
            texts = chart.render(values, name="lw", namespace="moderation")
            return [
                manifest
                for path, text in texts.items()
                if path.endswith(".yaml")
                for manifest in yaml.safe_load_all(text)
                if manifest
            ]

        yield render_values


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest) -> Manifest:
    """The values of each example."""
    values: Manifest = yaml.safe_load(request.param.read_text())
    return values


@pytest.fixture
def manifests(example: Manifest, render: Callable[[Manifest], list[Manifest]]) -> list[Manifest]:
    """The manifests of each example."""
    return render(example)

import json

import pytest

from livewarden_perf.baseline.comparison import Comparison, Load, Standing
from livewarden_perf.baseline.load import Window
from livewarden_perf.baseline.table import (
    Hardware,
    describe_comparison,
    is_disturbed,
    render_comparison,
)

HARDWARE = Hardware("Some CPU", 4, 16, "Linux 1", "3.11")
VERSIONS = {"tritonserver": "1.0", "litserve": "0.9"}


def make_window(clips=20.0, latencies=(100.0, 200.0), others=0.0, memory=500.0):
    return Window(10.0, clips, 30, latencies, 8.0, memory, others)


def make_standing(name, windows, packages=("litserve",), **given):
    return Standing(
        name, name.title(), "a way", packages, difference=0.001, windows=windows, **given
    )


@pytest.fixture
def comparison():
    return Comparison(
        (
            make_standing("own", [make_window(), make_window(40.0)], ("tritonserver",)),
            make_standing(
                "other",
                [make_window(10.0, (300.0,)), make_window(10.0, (500.0,), memory=700.0)],
                variant="two",
                tried={"one": None, "two": 1.5},
            ),
            make_standing("broken", [], failure="it does not come up"),
        ),
        Load(8, 10.0, 2, 3.0),
        "0123456789abcdef0123",
        168,
        repeated=False,
    )


def test_figures_are_over_all_windows(comparison):
    """Rates and processor time weigh windows by what was in them; memory is the worst."""
    own, other, _ = comparison.standings
    assert own.clips_per_second == pytest.approx(3.0)
    assert own.cpu_s == pytest.approx(16 / 60)
    assert other.latency_ms(50) == pytest.approx(400.0)
    assert other.memory_mb == 700.0


def test_the_table_is_ready_for_a_readme(comparison):
    """A row per server with figures, the ratio to Livewarden, and the reason for no figures."""
    text = render_comparison(comparison, HARDWARE, VERSIONS)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["**Own**", "Other"]
    assert rows[3].split("|")[-2].strip() == "3.00×"
    assert "Some CPU, 4 cores" in text
    assert "bundle 0123456789abcdef." in text
    assert "- Other: a way; best of 2: two (litserve 0.9)." in text
    assert "- Broken: no figures, because it does not come up" in text
    assert "Other programs" not in text


def test_the_data_say_the_same(comparison):
    """The JSON names hardware, versions and load; a failed server has no figures."""
    data = json.loads(json.dumps(describe_comparison(comparison, HARDWARE, VERSIONS)))
    own, other, broken = data["servers"]
    assert data["hardware"]["cores"] == 4
    assert data["versions"] == VERSIONS
    assert (own["clips_per_second"], own["livewarden_ratio"]) == (3.0, 1.0)
    assert other["tried"] == {"one": None, "two": 1.5}
    assert other["livewarden_ratio"] == 3.0
    assert "clips_per_second" not in broken
    assert broken["failure"] == "it does not come up"


@pytest.mark.parametrize(("others", "disturbed"), [(0.19, False), (0.21, True)])
def test_a_disturbed_run_says_so(others, disturbed):
    """Over 5 percent of the machine in one window is too much for any rate to hold."""
    standing = make_standing("own", [make_window(), make_window(others=others)], ("litserve",))
    comparison = Comparison((standing,), Load(8, 10.0, 2, 3.0), "0" * 64, 168, repeated=True)
    assert is_disturbed(comparison, HARDWARE) is disturbed
    text = render_comparison(comparison, HARDWARE, VERSIONS)
    assert ("Other programs used up to 0.2 cores" in text) is disturbed
    assert "sent twice" in text

import json

import pytest

from livewarden_perf.capacity import NodeType
from livewarden_perf.errors import NodeInvalid
from livewarden_perf.node_table import read_measured_node, read_nodes

TIMES = {"p50": 100.0, "p90": 110.0, "p95": 120.0, "p99": 150.0}
STAGES = {"decode": 20.0, "vision_encoder": 30.0, "nsfw_encoder": 40.0, "text_encoder": 10.0}
REPORT = {
    "schema": "livewarden.perf/v1",
    "machine": {"measured": "2026-11-23 10:00 UTC", "processor": "A Processor, 4 of 8 cores"},
    "sections": [
        {"name": "stages", "data": {"stages_ms": STAGES, "cores": 4}},
        {
            "name": "run",
            "data": {
                "runs": [
                    {"concurrency": 1, "clips_per_second": 9.0, "latency_from_send_ms": TIMES},
                    {"concurrency": 8, "clips_per_second": 20.0, "latency_from_send_ms": {}},
                    {"concurrency": None, "clips_per_second": 99.0, "latency_from_send_ms": {}},
                ]
            },
        },
        {
            "name": "memory",
            "data": {"mb": {"private, all together": [1, 900.0], "shared memory": [1, 100.0]}},
        },
    ],
}
SMOKE = {
    "concurrency": 8,
    "clips_per_second": 9.5,
    "latency_ms": {"p50": 800.0, "p99": 1000.0},
    "machine": {"stages_ms": STAGES, "elapsed_ms": 160.0, "cores": 2},
}


def write(tmp_path, content):
    """Write a file, JSON where it is no text."""
    path = tmp_path / "nodes"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_shipped_table_invents_nothing():
    """The CPU node was measured and says where; the GPU node has no figure at all."""
    cpu, gpu = read_nodes()
    assert cpu.measured is not None
    assert "docs/performance.md" in cpu.measured.source
    assert gpu == NodeType("gpu", cores=8, gpus=1)


def test_a_row_of_ones_own(tmp_path):
    """Every field is read."""
    text = """
    [[node]]
    name = "mine"
    cores = 16
    gpus = 2
    memory_mib = 4000
    network_mbit_s = 1e4
    cost_per_hour = 1.5
    clips_per_second = 310.0
    alone_ms = { p50 = 21, p99 = 34 }
    frame_share = 0.7
    source = "by hand"
    """
    (node,) = read_nodes(write(tmp_path, text))
    assert (node.name, node.cores, node.gpus) == ("mine", 16, 2)
    assert (node.memory_mib, node.network_mbit_s, node.cost_per_hour) == (4000, 1e4, 1.5)
    assert node.measured is not None
    assert node.measured.clips_per_second == 310
    assert node.measured.alone_ms == {50.0: 21, 99.0: 34}
    assert (node.measured.frame_share, node.measured.source) == (0.7, "by hand")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "node"),
        ("node = 3", "node"),
        ('[[node]]\nname = "a"', "cores"),
        ('[[node]]\nname = "a"\ncores = 0', r"\$\.node\[0\]\.cores"),
        ('[[node]]\nname = "a"\ncores = 1\nspeed = 3', "speed"),
        ('[[node]]\nname = "a"\ncores = 1\nclips_per_second = 3', "needs both"),
        ('[[node]]\nname = "a"\ncores = 1\n[[node]]\nname = "a"\ncores = 1', "share a name"),
        ("\x00", "no table"),
    ],
)
def test_a_wrong_table_names_the_field(tmp_path, text, message):
    """What is missing, unknown, out of range, or there twice."""
    with pytest.raises(NodeInvalid, match=message):
        read_nodes(write(tmp_path, text))


def test_a_report_of_bench(tmp_path):
    """The most of any number of callers, the latency of one caller, memory and frame share."""
    node = read_measured_node(write(tmp_path, REPORT))
    assert node.cores == 4
    assert node.memory_mib == pytest.approx(1e9 / 1024**2)
    assert node.measured is not None
    assert node.measured.clips_per_second == 20
    assert node.measured.alone_ms == {50.0: 100, 90.0: 110, 95.0: 120, 99.0: 150}
    assert node.measured.frame_share == pytest.approx(0.9)
    assert "2026-11-23" in node.measured.source


def test_a_report_of_run_alone(tmp_path):
    """Cores come from the processor's line, the frame share is the documented one."""
    alone = {**REPORT, "sections": [REPORT["sections"][1]]}
    node = read_measured_node(write(tmp_path, alone))
    assert (node.cores, node.memory_mib) == (4, None)


def test_an_output_of_smoke(tmp_path):
    """The latency alone is that of the stages on one thread, with the spread of the load."""
    node = read_measured_node(write(tmp_path, SMOKE))
    assert node.measured is not None
    assert node.measured.alone_ms == {50.0: 160, 99.0: 200}
    assert node.measured.clips_per_second == 9.5


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "{}",
        {**REPORT, "sections": []},
        {**REPORT, "sections": [{"name": "run", "data": {"runs": []}}]},
        {**SMOKE, "machine": None},
    ],
)
def test_a_report_without_the_figures_says_what_is_needed(tmp_path, data):
    """A report of another command, of a smoke run with --url, or no report."""
    with pytest.raises(NodeInvalid, match=r"lacks what a plan needs|is not JSON"):
        read_measured_node(write(tmp_path, data))

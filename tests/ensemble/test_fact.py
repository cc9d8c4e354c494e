from __future__ import annotations

import pytest

from livewarden_ensemble.fact import (
    parse_cpu_flags,
    parse_gpu,
    parse_memory_free,
    parse_pins,
    parse_quota,
)

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    4000000 kB\n"


def test_flags_are_those_of_the_first_core():
    """The words after `flags`; a file without them gives nothing."""
    text = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx2 avx512f\n\nflags\t\t: other\n"
    assert parse_cpu_flags(text) == {"fpu", "avx2", "avx512f"}
    assert parse_cpu_flags("") == frozenset()


@pytest.mark.parametrize(
    ("limit", "usage", "stat", "free"),
    [
        ("", "", "", 4_096_000_000),
        ("max\n", "12\n", "", 4_096_000_000),
        ("1000\n", "400\n", "", 600),
        ("1000\n", "400\n", "active_file 9\ninactive_file 300\n", 900),
        ("1000\n", "1400\n", "", 0),
    ],
)
def test_the_tighter_limit_of_memory_counts(limit: str, usage: str, stat: str, free: int):
    """What the control group leaves, less than nothing being nothing; cached pages are free."""
    assert parse_memory_free(MEMINFO, limit, usage, stat) == free


@pytest.mark.parametrize(
    ("text", "quota"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None)]
)
def test_quota_is_in_cores(text: str, quota: float | None):
    """cpu.max holds microseconds per period; `max` and no file are no limit."""
    assert parse_quota(text) == quota


def test_pins_are_exact_versions_alone():
    """Comments and lines without == are no pins."""
    assert parse_pins("# a==1\nnumpy==1.26.4  # why\nclick>=8\n\nx.y-z==2\n") == {
        "numpy": "1.26.4",
        "x.y-z": "2",
    }


def test_a_gpu_is_named():
    """The driver's file gives the name; a strange one is still a GPU."""
    assert parse_gpu("Model: \t\t NVIDIA L4\nIRQ: 1\n") == "NVIDIA L4"
    assert parse_gpu("?") == "unknown GPU"

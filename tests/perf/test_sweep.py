import pytest

from livewarden_perf.closed_loop import LoadResult
from livewarden_perf.errors import ScheduleInvalid
from livewarden_perf.sweep import make_run_section, parse_range

CALLERS = LoadResult(4, 9.0, p50_ms=100, p90_ms=120, p95_ms=130, p99_ms=150)
RATE = LoadResult(0, 4.0, p50_ms=90, p90_ms=95, p95_ms=99, p99_ms=110, rate=4.1)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("4", [4]),
        ("1,2,8", [1, 2, 8]),
        ("1:4", [1, 2, 3, 4]),
        ("2:10:4", [2, 6, 10]),
        ("0.1:0.3:0.1", [0.1, 0.2, 0.3]),
    ],
)
def test_ranges_are_those_of_perf_analyzer_and_lists(text, values):
    """The end counts, also where the step is no whole number."""
    assert parse_range(text) == pytest.approx(values)


@pytest.mark.parametrize("text", ["x", "0", "1:2:0", "4:1", "1,-2", "1:1000", "nan", "1:nan"])
def test_a_range_that_is_none_is_refused(text):
    """The message says what is accepted."""
    with pytest.raises(ScheduleInvalid, match="START:END:STEP"):
        parse_range(text)


def test_the_section_holds_callers_and_rates():
    """Each in a chart of its own; the ratio to the limit only where there is a limit."""
    section = make_run_section([CALLERS, RATE], "2.51.0", 10.0)
    assert [row[0] for row in section.tables[0].rows] == ["4 callers", "4.1 clips/s asked"]
    assert len(section.charts) == 2
    assert section.figures["throughput / limit"] == "0.90"
    assert "limit" not in make_run_section([CALLERS], "2.51.0", None).headline

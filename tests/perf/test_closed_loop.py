import json
import os
import sys
from pathlib import Path

import pytest

from livewarden_perf.analyzer import Analyzer
from livewarden_perf.closed_loop import LoadResult, parse_report, run_closed_loop, run_sweep
from livewarden_perf.errors import AnalyzerFailed
from livewarden_perf.standard_clip import text_only_clip

# Written by perf_analyzer 2.51.0: -m moderation -i grpc --concurrency-range 4 -p 1000 -f FILE.
CAPTURED = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,"
    "Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,"
    "p50 latency,p90 latency,p95 latency,p99 latency\n"
    "4,126.42,95,2373,12386,326,15541,692,3,31614,33926,34944,36762\n"
)
RESULT = LoadResult(4, 126.42, p50_ms=31.614, p90_ms=33.926, p95_ms=34.944, p99_ms=36.762)


def make_analyzer(folder, body):
    """Make a program in perf_analyzer's place; `args` are its arguments."""
    binary = folder / "perf_analyzer"
    binary.write_text(f"#!{sys.executable}\nimport sys, time\nargs = sys.argv[1:]\n{body}\n")
    binary.chmod(0o755)
    return Analyzer(binary, "0")


def test_a_real_report_is_read():
    """Latencies stand in microseconds in the file and in milliseconds in the result."""
    assert parse_report(CAPTURED) == RESULT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 load levels"),
        (CAPTURED.splitlines()[0], "0 load levels"),
        (CAPTURED + CAPTURED.splitlines()[1], "2 load levels"),
        (CAPTURED.replace("p99 latency", "p98 latency"), "no column 'p99 latency'"),
        (CAPTURED.replace("36762", "n/a"), "no number"),
        (CAPTURED.replace(",36762", ""), "no number"),
    ],
)
def test_a_report_without_the_figures_is_an_error(text, message):
    """A missing figure is never read as zero."""
    with pytest.raises(AnalyzerFailed, match=message):
        parse_report(text)


def test_the_run_warms_up_and_then_measures(tmp_path):
    """Two runs on the same clips; only the second, in time windows, gives the figures."""
    log = tmp_path / "log"
    analyzer = make_analyzer(
        tmp_path,
        f"""
import json
with open({str(log)!r}, "a") as file:
    data = json.load(open(args[args.index("--input-data") + 1]))
    print(json.dumps([args, len(data["data"])]), file=file)
if "-f" in args:
    open(args[args.index("-f") + 1], "w").write({CAPTURED!r})
""",
    )
    clips = [text_only_clip(0), text_only_clip(1)]
    result = run_closed_loop(analyzer, "127.0.0.1:1", clips, concurrency=4, seconds=6)
    assert result == RESULT
    (warm, warm_clips), (measure, clip_count) = map(json.loads, log.read_text().splitlines())
    assert warm_clips == clip_count == 2
    assert "--request-count" in warm
    assert "-f" not in warm
    # Its rates are wrong in that mode.
    assert "--request-count" not in measure
    # Three windows of two seconds.
    assert measure[measure.index("-p") + 1] == "2000"
    assert measure[measure.index("-r") + 1] == "3"


def test_a_failed_run_says_why(tmp_path):
    """perf_analyzer's own last lines are the message."""
    analyzer = make_analyzer(
        tmp_path,
        "print('\\nThread [0] had error: /context: bad\\n', file=sys.stderr); sys.exit(99)",
    )
    with pytest.raises(AnalyzerFailed, match=r"Thread \[0\] had error: /context: bad$"):
        run_closed_loop(analyzer, "127.0.0.1:1", [text_only_clip(0)], concurrency=1, seconds=1)


def test_a_run_without_a_report_is_an_error(tmp_path):
    """Exit code 0 alone is no figure."""
    with pytest.raises(AnalyzerFailed, match="left no report"):
        run_closed_loop(
            make_analyzer(tmp_path, ""),
            "127.0.0.1:1",
            [text_only_clip(0)],
            concurrency=1,
            seconds=1,
        )


def test_the_binary_finds_its_libraries_first(monkeypatch):
    """The private folder comes before the caller's own, which stays."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/theirs")
    environment = Analyzer(Path("x"), "0", Path("/ours")).build_environment()
    assert environment["LD_LIBRARY_PATH"] == os.pathsep.join(["/ours", "/theirs"])
    assert Analyzer(Path("x"), "0").build_environment()["LD_LIBRARY_PATH"] == "/theirs"


def test_a_window_without_requests_says_what_to_do(tmp_path):
    """perf_analyzer's own words about standard deviations help nobody."""
    analyzer = make_analyzer(
        tmp_path,
        "print('WARNING: infinity. No valid requests recorded within time interval. "
        "Please use a larger time window.', file=sys.stderr); sys.exit(2)",
    )
    with pytest.raises(AnalyzerFailed, match="a window of 1 s was too short; measure longer"):
        run_closed_loop(analyzer, "h:1", [text_only_clip(0)], concurrency=1, seconds=3)


def test_a_sweep_warms_up_once_and_tells_callers_from_rates(tmp_path):
    """One warm-up, then a run a level; a rate comes as Poisson arrivals."""
    log = tmp_path / "log"
    rated = CAPTURED.replace("Concurrency", "Request Rate").replace("\n4,", "\n2.5,")
    analyzer = make_analyzer(
        tmp_path,
        f"""
import json
with open({str(log)!r}, "a") as file:
    file.write(json.dumps(args) + "\\n")
if "-f" in args:
    rate = "--request-rate-range" in args
    open(args[args.index("-f") + 1], "w").write({rated!r} if rate else {CAPTURED!r})
""",
    )
    levels = {"concurrencies": [4], "rates": [2.5]}
    callers, rate = run_sweep(analyzer, "h:1", [text_only_clip(0)], seconds=3, **levels)
    assert callers == RESULT
    assert (rate.concurrency, rate.rate) == (0, 2.5)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert ["--request-count" in call for call in calls] == [True, False, False]
    assert calls[2][calls[2].index("--request-distribution") + 1] == "poisson"

"""Draw the dashboard's panels from what a real Prometheus says, into docs/images/dashboard.png.

    python scripts/render_dashboard.py --seconds 240         # a run of its own, with faults in it
    python scripts/render_dashboard.py --prometheus http://127.0.0.1:9090 --seconds 3600

The run of its own starts a server, a Prometheus and callers; on its way one process of the server
is killed and the policy is broken for a while. Grafana draws the same queries; this is not Grafana.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from dashboard import PANELS, RATE, Panel
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from livewarden_client import Client
from livewarden_ensemble.launch import choose_port
from livewarden_ensemble.server import Server
from livewarden_perf.clip_mix import ClipStock, parse_mix

ROOT: Final = Path(__file__).parents[1]
OUTPUT: Final = ROOT / "docs" / "images" / "dashboard.png"
POLICY: Final = ROOT / "policies" / "default.yaml"
_COLUMNS: Final = 3
_POINTS: Final = 240
_SCRAPE_S: Final = 1
_RATE_RANGE: Final = "20s"
_CALLERS: Final = 3
_MIX: Final = "standard:4,one-frame:3,text-only:2,static-scene:2"
_LEGEND: Final = 8
_HEADROOM: Final = 1.4  # for the legend
_BROKEN: Final = 12  # one clip in as many has a frame that is none
_COLOURS: Final = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#000000"),
    *("#7f7f7f", "#8c564b", "#17becf", "#bcbd22", "#9467bd", "#c7c7c7"),
)
# By legend: minutes since the beginning, to values.
Curves = dict[str, dict[float, float]]


def read_curves(url: str, panel: Panel, begin: float, end: float) -> Curves:
    """The panel's curves by legend, from Prometheus's own HTTP API."""
    curves: Curves = {}
    for template, query in panel.queries.items():
        fields = urllib.parse.urlencode(
            {
                "query": query.replace(RATE, _RATE_RANGE),
                "start": begin,
                "end": end,
                "step": max(1, (end - begin) / _POINTS),
            }
        )
        with urllib.request.urlopen(f"{url}/api/v1/query_range?{fields}", timeout=30) as answer:  # noqa: S310 - the operator's own address
            found = json.load(answer)["data"]["result"]
        for series in found:
            labels = series["metric"]
            name = name_curve(template, labels)
            curves[name] = {(at - begin) / 60: float(value) for at, value in series["values"]}
    return curves


def name_curve(template: str, labels: dict[str, str]) -> str:
    """Grafana's legend: each `{{label}}` replaced by its value."""

    def fill(found: re.Match[str]) -> str:
        return labels.get(found[1], "")

    return re.sub(r"{{(\w+)}}", fill, template)


def draw_panel(axes: Axes, panel: Panel, curves: Curves) -> None:
    """One panel; the curves with the largest values get a legend, and those at 0 are left out."""
    tops = {name: np.nanmax([0.0, *curve.values()]) for name, curve in curves.items()}
    ranked = sorted((name for name in curves if tops[name] > 0), key=lambda name: -tops[name])
    labels = [name[:32] if place < _LEGEND else "" for place, name in enumerate(ranked)]
    colours = [_COLOURS[place % len(_COLOURS)] for place in range(len(ranked))]
    if panel.stack and ranked:
        minutes = sorted({minute for name in ranked for minute in curves[name]})
        heights = [[curves[name].get(minute, 0.0) for minute in minutes] for name in ranked]
        axes.stackplot(
            np.array(minutes), np.nan_to_num(heights), labels=labels, colors=colours, alpha=0.75
        )
    else:
        for name, label, colour in zip(ranked, labels, colours, strict=True):
            minutes, values = list(curves[name]), list(curves[name].values())
            axes.plot(minutes, values, color=colour, linewidth=1.2, label=label or None)
    axes.set_title(panel.title, loc="left", fontsize=9.5, fontweight="bold")
    axes.set_ylim(0, max(axes.get_ylim()[1], 1e-9) * _HEADROOM)
    if panel.unit == "percentunit":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif panel.unit == "s":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 1e3:g} ms"))
    elif panel.unit == "reqps":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}/s"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda minute, _: f"{minute:g} min"))
    axes.tick_params(labelsize=7)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if ranked:
        axes.legend(fontsize=6.5, frameon=False, ncols=2, loc="upper left")
    else:
        text = "0" if curves else "no data"
        axes.text(0.5, 0.5, text, ha="center", transform=axes.transAxes, color="0.5")


def draw_dashboard(url: str, begin: float, end: float, output: Path) -> None:
    """All panels in the grid that Grafana shows them in."""
    rows = -(-len(PANELS) // _COLUMNS)
    figure = Figure(figsize=(15, 2.6 * rows), layout="constrained", dpi=80)
    grid: Any = figure.subplots(rows, _COLUMNS)
    for place, axes in enumerate(grid.flat):
        if place >= len(PANELS):
            axes.set_visible(False)
            continue
        draw_panel(axes, PANELS[place], read_curves(url, PANELS[place], begin, end))
        axes.set_xlim(0, (end - begin) / 60)
    output.parent.mkdir(exist_ok=True)
    figure.savefig(output)


@contextlib.contextmanager
def run_prometheus(folder: Path, server: Server) -> Iterator[str]:
    """A Prometheus on the server's two ports; its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        sys.exit("no prometheus; on Debian: apt-get install --no-install-recommends prometheus")
    targets = {
        "livewarden": server.ports.metrics,
        "livewarden-supervisor": server.health_port,
    }
    config = folder / "prometheus.yaml"
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for job, port in targets.items()
    ]
    settings = {"global": {"scrape_interval": f"{_SCRAPE_S}s"}, "scrape_configs": jobs}
    config.write_text(yaml.safe_dump(settings))
    port = choose_port("127.0.0.1", 0, "port")
    process = subprocess.Popen(  # noqa: S603 - the binary that PATH names
        [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def send_clips(url: str, stock: ClipStock, caller: int, stop: threading.Event) -> None:
    """One caller: clip after clip, with a short pause."""
    number = caller
    with Client(url, timeout=2.0) as client:
        while not stop.is_set():
            clip = stock.get(number)
            if number % _BROKEN == 0 and clip.frames:
                clip = replace(clip, frames=(*clip.frames[:-1], b"no picture"))
            client.moderate(clip)
            number += _CALLERS
            stop.wait(0.15)


def run_server(seconds: float, output: Path) -> None:
    """A run of its own: calm, a killed process, calm, a broken policy, calm."""
    stock = ClipStock(parse_mix(_MIX), 8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy = Path(shutil.copy(POLICY, folder / "policy.yaml"))
        with (
            Server(
                ROOT / "model_repository",
                grpc_port=0,
                http_port=0,
                metrics_port=0,
                health_port=0,
                policy=policy,
            ) as server,
            run_prometheus(folder, server) as url,
        ):
            stop = threading.Event()
            callers = [
                threading.Thread(target=send_clips, args=(server.grpc_url, stock, number, stop))
                for number in range(_CALLERS)
            ]
            begin = time.time()
            for thread in callers:
                thread.start()
            time.sleep(seconds * 0.4)
            os.kill(server.stub_pids[0], signal.SIGKILL)
            time.sleep(seconds * 0.3)
            good = policy.read_text()
            policy.write_text("policy: none of this is one\n")
            time.sleep(seconds * 0.1)
            policy.write_text(good)
            time.sleep(seconds * 0.2)
            end = time.time()
            stop.set()
            for thread in callers:
                thread.join()
            draw_dashboard(url, begin, end, output)


def main() -> int:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prometheus", metavar="URL", help="a Prometheus that runs already")
    parser.add_argument("--seconds", type=float, default=240.0, help="how long to run or look back")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    if options.prometheus is None:
        run_server(options.seconds, options.output)
    else:
        now = time.time()
        draw_dashboard(options.prometheus, now - options.seconds, now, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())

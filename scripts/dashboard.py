"""Write the Grafana dashboard deploy/grafana/livewarden.json from the panels below.

    python scripts/dashboard.py [--check]

`scripts/render_dashboard.py` draws the same panels from a running Prometheus.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

FILE: Final = Path(__file__).parents[1] / "deploy" / "grafana" / "livewarden.json"
_WIDTH: Final = 8  # of a grid of 24
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}

Unit = Literal["reqps", "s", "percentunit", "short"]
# Grafana's own variable: a range that fits the scrape interval.
RATE: Final = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: legend -> query. A legend in braces is a template of Grafana's."""

    title: str
    unit: Unit
    queries: Mapping[str, str]
    stack: bool = False
    about: str = ""


def _quantiles(metric: str, by: str = "", where: str = "") -> dict[str, str]:
    by = f"le, {by}" if by else "le"
    inner = f"sum by ({by}) (rate({metric}_bucket{where}[{RATE}]))"
    return {f"p{q}": f"histogram_quantile(0.{q}, {inner})" for q in (50, 90, 99)}


def _sum(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[{RATE}]))"


PANELS: Final = (
    Panel(
        "Verdicts by action",
        "reqps",
        {"{{action}}": _sum("livewarden_verdicts_total", "action")},
        stack=True,
    ),
    Panel(
        "What asked for more than allow",
        "reqps",
        {
            "{{label}}": _sum(
                "livewarden_verdicts_total", "label", '{action!="allow",label!="none"}'
            )
        },
        stack=True,
    ),
    Panel(
        "Clips not fully seen",
        "percentunit",
        {
            "of all clips": f"sum(rate(livewarden_degraded_total[{RATE}])) "
            f"/ sum(rate(livewarden_verdicts_total[{RATE}]))"
        },
        about="Those are never allowed.",
    ),
    Panel(
        "Time of a batch",
        "s",
        _quantiles("livewarden_stage_seconds", where='{stage="total"}'),
    ),
    Panel(
        "Time of each stage, mean",
        "s",
        {
            "{{stage}}": "sum by (stage) "
            f'(rate(livewarden_stage_seconds_sum{{stage!="total"}}[{RATE}]))'
            f" / sum by (stage) (rate(livewarden_stage_seconds_count[{RATE}]))"
        },
        stack=True,
    ),
    Panel(
        "Wait before a turn, mean",
        "s",
        {
            "{{model}}": f"sum by (model) (rate(nv_inference_queue_duration_us[{RATE}])) "
            f"/ sum by (model) (rate(nv_inference_request_success[{RATE}])) / 1e6"
        },
        about="Triton's own queues: of the pipeline, and of each leaf.",
    ),
    Panel(
        "Left until the deadline",
        "s",
        {
            "worst tenth": "histogram_quantile(0.1, sum by (le) "
            f"(rate(livewarden_deadline_left_seconds_bucket[{RATE}])))",
            "median": "histogram_quantile(0.5, sum by (le) "
            f"(rate(livewarden_deadline_left_seconds_bucket[{RATE}])))",
        },
    ),
    Panel(
        "Clips in a batch, mean",
        "short",
        {
            "pipeline": f"sum(rate(livewarden_batch_clips_sum[{RATE}])) "
            f"/ sum(rate(livewarden_batch_clips_count[{RATE}]))",
            "{{model}}": "sum by (model) "
            f'(rate(nv_inference_count{{model!="moderation"}}[{RATE}])) '
            f"/ sum by (model) (rate(nv_inference_exec_count[{RATE}]))",
        },
        about="Of the pipeline, clips; of a leaf, rows: frames or windows of text.",
    ),
    Panel(
        "Frames and texts not scored as sent",
        "reqps",
        {
            "frame {{state}}": _sum("livewarden_frames_total", "state", '{state!~"ok|reused"}'),
            "text {{state}}": _sum("livewarden_texts_total", "state", '{state!~"ok|empty"}'),
        },
        stack=True,
    ),
    Panel(
        "Work saved",
        "percentunit",
        {
            "near-duplicate frames": "sum"
            f'(rate(livewarden_frames_total{{state="reused"}}[{RATE}])) '
            f"/ sum(rate(livewarden_frames_total[{RATE}]))",
            "cache of {{encoder}}": f"sum by (encoder) (rate(livewarden_cache_hits_total[{RATE}])) "
            f"/ (sum by (encoder) (rate(livewarden_cache_hits_total[{RATE}])) "
            f"+ sum by (encoder) (rate(livewarden_cache_misses_total[{RATE}])))",
        },
    ),
    Panel(
        "Scores over one half, by label",
        "percentunit",
        {
            "{{label}}": "sum by (label) "
            f'(rate(livewarden_scores_total{{decile=~"[5-9]"}}[{RATE}])) '
            f"/ sum by (label) (rate(livewarden_scores_total[{RATE}]))"
        },
        about="Watch for drift: the alert compares all ten tenths with the day before.",
    ),
    Panel(
        "Shadow: clips on which it acts otherwise",
        "percentunit",
        {
            "{{bundle}}": "sum by (bundle) "
            f'(rate(livewarden_shadow_clips_total{{result="differs"}}[{RATE}])) / sum by (bundle) '
            f'(rate(livewarden_shadow_clips_total{{result=~"same|differs"}}[{RATE}]))'
        },
    ),
    Panel(
        "Not allowed, canary and live",
        "percentunit",
        {
            "{{role}}": "sum by (role) "
            f'(rate(livewarden_role_verdicts_total{{action!="allow"}}[{RATE}])) '
            f"/ sum by (role) (rate(livewarden_role_verdicts_total[{RATE}]))"
        },
    ),
    Panel(
        "Ready",
        "short",
        {"{{instance}}": "livewarden_server_ready"},
        about="From the supervisor; Triton's own readiness says little.",
    ),
    Panel(
        "Servers replaced, in 15 min",
        "short",
        {
            "{{cause}}": "sum by (cause) (increase(livewarden_server_restarts_total[15m]))",
        },
        stack=True,
    ),
    Panel(
        "Faults",
        "short",
        {
            "{{leaf}}: {{cause}}": "sum by (leaf, cause) "
            f"(increase(livewarden_leaf_failures_total[{RATE}])) > 0",
            "batches failed": f"sum(increase(livewarden_pipeline_failures_total[{RATE}]))",
            "batches held back": f"sum(increase(livewarden_held_batches_total[{RATE}]))",
            "policy refused": "max(livewarden_policy_stale)",
        },
    ),
    Panel(
        "Clips by bundle and role",
        "reqps",
        {"{{bundle}} {{role}}": _sum("livewarden_clips_total", "bundle, role")},
        stack=True,
    ),
    Panel(
        "Policy that decides",
        "short",
        {"{{policy}} {{version}}": "count by (policy, version) (livewarden_policy_info == 1)"},
    ),
    Panel("Canary's time", "s", _quantiles("livewarden_canary_seconds")),
)


def build_dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana 10 and later read it."""
    return {
        "uid": "livewarden",
        "title": "Livewarden",
        "tags": ["livewarden"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "source",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": [_build_panel(place, panel) for place, panel in enumerate(PANELS)],
    }


def _build_panel(place: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(place, 24 // _WIDTH)
    custom = {
        "lineWidth": 1,
        "fillOpacity": 20 if panel.stack else 0,
        "stacking": {"mode": "normal" if panel.stack else "none"},
    }
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": custom},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
            }
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def main() -> int:
    """Write the file, or say that it is not what it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if stale")
    options = parser.parse_args()
    text = json.dumps(build_dashboard(), indent=1) + "\n"
    if not options.check:
        FILE.write_text(text)
        return 0
    if FILE.read_text() == text:
        return 0
    sys.stderr.write(f"{FILE.name} is stale; run: python scripts/dashboard.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

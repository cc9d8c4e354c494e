"""Nodes to plan with, read from files: a table of node types, or a report of a measured one.

A table is TOML, one `[[node]]` a type; `nodes.toml` beside this module is the one that ships:

    [[node]]
    name = "my-node"
    cores = 16
    gpus = 1                          # 0 where left out
    memory_mib = 4000                 # of the server; optional, as all below
    network_mbit_s = 10000
    cost_per_hour = 1.20
    clips_per_second = 310.0          # what one node does at most; without it, nothing is planned
    alone_ms = { p50 = 21, p99 = 34 } # latency with one clip at a time
    frame_share = 0.9                 # how much of the work grows with the frames
    source = "perf bench, 2026-11-23"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from livewarden_perf.capacity import Measured, NodeType
from livewarden_perf.errors import NodeInvalid
from livewarden_perf.memory import PRIVATE, SHARED_MEMORY
from livewarden_perf.report_file import SCHEMA

SHIPPED: Final = Path(__file__).with_name("nodes.toml")
_PER_FRAME: Final = ("decode", "vision_encoder", "nsfw_encoder")
_MB_PER_MIB: Final = 1024**2 / 1e6

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class _Percentiles(msgspec.Struct, forbid_unknown_fields=True):
    p50: _Positive
    p90: _Positive | None = None
    p95: _Positive | None = None
    p99: _Positive | None = None

    def list_times(self) -> dict[float, float]:
        """Give the known times by percentile."""
        known = {50.0: self.p50, 90.0: self.p90, 95.0: self.p95, 99.0: self.p99}
        return {percentile: ms for percentile, ms in known.items() if ms is not None}


class _Row(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    cores: Annotated[int, msgspec.Meta(ge=1)]
    gpus: Annotated[int, msgspec.Meta(ge=0)] = 0
    memory_mib: _Positive | None = None
    network_mbit_s: _Positive | None = None
    cost_per_hour: _Positive | None = None
    clips_per_second: _Positive | None = None
    alone_ms: _Percentiles | None = None
    frame_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    source: str = ""


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    node: Annotated[list[_Row], msgspec.Meta(min_length=1)]


def read_nodes(path: Path = SHIPPED) -> list[NodeType]:
    """Read the node types in the TOML file `path`; raises NodeInvalid, which names the field."""
    try:
        table = msgspec.toml.decode(path.read_bytes(), type=_Table)
    except OSError as error:
        raise NodeInvalid(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NodeInvalid(f"{path}: is no table of nodes: {error}") from None
    names = [row.name for row in table.node]
    if len(set(names)) != len(names):
        raise NodeInvalid(f"{path}: two nodes share a name; names: {', '.join(names)}")
    return [_make_node(row, path) for row in table.node]


def _make_node(row: _Row, path: Path) -> NodeType:
    if (row.clips_per_second is None) != (row.alone_ms is None):
        raise NodeInvalid(
            f"{path}: node {row.name!r} has one of clips_per_second and alone_ms; a plan needs "
            "both: how much a full node does, and how long a clip takes alone"
        )
    measured = None
    if row.clips_per_second is not None and row.alone_ms is not None:
        measured = Measured(
            clips_per_second=row.clips_per_second,
            alone_ms=row.alone_ms.list_times(),
            source=row.source or f"{path.name}, without a source",
            frame_share=row.frame_share,
        )
    return NodeType(
        name=row.name,
        cores=row.cores,
        gpus=row.gpus,
        memory_mib=row.memory_mib,
        network_mbit_s=row.network_mbit_s,
        cost_per_hour=row.cost_per_hour,
        measured=measured,
    )


def read_measured_node(path: Path) -> NodeType:
    """Read the node that a report describes: report.json of `perf bench`, or `perf smoke --json`.

    Of `perf smoke`, which has no run with one caller, the latency alone is that of the stages on
    one thread, which is longer. Raises NodeInvalid.
    """
    try:
        data = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise NodeInvalid(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NodeInvalid(f"{path}: is not JSON") from None
    try:
        if isinstance(data, dict) and data.get("schema") == SCHEMA:
            return _read_report(data, path)
        return _read_smoke(data, path)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NodeInvalid(
            f"{path}: lacks what a plan needs, a full node and a clip alone; accepted: report.json "
            "of `livewarden perf bench` or of `perf run` with 1 caller and with more, and the "
            "output of `livewarden perf smoke --json` without --url"
        ) from None


def _read_report(data: dict[str, Any], path: Path) -> NodeType:
    sections = {section["name"]: section["data"] for section in reversed(data["sections"])}
    runs = [run for run in sections["run"]["runs"] if run["concurrency"]]
    alone = next(run for run in [*runs, {}] if run["concurrency"] == 1)["latency_from_send_ms"]
    stages = sections.get("stages")
    machine = data["machine"]
    memory = sections.get("memory", {}).get("mb")
    return NodeType(
        name=path.stem,
        cores=stages["cores"] if stages else int(machine["processor"].split(", ")[-1].split()[0]),
        memory_mib=(memory[PRIVATE][-1] + memory[SHARED_MEMORY][-1]) / _MB_PER_MIB
        if memory
        else None,
        measured=Measured(
            clips_per_second=max(run["clips_per_second"] for run in runs),
            alone_ms={float(name[1:]): alone[name] for name in ("p50", "p90", "p95", "p99")},
            source=f"{path.name}, {machine['measured']}, {machine['processor']}",
            **({"frame_share": _find_frame_share(stages["stages_ms"])} if stages else {}),
        ),
    )


def _read_smoke(data: dict[str, Any], path: Path) -> NodeType:
    stages, latency = data["machine"], data["latency_ms"]
    alone = stages["elapsed_ms"]
    return NodeType(
        name=path.stem,
        cores=stages["cores"],
        measured=Measured(
            clips_per_second=data["clips_per_second"],
            # The spread under load is the only one there is.
            alone_ms={50.0: alone, 99.0: alone * latency["p99"] / latency["p50"]},
            source=f"{path.name}, perf smoke with {data['concurrency']} callers",
            frame_share=_find_frame_share(stages["stages_ms"]),
        ),
    )


def _find_frame_share(stages_ms: dict[str, float]) -> float:
    return sum(stages_ms[name] for name in _PER_FRAME) / sum(stages_ms.values())

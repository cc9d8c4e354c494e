"""What a decision costs: the policy engine alone, on made-up scores."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.table import Table

from livewarden_client.verdict import Coverage, ModalityCoverage
from livewarden_client.wire import LABELS, MODALITIES
from livewarden_ensemble.context import Context, TextInfo
from livewarden_ensemble.fuse import ClipScores
from livewarden_ensemble.policy import decide, effective, load_policy
from livewarden_ensemble.state_token import open_state, parse_keys, seal_state
from livewarden_ensemble.stream_state import FRESH

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from livewarden_ensemble.policy import Policy

# What a clip may cost with OVERRIDES layers.
LIMIT_MS: Final = 1.0
OVERRIDES: Final = 20
_CLIPS: Final = 400
_STEP_MS: Final = 2_000
_START_MS: Final = 1_700_000_000_000
_REGIONS: Final = (
    *("AT", "BE", "CH", "CZ", "DE", "DK", "ES", "FI", "FR", "GB"),
    *("GR", "HU", "IE", "IT", "NL", "NO", "PL", "PT", "RO", "SE"),
)
_KEYS: Final = parse_keys(f"bench:{'00' * 32}")
_DRIFTS: Final = {"quiet": 0.15, "busy": 0.55, "burning": 0.9}


@dataclass(frozen=True, slots=True)
class PolicyCost:
    """Milliseconds of CPU time per clip of one kind of stream, and its longest token."""

    stream: str
    decide_ms: float
    decide_p99_ms: float
    token_ms: float
    token_bytes: int


@dataclass(frozen=True, slots=True)
class PolicyCosts:
    """The costs of one policy, and of merging its layers for a new place."""

    policy: str
    overrides: int
    merge_ms: float
    streams: tuple[PolicyCost, ...]


def write_benchmark_policy(path: Path) -> Path:
    """Write a policy with every rule over time for 14 labels, and OVERRIDES layers."""
    rule = (
        "{thresholds: {review: 0.5, restrict: 0.7, block: 0.9}, hysteresis: 0.1, half_life: 10s, "
        "cooldown: 15s, confirm: {hits: 2, of: 4, within: 30s}, single_shot_block: 0.97, "
        "repeat: {hits: 4, of: 8, min_confidence: 0.4}, requires: {any: [frames, chat]}, "
        "escalation: {ladder: [{violations: 3, action: block}]}}"
    )
    override = "{thresholds: {review: 0.4}}"
    layers = "".join(
        f"  {name}: {{labels: {{{LABELS[index % len(LABELS)]}: {override}}}}}\n"
        for index, name in enumerate(_REGIONS[:OVERRIDES])
    )
    path.write_text(
        'policy: {id: benchmark, version: "1", taxonomy: t1.0}\n'
        f"defaults: {rule}\n"
        f"labels: {{{', '.join(f'{label}: {{severity: 3}}' for label in LABELS)}}}\n"
        f"regions:\n{layers}"
    )
    return path


def measure_policy(path: Path, seconds: float) -> PolicyCosts:
    """Measure the policy at `path` for about `seconds`, on this thread."""
    policy = load_policy(path)
    overrides = [(kind, name) for kind, layers in policy.layers.items() for name in layers]
    streams = tuple(
        _measure_stream(policy, name, drift, overrides, seconds / len(_DRIFTS))
        for name, drift in _DRIFTS.items()
    )
    return PolicyCosts(policy.ref, len(overrides), _measure_merge(path), streams)


def _measure_merge(path: Path) -> float:
    policy = load_policy(path)
    names = {kind: next(iter(layers), "") for kind, layers in policy.layers.items()}
    start = time.thread_time()
    effective(policy, **names)
    return (time.thread_time() - start) * 1e3


def _measure_stream(
    policy: Policy, stream: str, drift: float, overrides: list[Any], seconds: float
) -> PolicyCost:
    clips = _make_clips(drift, overrides)
    decided: list[float] = []
    sealed: list[float] = []
    longest = 0
    end = time.perf_counter() + seconds
    while not decided or time.perf_counter() < end:
        token: str | None = None
        for seq, (scores, coverage, context) in enumerate(clips):
            start = time.thread_time()
            state = open_state(token, "bench", _KEYS) if token else FRESH
            opened = time.thread_time()
            _, state = decide(scores, coverage, context, state, policy, _START_MS + seq * _STEP_MS)
            done = time.thread_time()
            token = seal_state(state, "bench", _KEYS)
            sealed.append(opened - start + time.thread_time() - done)
            decided.append(done - opened)
            longest = max(longest, len(token or ""))
    return PolicyCost(
        stream=stream,
        decide_ms=median(decided) * 1e3,
        decide_p99_ms=quantiles(decided, n=100)[-1] * 1e3,
        token_ms=median(sealed) * 1e3,
        token_bytes=longest,
    )


def _make_clips(drift: float, overrides: list[Any]) -> list[tuple[ClipScores, Coverage, Context]]:
    rng = random.Random(1)  # noqa: S311 - made-up scores
    seen = ModalityCoverage(8, 8, 8)
    coverage = Coverage(seen, ModalityCoverage(1, 1, 1), missing=("title", "asr", "ocr"))
    clips = []
    for seq in range(_CLIPS):
        place = dict([rng.choice(overrides)]) if overrides else {}
        joint = np.array([min(1, rng.random() * 2 * drift) for _ in LABELS], np.float32)
        scores = ClipScores(
            joint,
            np.tile(joint, (len(MODALITIES), 1)),
            np.zeros((0, len(LABELS)), np.float32),
            np.zeros((0, len(LABELS)), np.float32),
            (True, False, True, False, False),
        )
        context = Context(stream_id="bench", clip_seq=seq, texts=(TextInfo("chat"),), **place)
        clips.append((scores, coverage, context))
    return clips


def describe_policy(costs: PolicyCosts) -> dict[str, Any]:
    """The costs as JSON: milliseconds and bytes."""
    return {
        "policy": costs.policy,
        "overrides": costs.overrides,
        "merge_ms": round(costs.merge_ms, 4),
        "limit_ms": LIMIT_MS,
        "streams": {
            one.stream: {
                "decide_ms": round(one.decide_ms, 4),
                "decide_p99_ms": round(one.decide_p99_ms, 4),
                "token_ms": round(one.token_ms, 4),
                "token_bytes": one.token_bytes,
            }
            for one in costs.streams
        },
    }


def render_policy(costs: PolicyCosts) -> Table:
    """The costs as a table."""
    table = Table(
        title=f"Policy {costs.policy}: {len(LABELS)} labels, {costs.overrides} overrides",
        caption=f"at most {LIMIT_MS:g} ms a clip; a new place is merged in {costs.merge_ms:.2f} ms",
    )
    table.add_column("stream")
    for name in ("decide, median ms", "decide, p99 ms", "token, ms", "token, bytes"):
        table.add_column(name, justify="right")
    for one in costs.streams:
        table.add_row(
            one.stream,
            f"{one.decide_ms:.3f}",
            f"{one.decide_p99_ms:.3f}",
            f"{one.token_ms:.3f}",
            str(one.token_bytes),
        )
    return table

from __future__ import annotations

import importlib
import json
import sys
from collections import deque
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from livewarden_ensemble.answer_cache import AnswerCache
from livewarden_ensemble.errors import AuditUnavailable
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.routing import Answer

SECRET = "a very particular sentence"


class Error(str):
    """Triton's error: its message and its code."""

    __slots__ = ("code",)

    INVALID_ARG, INTERNAL, UNAVAILABLE = "invalid", "internal", "unavailable"

    def __new__(cls, message: str, code: str = "internal") -> Self:
        """Keep the code beside the message."""
        made = super().__new__(cls, message)
        made.code = code
        return made


class Request:
    """A request as Triton hands it over: arrays by the names of the inputs."""

    def __init__(self, *contexts: dict[str, Any] | bytes, broken: bool = False) -> None:
        raw = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in contexts]
        self.arrays = {"context": np.array([[one] for one in raw], np.object_)}
        self.broken = broken

    def parameters(self) -> str:
        """Nothing was sent."""
        return ""


class Meter:
    """Keeps what is pushed and counted; `broken` raises instead."""

    def __init__(self) -> None:
        self.broken = False
        self.counts: dict[str, float] = {}

    def push(self, tally: Any) -> None:
        """Add a tally's counts by their names."""
        for (name, *_), count in tally.counts.items():
            self.add(name, count)

    def add(self, name: str, count: float = 1) -> None:
        """Count."""
        if self.broken:
            raise RuntimeError(SECRET)
        self.counts[name] = self.counts.get(name, 0) + count


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with Triton's API as far as a moderation needs it."""

    def find(request: Request, name: str) -> Any:
        if request.broken:
            raise RuntimeError(SECRET)
        array = request.arrays.get(name)
        return None if array is None else SimpleNamespace(as_numpy=lambda: array)

    backend = ModuleType("triton_python_backend_utils")
    backend.TritonError = Error
    backend.get_input_tensor_by_name = find
    backend.Tensor = lambda name, array: (name, array)
    backend.InferenceResponse = lambda tensors=(), error=None: SimpleNamespace(
        tensors=dict(tensors), error=error
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    monkeypatch.delitem(sys.modules, "livewarden_ensemble.serving", raising=False)
    module = importlib.import_module("livewarden_ensemble.serving")
    monkeypatch.delitem(sys.modules, "livewarden_ensemble.serving")
    return module


@pytest.fixture
def model(serving: ModuleType, make_pipeline: Callable[..., Pipeline]) -> Any:
    """A model whose every clip is shadowed; what it told is in `lines`, `offered` and `kept`."""
    model = serving.ModerationPipeline()
    model.lines, model.offered, model.kept = [], [], []
    model._logger = SimpleNamespace(
        **dict.fromkeys(("log_error", "log_warn", "log_info"), model.lines.append)
    )
    model._meter = Meter()
    model._cache_tallies = deque()
    model._tracer, model._log_clips = None, True
    model._shadow = SimpleNamespace(
        offer=lambda clip, outcome, _: outcome.verdict and model.offered.append(clip)
    )
    model._ledger = SimpleNamespace(keep=lambda clips, _outcomes: model.kept.extend(clips))
    pipeline = make_pipeline()
    governed = serving._Governed(
        pipeline, SimpleNamespace(policy=pipeline.policy), AnswerCache(2**20), model._cache_tallies
    )
    model._router = SimpleNamespace(
        moderate=lambda clips: [Answer("b", "live", o, "s") for o in governed.moderate(clips)]
    )
    return model


def list_codes(responses: list[Any]) -> list[str]:
    return [one.error.code if one.error is not None else "" for one in responses]


def test_a_request_that_cannot_be_read_fails_alone(model: Any) -> None:
    """The others of its batch are answered; nothing of it stands in message or log."""
    requests = [Request({}), Request({}, broken=True), Request({}, {})]
    responses = model._moderate(requests)
    assert list_codes(responses) == ["", "internal", ""]
    assert [len(one.tensors["verdict"]) for one in (responses[0], responses[2])] == [1, 2]
    assert SECRET not in f"{responses[1].error} {model.lines}"
    assert model._meter.counts["livewarden_pipeline_failures_total"] == 1


def test_metrics_that_fail_cost_no_verdict(model: Any) -> None:
    """Neither those of the cache nor any other; a failure is still answered as one."""
    model._meter.broken = True
    assert list_codes(model._moderate([Request({})])) == [""]
    model._router.moderate = lambda _clips: 1 / 0
    assert list_codes(model._moderate([Request({}), Request({})])) == ["internal"] * 2


def test_only_verdicts_that_leave_are_told(model: Any) -> None:
    """A clip beside a malformed one of its request is not counted, kept, logged or shadowed."""
    responses = model._moderate([Request({"request_id": "lost"}, b"{"), Request({})])
    assert list_codes(responses) == ["invalid", ""]
    counts = model._meter.counts
    assert counts["livewarden_verdicts_total"] == 1
    assert counts["livewarden_refusals_total"] == 1
    assert len(model.kept) == len(model.offered) == 1
    assert not any("lost" in line for line in model.lines)


def test_held_verdicts_are_not_told(model: Any) -> None:
    """Where they cannot be recorded they do not leave; a refusal does all the same."""

    def refuse(_clips: object, _outcomes: object) -> None:
        raise AuditUnavailable("the disk is full")

    model._ledger.keep = refuse
    responses = model._moderate([Request({"request_id": "lost"}), Request(b"{")])
    assert list_codes(responses) == ["unavailable", "invalid"]
    assert "livewarden_verdicts_total" not in model._meter.counts
    assert model._meter.counts["livewarden_refusals_total"] == 1
    assert model._meter.counts["livewarden_held_batches_total"] == 1
    assert model.offered == []
    assert not any("lost" in line for line in model.lines)

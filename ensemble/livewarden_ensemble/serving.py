"""The Triton side: tensors to clips and back. The only module that imports Triton's Python API."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import triton_python_backend_utils as pb  # noqa: TID251 - this is the one module that may

from livewarden_client.wire import LABELS, LEAVES, MODERATION
from livewarden_ensemble.answer_cache import AnswerCache, read_cache_limit
from livewarden_ensemble.bundle import Bundle, Pointer
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.decode import DecodedFrame
from livewarden_ensemble.errors import (
    AuditUnavailable,
    CrossedReply,
    LeafFailed,
    PolicyInvalid,
)
from livewarden_ensemble.leaf import OpenVinoExecutor
from livewarden_ensemble.leaf_call import Arrays, LeafCall
from livewarden_ensemble.ledger import Ledger, name_host
from livewarden_ensemble.log_line import CLIPS_VARIABLE, describe_clip
from livewarden_ensemble.meter import Meter
from livewarden_ensemble.metric import Tally, tally_answers, tally_cache, tally_comparison
from livewarden_ensemble.pipeline import Outcome, Pipeline
from livewarden_ensemble.policy import Policy, locate_policy
from livewarden_ensemble.policy_watcher import POLICY_KEY_VARIABLE, PolicyWatcher
from livewarden_ensemble.routing import SERVER_KEY_VARIABLE, Answer, Router, is_server_key
from livewarden_ensemble.shadow import Shadow
from livewarden_ensemble.state_token import read_keys
from livewarden_ensemble.stub import announce_stub, dismiss_stub, is_closed
from livewarden_ensemble.trace import Tracer, read_trace

# One thread per call that can be in flight at once: three encoders, each split in a few.
_CALL_THREADS: Final = 8
_GRPC: Final = "127.0.0.1:8001"

_Row = tuple[RawClip, Answer]


class ModerationPipeline:
    """The model `moderation`: Triton requests through the pipeline, one response each."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load bundle and policy; Triton reports the model as not ready where this raises."""
        folder = Path(args["model_repository"])
        self._logger = pb.Logger
        self._meter = Meter(pb.MetricFamily)
        self._cache_tallies: deque[Tally] = deque()
        self._watcher = PolicyWatcher(
            Path(os.environ.get("LIVEWARDEN_POLICY") or locate_policy(folder.parent)),
            public_key=Path(key) if (key := os.environ.get(POLICY_KEY_VARIABLE)) else None,
            on_reloaded=self._report_reloaded,
            on_refused=self._report_refused,
            on_mended=self._report_mended,
        )
        self._ledger = Ledger.open(os.environ, args["model_instance_name"])
        if self._ledger.damage:
            self._logger.log_error(self._ledger.damage)
        self._server = f"{name_host(os.environ)}/{args['model_instance_name']}"
        # One instance speaks for all.
        is_first = args["model_instance_name"].endswith("_0")
        warn = self._logger.log_warn if is_first else self._logger.log_verbose
        self._tracer = Tracer.open(os.environ, self._server, warn)
        self._log_clips = bool(os.environ.get(CLIPS_VARIABLE))
        self._keys = read_keys(os.environ)
        self._calls = ThreadPoolExecutor(_CALL_THREADS, "leaf-call")
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, "decode")
        self._key = key = os.environ.get(SERVER_KEY_VARIABLE, "")
        self._router = Router(
            folder, self._make_pipeline, pb.Logger.log_error, key, self._show_bundles
        )
        url = os.environ.get("LIVEWARDEN_GRPC", _GRPC)
        self._shadow = Shadow(
            url, lambda comparison: self._meter.push(tally_comparison(comparison)), key=key
        )
        self._show_policy(self._watcher.policy)
        self._watcher.start()
        self._progress = announce_stub()

    def _make_pipeline(self, bundle: Bundle) -> _Governed:
        # One for each bundle: it goes when the bundle does.
        cache = AnswerCache(read_cache_limit(os.environ))
        pipeline = Pipeline(
            bundle,
            self._watcher.policy,
            functools.partial(self._infer, bundle.versions),
            server=self._server,
            map_frames=self._map_frames,
            on_crossed=self._report_crossed,
            keys=self._keys,
            cache=cache,
            is_own=functools.partial(is_server_key, key=self._key),
        )
        return _Governed(pipeline, self._watcher, cache, self._cache_tallies)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; none may hang, and none begins once the server is closed."""
        if is_closed():
            closed = pb.TritonError("the server is stopping", pb.TritonError.UNAVAILABLE)
            return [pb.InferenceResponse(error=closed) for _ in requests]
        with self._progress.work(len(requests)):
            return self._moderate(requests)

    def _moderate(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; an error in one request leaves the others alone."""
        read = [self._read(request) for request in requests]
        clips = [clip for part in read for clip in part or ()]
        try:
            answers = iter(self._router.moderate(clips))
            parts = [
                None if part is None else [(clip, next(answers)) for clip in part] for part in read
            ]
            whole = [row for part in parts if part and not _is_refused(part) for row in part]
            held = self._keep(whole)
            responses = [_fail() if part is None else _answer(part, held=held) for part in parts]
        except Exception as error:  # noqa: BLE001 - the last line of defence: no text may leak
            self._note_failure("pipeline", error)
            return [_fail() for _ in requests]
        # Verdicts that do not leave are none: they are counted where the caller's retry gets them.
        refused = [row for part in parts if part for row in part if _is_refused([row])]
        self._report([*refused, *(() if held else whole)])
        return responses

    def _read(self, request: Any) -> list[RawClip] | None:
        """The clips of one request; None where it cannot be read, which is told here."""
        try:
            return _read_request(request, traced=self._tracer is not None or self._log_clips)
        except Exception as error:  # noqa: BLE001 - it would take its batch with it
            self._note_failure("reading a request", error)
            return None

    def _note_failure(self, what: str, error: Exception) -> None:
        # The type alone: a message could quote what a caller sent.
        self._logger.log_error(f"{what} failed: {type(error).__name__}")
        self._count("livewarden_pipeline_failures_total")

    def _count(self, name: str) -> None:
        # Where this fails, so did what is counted: callers must hear of that, not of this.
        with contextlib.suppress(Exception):
            self._meter.add(name)

    def _report(self, rows: Sequence[_Row]) -> None:
        clips, answers = [clip for clip, _ in rows], [answer for _, answer in rows]
        try:
            for clip, answer in rows:
                if answer.shadow is not None:
                    self._shadow.offer(clip, answer.outcome, answer.shadow)
            while self._cache_tallies:
                self._meter.push(self._cache_tallies.popleft())
            self._meter.push(tally_answers(answers))
            if self._tracer is not None:
                self._tracer.write(clips, answers)
            if self._log_clips:
                for clip, answer in rows:
                    grave, line = describe_clip(answer, clip.trace.get("traceparent", ""))
                    if line:
                        (self._logger.log_warn if grave else self._logger.log_info)(line)
        except Exception as error:  # noqa: BLE001 - no verdict may be lost for a report of it
            self._logger.log_error(
                f"shadows, metrics, traces or logs failed: {type(error).__name__}"
            )

    def _keep(self, rows: Sequence[_Row]) -> bool:
        """Record the verdicts; whether they must be held back, because that failed."""
        try:
            self._ledger.keep([clip for clip, _ in rows], [answer.outcome for _, answer in rows])
        except AuditUnavailable as error:
            self._logger.log_error(str(error))
            self._count("livewarden_held_batches_total")
            return True
        return False

    def finalize(self) -> None:
        """Stop the threads."""
        dismiss_stub(self._progress)
        self._watcher.stop()
        self._shadow.close()
        self._ledger.close()
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        if self._tracer is not None:
            self._tracer.close()

    def _map_frames(
        self, decode: Callable[[Any], DecodedFrame], jobs: Iterable[Any]
    ) -> Iterator[DecodedFrame]:
        for frame in self._decoders.map(decode, jobs):
            self._progress.step()
            yield frame

    def _infer(
        self, versions: Mapping[str, str], calls: Sequence[LeafCall]
    ) -> list[Arrays | LeafFailed]:
        with self._progress.wait():
            return list(self._calls.map(functools.partial(self._call_leaf, versions), calls))

    def _call_leaf(self, versions: Mapping[str, str], call: LeafCall) -> Arrays | LeafFailed:
        name = call.model.name
        request = pb.InferenceRequest(
            model_name=name,
            model_version=int(versions[name]),
            requested_output_names=[tensor.name for tensor in call.model.outputs],
            inputs=[pb.Tensor(key, np.ascontiguousarray(v)) for key, v in call.inputs.items()],
        )
        begin = time.perf_counter_ns()
        try:
            response = request.exec()
        except pb.TritonModelException as error:
            return LeafFailed(name, f"the call failed: {type(error).__name__}")
        finally:
            call.span[:] = begin, time.perf_counter_ns()
        if response.has_error():
            return LeafFailed(name, "Triton reports an error")
        # Copies: Triton takes its shared memory back with the response.
        return {tensor.name(): tensor.as_numpy().copy() for tensor in response.output_tensors()}

    def _report_crossed(self, error: CrossedReply) -> None:
        self._progress.note_crossed()
        self._logger.log_error(str(error))

    def _report_reloaded(self, policy: Policy) -> None:
        self._meter.add("livewarden_policy_reloads_total")
        self._show_policy(policy)
        self._logger.log_info(f"policy {policy.ref} ({policy.digest}) decides from now on")

    def _show_bundles(self, pointer: Pointer) -> None:
        roles = [(release.bundle, role) for role, release in pointer.list_releases().items()]
        self._meter.point("livewarden_bundle_info", *roles)

    def _show_policy(self, policy: Policy) -> None:
        self._meter.point("livewarden_policy_info", (policy.id, policy.version, policy.digest))

    def _report_refused(self, error: PolicyInvalid) -> None:
        self._meter.add("livewarden_policy_refusals_total")
        self._meter.set(1, "livewarden_policy_stale")
        for line in str(error).splitlines():
            self._logger.log_error(f"policy refused, the last good one stays: {line}")

    def _report_mended(self) -> None:
        self._meter.set(0, "livewarden_policy_stale")


@dataclass(frozen=True, slots=True)
class _Governed:
    """A pipeline that decides by the policy that is current when a batch begins."""

    pipeline: Pipeline
    watcher: PolicyWatcher
    cache: AnswerCache
    tallies: deque[Tally]

    def moderate(self, clips: Sequence[RawClip]) -> list[Outcome]:
        """One outcome per clip, in order."""
        self.pipeline.policy = self.watcher.policy
        outcomes = self.pipeline.moderate(clips)
        self.tallies.append(tally_cache(self.cache.take_counts()))
        return outcomes


def _read_request(request: Any, *, traced: bool) -> list[RawClip]:
    """The clips of one request, one per row of its batch axis.

    Triton counts inputs and does not ask which, and lets shapes through that overflow its batch
    size. Such a request is one clip that is refused: an exception would take its batch with it.
    """
    trace = read_trace(request.parameters()) if traced else {}
    given = {t: pb.get_input_tensor_by_name(request, t.name) for t in MODERATION.inputs}
    found = {t: None if tensor is None else tensor.as_numpy() for t, tensor in given.items()}
    arrays = {t: array for t, array in found.items() if array is not None}
    fits = all(
        array.ndim == 1 + len(t.dims) and len(array) == len(next(iter(arrays.values())))
        for t, array in arrays.items()
    )
    frames, rgb, texts, context = (
        arrays.get(MODERATION.input(name)) for name in ("frames", "frames_rgb", "texts", "context")
    )
    if context is None or not fits:
        return [RawClip(context=b"", trace=trace)]
    return [
        RawClip(
            context=context[row, 0],
            frames=() if frames is None else frames[row].tolist(),
            texts=() if texts is None else texts[row].tolist(),
            frames_rgb=None if rgb is None else rgb[row],
            trace=trace,
        )
        for row in range(len(context))
    ]


def _is_refused(rows: Sequence[_Row]) -> bool:
    return any(answer.outcome.refusal is not None for _, answer in rows)


def _fail() -> Any:
    error = pb.TritonError("the pipeline failed; see the server log", pb.TritonError.INTERNAL)
    return pb.InferenceResponse(error=error)


def _answer(rows: Sequence[_Row], *, held: bool) -> Any:
    """One request's response: INVALID_ARGUMENT where any of its clips is malformed.

    `held` verdicts could not be recorded, and so do not leave.
    """
    outcomes = [answer.outcome for _, answer in rows]
    for row, outcome in enumerate(outcomes):
        if outcome.refusal is not None:
            where = f"clip {row}: " if len(outcomes) > 1 else ""
            error = pb.TritonError(f"{where}{outcome.refusal}", pb.TritonError.INVALID_ARG)
            return pb.InferenceResponse(error=error)
    if held:
        error = pb.TritonError("verdicts cannot be recorded now", pb.TritonError.UNAVAILABLE)
        return pb.InferenceResponse(error=error)
    verdicts = [[msgspec.json.encode(outcome.verdict)] for outcome in outcomes]
    scores = np.stack([outcome.scores for outcome in outcomes if outcome.scores is not None])
    return pb.InferenceResponse(
        [
            pb.Tensor("verdict", np.array(verdicts, np.object_)),
            pb.Tensor("scores", scores.reshape(len(outcomes), len(LABELS))),
        ]
    )


class OpenVinoLeaf:
    """A leaf of the embedded target: OpenVINO behind the same tensors as the TensorRT plan."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile and warm up, so that a ready leaf is a fast one."""
        name = args["model_name"]
        self._model = next(leaf for leaf in LEAVES if leaf.name == name)
        folder = Path(args["model_repository"]) / args["model_version"]
        config = json.loads(args["model_config"])
        instances = sum(int(group.get("count", 1)) for group in config["instance_group"])
        threads = max(1, (os.cpu_count() or 1) // instances)
        self._executor = OpenVinoExecutor(folder, self._model, threads=threads)
        self._executor.warm_up()
        self._progress = announce_stub()

    def finalize(self) -> None:
        """Take leave, so that the end of this process is no death."""
        dismiss_stub(self._progress)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """All requests of the batch in one inference, under the supervisor's eye."""
        with self._progress.work(len(requests)):
            return self._infer(requests)

    def _infer(self, requests: Sequence[Any]) -> list[Any]:
        """All requests of the batch in one inference."""
        arrays = [
            {
                tensor.name: pb.get_input_tensor_by_name(request, tensor.name).as_numpy()
                for tensor in self._model.inputs
            }
            for request in requests
        ]
        batch = arrays[0]
        if len(arrays) > 1:
            batch = {name: np.concatenate([part[name] for part in arrays]) for name in batch}
        try:
            outputs = self._executor.infer(batch)
        except Exception as error:  # noqa: BLE001 - an OpenVINO message could hold tensor values
            failed = pb.TritonError(f"{self._model.name}: {type(error).__name__}")
            return [pb.InferenceResponse(error=failed) for _ in requests]
        responses = []
        start = 0
        for part in arrays:
            rows = slice(start, start + len(next(iter(part.values()))))
            responses.append(
                pb.InferenceResponse(
                    [pb.Tensor(t.name, outputs[t.name][rows]) for t in self._model.outputs]
                )
            )
            start = rows.stop
        return responses

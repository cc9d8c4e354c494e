"""The pipeline: a batch of raw clips in, one verdict or one refusal for each.

Pure but for its `infer` callable: inside Triton that is a set of BLS calls, in tests and
benchmarks the same models in this process. One clip's trouble never touches its neighbours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from livewarden_client.verdict import Coverage, PolicyRef, Provenance, Verdict
from livewarden_client.wire import (
    FUSION_CLASSIFIER,
    LABELS,
    MODALITIES,
    TAXONOMY_VERSION,
    WIRE_VERSION,
)
from livewarden_ensemble.answer_cache import AnswerCache
from livewarden_ensemble.clip import ClipWork, RawClip, read_clip
from livewarden_ensemble.context import Context
from livewarden_ensemble.course import Course, Visit
from livewarden_ensemble.coverage import FrameState, TextState
from livewarden_ensemble.decode import DecodedFrame, decode_frame, fit_frame
from livewarden_ensemble.encode import encode_clips
from livewarden_ensemble.errors import CrossedReply, LivewardenError, MalformedRequest
from livewarden_ensemble.evidence import find_evidence
from livewarden_ensemble.fuse import Encoded, pad_clips, split_scores
from livewarden_ensemble.leaf_call import (
    Arrays,
    Infer,
    LeafCall,
    check_answer,
    name_cause,
    split_call,
)
from livewarden_ensemble.normalise import normalise_text
from livewarden_ensemble.pace import Pace, measure_size
from livewarden_ensemble.policy import Decision, Policy, decide
from livewarden_ensemble.policy.search import search_clip
from livewarden_ensemble.record import Record, make_record
from livewarden_ensemble.state_token import StateKeys, open_state, seal_state
from livewarden_ensemble.stream_state import FRESH
from livewarden_ensemble.tokenise import TokenBatch, Tokeniser

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from livewarden_ensemble.bundle import Bundle

# Maps over items in order; the shell passes a thread pool's, since decoders release the GIL.
MapFrames = Callable[[Callable[[Any], DecodedFrame], Iterable[Any]], Iterable[DecodedFrame]]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of one clip: a verdict with its scores [L], or a refusal of the request.

    A clip that was not scored has NaN in `scores`: nothing that was not seen reads as harmless.
    `record` is what was decided on, for whoever wants to replay it; `canary` marks the server's
    own probes. `arrived_ms` is the Unix time at which the pipeline took the clip up.
    """

    verdict: Verdict | None = None
    scores: NDArray[np.float32] | None = None
    refusal: MalformedRequest | None = None
    record: Record | None = None
    canary: bool = False
    course: Course | None = None
    context: Context | None = None
    arrived_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What the last stage found out about one clip; `state` is the token for the stream's next."""

    decision: Decision
    coverage: Coverage
    state: str | None
    record: Record


@dataclass(frozen=True, slots=True, eq=False)
class _DecodeJob:
    """Frame `index` of the first of `works`; the others sent the same bytes."""

    index: int
    works: list[ClipWork] = field(default_factory=list)


class Pipeline:
    """Scores batches of clips with one bundle and one policy.

    `policy` may be replaced at any time: a batch ends with the one that it began with. Without
    `keys` no stream is remembered: no verdict carries a state, and none that is sent is read.
    `cache` keeps encoder answers; it must serve no other bundle.
    `is_own` tells the server's own canaries, by their key, from callers who say that they are one.
    """

    def __init__(
        self,
        bundle: Bundle,
        policy: Policy,
        infer: Infer,
        *,
        server: str,
        map_frames: MapFrames = map,
        now_ms: Callable[[], float] = lambda: time.time() * 1e3,
        on_crossed: Callable[[CrossedReply], None] = lambda _error: None,
        keys: StateKeys | None = None,
        cache: AnswerCache | None = None,
        is_own: Callable[[str], bool] = lambda _server_key: False,
    ) -> None:
        self._bundle = bundle
        self.policy = policy
        self._keys = keys
        self._is_own = is_own
        self._infer = infer
        self._server = server
        self._map_frames = map_frames
        self._now_ms = now_ms
        self._on_crossed = on_crossed
        self._cache = cache or AnswerCache(0)
        self._tokeniser = Tokeniser.from_file(bundle.tokenizer)
        self._pace = Pace()
        self._course = Course(0)  # of the batch under way

    def moderate(self, clips: Sequence[RawClip]) -> list[Outcome]:
        """One outcome per clip, in order."""
        self._course = course = Course(len(clips))
        policy, arrived_ms = self.policy, int(self._now_ms())
        reads = [_read_or_refuse(clip) for clip in clips]
        works = [read for read in reads if isinstance(read, ClipWork)]
        course.end_stage()
        begun = self._drop_hopeless(works)
        self._decode(works)
        course.end_stage()
        self._drop_expired(works)
        tokens = self._tokenise(works)
        course.end_stage()
        encoded = encode_clips(works, tokens, self._ask, self._cache)
        course.end_stage()
        self._fuse(works, encoded)
        course.end_stage()
        judged = [self._decide(work, policy, arrived_ms) for work in works]
        course.end_stage()
        timings = course.measure_stages()
        whole = not any(work.expired for work in begun)
        self._pace.note(sum(map(_measure_work, begun)), timings["total"], whole=whole)
        outcomes = (
            self._conclude(work, policy, one, timings, arrived_ms)
            for work, one in zip(works, judged, strict=True)
        )
        return [
            Outcome(refusal=read, course=course)
            if isinstance(read, MalformedRequest)
            else next(outcomes)
            for read in reads
        ]

    def _drop_hopeless(self, works: Sequence[ClipWork]) -> list[ClipWork]:
        """Let go of clips that cannot be answered in time; gives callers' clips that are begun."""
        sizes = [_measure_work(work) for work in works]
        left = [self._measure_left(work) for work in works]
        for index in self._pace.find_hopeless(sizes, left):
            works[index].expire()
        # A canary is too small to tell what clips cost.
        return [work for work in works if not work.expired and not work.context.options.canary]

    def _measure_left(self, work: ClipWork) -> float:
        """Milliseconds until the clip's deadline; without one there is no end to them."""
        deadline = work.context.deadline_ms
        return math.inf if deadline is None else deadline - self._now_ms()

    def _is_expired(self, work: ClipWork) -> bool:
        return work.expired or self._measure_left(work) <= 0

    def _drop_expired(self, works: Sequence[ClipWork]) -> None:
        """Let go of clips whose deadline passed meanwhile."""
        for work in works:
            if self._is_expired(work):
                work.expire()

    def _decode(self, works: Sequence[ClipWork]) -> None:
        """Fill in views and frame states; the frames of all clips share the decoding threads.

        The same bytes are decoded once, wherever in the batch they stand.
        """
        jobs: dict[Hashable, _DecodeJob] = {}
        keys: list[Hashable] = []
        works = [work for work in works if not work.expired]
        for work in works:
            for index in range(work.raw.frame_count):
                pixels = work.raw.frames_rgb is not None
                keys.append((id(work), index) if pixels else work.raw.frames[index])
                jobs.setdefault(keys[-1], _DecodeJob(index)).works.append(work)
        frames = self._map_frames(self._decode_one, jobs.values())
        decoded = dict(zip(jobs, frames, strict=True))
        shown = iter(keys)
        for work in works:
            for index in range(work.raw.frame_count):
                frame = decoded[next(shown)]
                work.frame_states[index] = frame.state
                work.show(index, frame.views)
            work.fold()

    def _decode_one(self, job: _DecodeJob) -> DecodedFrame:
        if all(map(self._is_expired, job.works)):
            return DecodedFrame(FrameState.LATE, ())
        raw = job.works[0].raw
        if raw.frames_rgb is not None:
            return DecodedFrame(FrameState.OK, (fit_frame(raw.frames_rgb[job.index]),))
        return decode_frame(raw.frames[job.index])

    def _tokenise(self, works: Sequence[ClipWork]) -> TokenBatch:
        """Cut all texts into one batch of windows; fills in text states and window owners."""
        texts: list[str] = []
        places: list[tuple[ClipWork, int]] = []
        for work in works:
            for index, raw in enumerate(work.raw.texts):
                if work.text_states[index] is TextState.LATE:
                    continue
                normalised = normalise_text(raw)
                work.text_states[index] = normalised.state
                texts.append(normalised.text)
                places.append((work, index))
        tokens = self._tokeniser.encode(texts)
        for text in tokens.truncated:
            work, index = places[text]
            if work.text_states[index] is TextState.OK:
                work.text_states[index] = TextState.TRUNCATED
        for text in tokens.owners:
            work, index = places[text]
            work.window_texts.append(index)
        return tokens

    def _ask(self, calls: Sequence[LeafCall]) -> list[Arrays | LivewardenError]:
        """Ask leaves, and check each answer; a crossed reply also raises the alarm."""
        begin = time.perf_counter_ns()
        answers = [
            check_answer(call, answer)
            for call, answer in zip(calls, self._infer(calls), strict=True)
        ]
        whole = (begin, time.perf_counter_ns())
        for call, answer in zip(calls, answers, strict=True):
            cause = name_cause(answer) if isinstance(answer, LivewardenError) else ""
            begin_ns, end_ns = call.span or whole
            stage = self._course.stage
            visit = Visit(call.model.name, stage, call.rows, begin_ns, end_ns, cause)
            self._course.visits.append(visit)
            if isinstance(answer, CrossedReply):
                self._on_crossed(answer)
        return answers

    def _fuse(self, works: Sequence[ClipWork], encoded: Sequence[Encoded]) -> None:
        """Fill in scores; a clip of which nothing was seen is not asked about."""
        seen = [
            (work, clip) for work, clip in zip(works, encoded, strict=True) if not clip.is_blank
        ]
        calls = split_call(FUSION_CLASSIFIER, pad_clips([clip for _, clip in seen])) if seen else []
        rest = iter(seen)
        for call, answer in zip(calls, self._ask(calls) if calls else (), strict=True):
            group = [next(rest) for _ in range(len(call.inputs["frame_mask"]))]
            if isinstance(answer, LivewardenError):
                for work, _ in group:
                    work.failed[FUSION_CLASSIFIER.name] = name_cause(answer)
                continue
            scores = split_scores(answer, [clip for _, clip in group])
            for (work, _), score in zip(group, scores, strict=True):
                work.scores = score
                if score is None:
                    work.failed[FUSION_CLASSIFIER.name] = "not_a_score"

    def _decide(self, work: ClipWork, policy: Policy, arrived_ms: int) -> Judged:
        """Decide on one clip; its time is when it was captured, else when it arrived."""
        context = work.context
        # A score of a label that nothing sent could speak to says nothing, and must not look clean.
        seen = work.list_modalities() or MODALITIES
        coverage = work.report_coverage(self._bundle.list_unsupported(seen))
        state = open_state(context.state, context.stream_id, self._keys) if self._keys else FRESH
        now_ms = arrived_ms if context.captured_at_ms is None else context.captured_at_ms
        hits = search_clip(policy, work.raw.texts, context.texts, work.views, work.view_frames)
        decision, after = decide(work.scores, coverage, context, state, policy, now_ms, hits)
        record = make_record(work.scores, coverage, context, state, now_ms, hits)
        token = None
        if self._keys is not None and context.stream_id:
            token = seal_state(after, context.stream_id, self._keys)
        return Judged(decision, coverage, token, record)

    def _conclude(
        self,
        work: ClipWork,
        policy: Policy,
        judged: Judged,
        timings: dict[str, float],
        arrived_ms: float,
    ) -> Outcome:
        decision = judged.decision
        context = work.context
        verdict = Verdict(
            request_id=context.request_id,
            stream_id=context.stream_id,
            clip_seq=context.clip_seq,
            nonce=context.nonce,
            action=decision.action,
            label=decision.label,
            reasons=decision.reasons,
            labels=decision.labels,
            evidence=(*decision.evidence, *find_evidence(work)) if context.options.explain else (),
            coverage=judged.coverage,
            provenance=Provenance(
                bundle=self._bundle.digest,
                models=self._bundle.versions,
                calibration=self._bundle.calibration.id,
                policy=PolicyRef(policy.id, policy.version, policy.digest, decision.overrides),
                taxonomy=TAXONOMY_VERSION,
                wire=WIRE_VERSION,
                server=self._server,
                shadow=decision.shadow,
            ),
            timings_ms=timings,
            state=judged.state,
            visibility=decision.visibility,
            review=decision.review,
            flags=decision.flags,
            cooldown_until_ms=decision.cooldown_until_ms,
            pass_through=context.pass_through,
        )
        unscored = np.full(len(LABELS), np.nan, np.float32)
        return Outcome(
            verdict,
            unscored if work.scores is None else work.scores.joint,
            record=judged.record,
            canary=context.options.canary and self._is_own(context.options.server_key),
            course=self._course,
            context=context,
            arrived_ms=arrived_ms,
        )


def _measure_work(work: ClipWork) -> int:
    return measure_size(work.raw.frame_count, len(work.raw.texts))


def _read_or_refuse(clip: RawClip) -> ClipWork | MalformedRequest:
    try:
        return read_clip(clip)
    except MalformedRequest as refusal:
        return refusal

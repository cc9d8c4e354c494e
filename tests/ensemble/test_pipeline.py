from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest

from livewarden_client.verdict import Verdict
from livewarden_client.wire import LABELS, TEXT_KINDS
from livewarden_ensemble.bundle import Bundle
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.coverage import FrameState
from livewarden_ensemble.decode import DecodedFrame
from livewarden_ensemble.errors import CrossedReply, LeafFailed, MalformedRequest
from livewarden_ensemble.leaf_call import Arrays, LeafCall
from livewarden_ensemble.pace import Pace
from livewarden_ensemble.pipeline import Outcome, Pipeline
from livewarden_ensemble.policy import Policy

NOW = 1_750_000_000_000
HATE, NUDE = LABELS.index("hate"), LABELS.index("sexual_explicit")

MakeClip = Callable[..., RawClip]
MakePipeline = Callable[..., Pipeline]
Spoil = Callable[[LeafCall, Arrays], Arrays | LeafFailed]


def gone(call: LeafCall, _: Arrays) -> LeafFailed:
    return LeafFailed(call.model.name, "gone")


def crossed(_: LeafCall, answer: Arrays) -> Arrays:
    return {**answer, "echo": answer["echo"] + 1}


def fill(name: str, value: float) -> Callable[[LeafCall, Arrays], Arrays]:
    """Spoil every answer's output `name` with `value`, whole."""
    return lambda _, answer: {**answer, name: np.full_like(answer[name], value)}


def moderate(pipeline: Pipeline, *clips: RawClip) -> list[Verdict]:
    outcomes = pipeline.moderate(clips)
    assert [outcome.refusal for outcome in outcomes] == [None] * len(clips)
    return [outcome.verdict for outcome in outcomes if outcome.verdict is not None]


def codes(verdict: Verdict) -> set[str]:
    return {reason.code for reason in verdict.reasons}


def stable(outcome: Outcome) -> dict[str, Any]:
    """What an outcome says, less what the clock says."""
    assert outcome.verdict is not None
    said: dict[str, Any] = msgspec.to_builtins(outcome.verdict)
    return {**said, "timings_ms": sorted(said["timings_ms"])}


# --- A clip alone ---------------------------------------------------------------------------------


def test_a_quiet_clip_is_allowed_and_says_what_it_rests_on(
    make_pipeline: MakePipeline, bundle: Bundle, policy: Policy, make_clip: MakeClip
) -> None:
    """Full coverage, all labels, provenance and timings; nothing asked for, nothing found."""
    clip = make_clip(
        [(0, 0, 0), (0, 90, 0)],
        ["good evening", ("title", "late run")],
        request_id="r-1",
        stream_id="s-1",
        clip_seq=7,
        nonce="n-1",
        state="v1.x",
        pass_through={"a": [1, None]},
    )
    outcome = make_pipeline().moderate([clip])[0]
    verdict = outcome.verdict
    assert (verdict.action, verdict.label, verdict.reasons) == ("allow", None, ())
    assert (verdict.request_id, verdict.stream_id, verdict.clip_seq) == ("r-1", "s-1", 7)
    assert (verdict.nonce, verdict.state) == ("n-1", None)
    assert verdict.pass_through == {"a": [1, None]}
    assert tuple(judged.id for judged in verdict.labels) == LABELS
    coverage = verdict.coverage
    assert not coverage.degraded
    assert (coverage.frames.sent, coverage.frames.decoded, coverage.frames.scored) == (2, 2, 2)
    assert (coverage.texts.sent, coverage.texts.decoded, coverage.texts.scored) == (2, 2, 2)
    assert coverage.frames.states == coverage.texts.states == {}
    assert coverage.missing == ("asr", "ocr")
    assert coverage.unsupported_labels == ("gambling",)
    provenance = verdict.provenance
    assert (provenance.bundle, provenance.models) == (bundle.digest, bundle.versions)
    assert (provenance.calibration, provenance.server, provenance.wire) == ("test", "test", 1)
    assert provenance.policy.digest == policy.digest
    stages = {"read", "decode", "tokenise", "encode", "fuse", "decide"}
    assert set(verdict.timings_ms) == stages | {"total"}
    assert all(value >= 0 for value in verdict.timings_ms.values())
    assert outcome.scores.shape == (len(LABELS),)
    assert outcome.scores.dtype == np.float32
    assert outcome.scores.tolist() == [judged.score for judged in verdict.labels]


def test_labels_that_a_clip_cannot_show_are_unsupported(
    make_pipeline: MakePipeline, make_clip: MakeClip
) -> None:
    """A clip says which labels nothing in it could speak to; this bundle reads no texts at all."""
    clips = [make_clip(frames=[(9, 9, 9)]), make_clip(texts=["hi"]), make_clip()]
    frames, texts, nothing = (outcome.verdict for outcome in make_pipeline().moderate(clips))
    assert frames.coverage.unsupported_labels == ("gambling",)
    assert texts.coverage.unsupported_labels == LABELS
    assert nothing.coverage.unsupported_labels == ("gambling",)
    assert not any(judged.supported for judged in texts.labels)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_each_kind_of_text_speaks_in_its_own_row(
    make_pipeline: MakePipeline, make_clip: MakeClip, kind: str
) -> None:
    """A text scores under the kind that its context gives it."""
    [verdict] = moderate(make_pipeline(), make_clip([], [(kind, "attack")]))
    assert verdict.labels[HATE].per_modality == {kind: pytest.approx(0.99)}
    assert kind not in verdict.coverage.missing


def test_decoded_frames_score_like_files(make_pipeline: MakePipeline, make_clip: MakeClip) -> None:
    """`frames_rgb` takes the decoder's place and changes nothing behind it."""
    rgb = np.zeros((2, 24, 32, 3), np.uint8)
    rgb[0, ..., 0], rgb[1, ..., 1] = 180, 77
    pipeline = make_pipeline()
    files = make_clip([(180, 0, 0), (0, 77, 0)], ["hi"])
    same, other = pipeline.moderate([files, make_clip([], ["hi"], frames_rgb=rgb)])
    assert stable(same) == stable(other)
    assert same.verdict.action == "restrict"


def test_decoded_frames_of_every_size_are_fitted(
    make_pipeline: MakePipeline, make_clip: MakeClip
) -> None:
    """One pixel, one line and a full-size frame all reach the encoders as squares."""
    sizes = [(1, 1), (1, 2000), (2000, 1), (224, 224), (720, 1280)]
    batch = [make_clip(frames_rgb=np.full((1, *size, 3), 255, np.uint8)) for size in sizes]
    verdicts = moderate(make_pipeline(), *batch)
    assert [verdict.coverage.frames.scored for verdict in verdicts] == [1] * len(sizes)
    assert {verdict.label for verdict in verdicts} == {"sexual_explicit"}


# --- Batches --------------------------------------------------------------------------------------


def test_a_batch_gives_every_clip_what_it_gets_alone(
    make_pipeline: MakePipeline, clips: list[RawClip]
) -> None:
    """Unlike clips in one batch: verdicts and scores are those of each clip by itself."""
    pipeline = make_pipeline()
    alone = [pipeline.moderate([clip])[0] for clip in clips]
    together = pipeline.moderate(clips)
    backwards = pipeline.moderate(clips[::-1])[::-1]
    for one, crowd, reverse in zip(alone, together, backwards, strict=True):
        assert stable(one) == stable(crowd) == stable(reverse)
        np.testing.assert_array_equal(one.scores, crowd.scores)
    assert len({json.dumps(stable(one), default=str) for one in alone}) == len(clips)


def test_each_model_is_called_once_for_a_batch(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """Eight clips cost as many calls as one, each row once."""
    batch = [make_clip([(n, 0, 0), (n, 99, 0)], [f"hi {n}"]) for n in range(8)]
    make_pipeline().moderate(batch)
    assert [call.model.name for call in leaves.calls] == [
        "vision_encoder",
        "nsfw_encoder",
        "text_encoder",
        "fusion_classifier",
    ]
    assert [len(call.inputs["nonce"]) for call in leaves.calls] == [16, 16, 8, 8]


def test_frames_decoded_by_threads_keep_their_places(
    make_pipeline: MakePipeline, clips: list[RawClip]
) -> None:
    """A pool's map gives the same verdicts as the plain one."""
    plain = make_pipeline().moderate(clips)
    with ThreadPoolExecutor(4) as pool:
        threaded = make_pipeline(map_frames=pool.map).moderate(clips)
    assert [stable(outcome) for outcome in plain] == [stable(outcome) for outcome in threaded]


def test_more_clips_than_fusion_takes_are_split(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """Clips over the classifier's batch limit, blank ones among them, find their own scores."""
    reds = [n * 10 for n in range(20)]
    batch = [make_clip([(red, 0, 0)]) if red % 30 else make_clip() for red in reds]
    outcomes = make_pipeline().moderate(batch)
    for red, outcome in zip(reds, outcomes, strict=True):
        if red % 30:
            assert outcome.scores[NUDE] == pytest.approx(red / 255, abs=1e-6)
        else:
            assert np.isnan(outcome.scores).all()
    assert leaves.count("fusion_classifier") == sum(red % 30 > 0 for red in reds)


def test_no_clips_give_no_outcomes(make_pipeline: MakePipeline, leaves: Any) -> None:
    """An empty batch asks nobody."""
    assert make_pipeline().moderate([]) == []
    assert leaves.calls == []


def test_a_malformed_clip_is_refused_and_its_neighbours_are_not(
    make_pipeline: MakePipeline, clips: list[RawClip], make_clip: MakeClip
) -> None:
    """Errors stay in their place: the rest of the batch is judged as if they were not there."""
    pipeline = make_pipeline()
    bad = [RawClip(b"{nope"), make_clip([b"x"], deadline_ms=5), make_clip([], ["a"], infos=[])]
    mixed = pipeline.moderate([bad[0], clips[0], bad[1], clips[1], bad[2]])
    assert [outcome.refusal and outcome.refusal.pointer for outcome in mixed] == [
        "/context",
        None,
        "/context/deadline_ms",
        None,
        "/context/texts",
    ]
    assert all((outcome.verdict is None) is (outcome.scores is None) for outcome in mixed)
    expected = pipeline.moderate(clips[:2])
    assert [stable(mixed[1]), stable(mixed[3])] == [stable(outcome) for outcome in expected]


def test_a_batch_of_refusals_asks_nobody(make_pipeline: MakePipeline, leaves: Any) -> None:
    """Nothing is computed where every request is malformed."""
    outcomes = make_pipeline().moderate([RawClip(b""), RawClip(b"[]")])
    assert all(isinstance(outcome.refusal, MalformedRequest) for outcome in outcomes)
    assert leaves.calls == []


def test_no_decoded_frames_are_no_frames(make_pipeline: MakePipeline, make_clip: MakeClip) -> None:
    """An empty `frames_rgb` of any shape means the same as leaving it out."""
    empty = np.zeros((0, 0, 0, 3), np.uint8)
    first, second = make_pipeline().moderate(
        [make_clip([], ["hi"], frames_rgb=empty), make_clip([], ["hi"])]
    )
    assert stable(first) == stable(second)


# --- What was not sent, or not seen ---------------------------------------------------------------

NO_FRAMES = {"coverage.frames.missing", "sexual_explicit.needs.frames.missing"}


@pytest.mark.parametrize(
    ("frames", "texts", "code"),
    [
        (0, 1, NO_FRAMES),
        (1, 0, set()),
        (0, 0, {*NO_FRAMES, "coverage.nothing_scored"}),
    ],
    ids=["no frames", "no texts", "nothing"],
)
def test_what_was_not_sent_is_what_the_policy_says(
    make_pipeline: MakePipeline, make_clip: MakeClip, frames: int, texts: int, code: set[str]
) -> None:
    """Without frames a clip is reviewed; without texts it may pass; with nothing it may not."""
    clip = make_clip([(0, 0, 0)] * frames, ["good evening"] * texts)
    outcome = make_pipeline().moderate([clip])[0]
    assert outcome.verdict.action == ("review" if code else "allow")
    assert codes(outcome.verdict) == code
    assert not outcome.verdict.coverage.degraded
    assert np.isnan(outcome.scores).all() == (frames + texts == 0)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (b"hi \xff there", "invalid_utf8"),
        (b"\xff", "invalid_utf8"),
        ("word " * 3000, "truncated"),
        ("word " * 4000, "too_large"),
    ],
    ids=["invalid", "only invalid", "truncated", "too large"],
)
def test_a_damaged_text_is_never_allowed(
    make_pipeline: MakePipeline, make_clip: MakeClip, text: str, state: str
) -> None:
    """What could not be read to its end lowers coverage and asks for a person."""
    [verdict] = moderate(make_pipeline(), make_clip([(0, 0, 0)], ["hi", text]))
    [(found, indices)] = verdict.coverage.texts.states.items()
    assert indices == (1,)
    assert found in {state, "truncated", "unscored"}
    assert verdict.coverage.degraded
    assert verdict.action == "review"


def test_a_blank_text_is_no_damage(make_pipeline: MakePipeline, make_clip: MakeClip) -> None:
    """An empty title is listed and does no harm; alone it is nothing to go by."""
    [beside, alone] = moderate(
        make_pipeline(), make_clip([(0, 0, 0)], ["", "  "]), make_clip([], [""])
    )
    assert beside.action == "allow"
    assert beside.coverage.texts.states == {"empty": (0, 1)}
    assert (beside.coverage.texts.sent, beside.coverage.texts.scored) == (2, 0)
    assert alone.action == "review"
    assert "coverage.nothing_scored" in codes(alone)


@pytest.mark.parametrize(
    ("frame", "state"), [(b"", "empty"), (b"junk", "unsupported"), (b"\xff\xd8\xff", "corrupt")]
)
def test_a_damaged_frame_is_never_allowed_and_the_good_ones_count(
    make_pipeline: MakePipeline, make_clip: MakeClip, frame: bytes, state: str
) -> None:
    """The states name the frame by its place in the request; its neighbours are scored."""
    quiet = make_clip([(0, 0, 0), frame, (9, 0, 0)])
    loud = make_clip([frame, (255, 0, 0)])
    [seen, blocked] = moderate(make_pipeline(), quiet, loud)
    assert seen.action == "review"
    assert seen.coverage.frames.states == {state: (1,)}
    assert (seen.coverage.frames.decoded, seen.coverage.frames.scored) == (2, 2)
    assert (blocked.action, blocked.label) == ("block", "sexual_explicit")
    assert blocked.evidence[0].ref == "frames[1]"


def test_views_of_an_animation_count_as_one_frame(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three views of frame 1 are one frame in the coverage, and point at it in the evidence."""
    views = tuple(np.full((224, 224, 3), value, np.uint8) for value in (0, 255, 0))
    fakes = {
        b"gif": DecodedFrame(FrameState.ANIMATED, views),
        b"jpg": DecodedFrame(FrameState.OK, views[:1]),
    }
    monkeypatch.setattr("livewarden_ensemble.pipeline.decode_frame", fakes.__getitem__)
    [verdict] = moderate(make_pipeline(), make_clip([b"jpg", b"gif", b"jpg"]))
    assert verdict.coverage.frames.states == {"animated": (1,), "reused": (2,)}
    assert (verdict.coverage.frames.decoded, verdict.coverage.frames.scored) == (3, 3)
    assert verdict.evidence[0].ref == "frames[1]"
    assert leaves.count("vision_encoder") == 3


# --- Deadlines ------------------------------------------------------------------------------------


def test_an_expired_clip_costs_nothing_and_is_reviewed(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past its deadline nothing of a clip is decoded or asked about; its neighbour is served."""
    decoded = []
    monkeypatch.setattr(
        "livewarden_ensemble.pipeline.decode_frame",
        lambda data: decoded.append(data) or DecodedFrame(FrameState.CORRUPT),
    )
    pipeline = make_pipeline(now_ms=lambda: NOW)
    late = make_clip([(255, 0, 0)] * 2, ["attack", ""], deadline_ms=NOW)
    due = make_clip([b"due"], ["hi"], deadline_ms=NOW + 1)
    outcomes = pipeline.moderate([late, due])
    assert decoded == [b"due"]
    assert leaves.count("text_encoder") == 1
    verdict = outcomes[0].verdict
    assert verdict.action == "review"
    assert verdict.coverage.frames.states == {"late": (0, 1)}
    assert verdict.coverage.texts.states == {"late": (0, 1)}
    assert verdict.coverage.frames.scored == verdict.coverage.texts.scored == 0
    assert np.isnan(outcomes[0].scores).all()
    assert verdict.labels == ()
    assert verdict.evidence == ()
    assert outcomes[1].verdict.coverage.texts.states == {}


def clock(*ticks: int) -> Callable[[], float]:
    """A clock that shows each of `ticks` once, and stays at the last."""
    times: Iterator[int] = iter(ticks)
    last = [ticks[0]]

    def now() -> float:
        last[0] = next(times, last[0])
        return last[0]

    return now


def test_a_deadline_that_passes_while_decoding_stops_the_encoders(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """Frames decoded in time are late all the same; what was broken stays broken."""
    pipeline = make_pipeline(now_ms=clock(NOW - 1, NOW - 1, NOW - 1, NOW - 1, NOW))
    clip = make_clip([(255, 0, 0), b"junk"], ["attack"], deadline_ms=NOW)
    [verdict] = moderate(pipeline, clip)
    assert leaves.calls == []
    assert verdict.action == "review"
    assert verdict.coverage.frames.states == {"late": (0,), "unsupported": (1,)}
    assert verdict.coverage.texts.states == {"late": (0,)}
    assert verdict.coverage.frames.decoded == 0


def test_a_clip_without_time_enough_is_not_begun(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has less time left than batches take of late is late before anything is spent on it."""
    monkeypatch.setattr(Pace, "estimate", lambda _, size: 100.0 * size)
    pipeline = make_pipeline(now_ms=lambda: NOW)
    hopeless = make_clip([(255, 0, 0)], ["attack"], deadline_ms=NOW + 500)
    due = make_clip([(0, 255, 0)], ["hi"], deadline_ms=NOW + 501)
    late, served = moderate(pipeline, hopeless, due)
    assert leaves.count("vision_encoder") == 1
    assert late.action == "review"
    assert late.coverage.frames.states == late.coverage.texts.states == {"late": (0,)}
    assert not served.coverage.degraded


def test_a_deadline_between_two_frames_keeps_the_second_from_being_decoded(
    make_pipeline: MakePipeline, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline is looked at before each frame."""
    decoded = []
    monkeypatch.setattr(
        "livewarden_ensemble.pipeline.decode_frame",
        lambda data: decoded.append(data) or DecodedFrame(FrameState.CORRUPT),
    )
    pipeline = make_pipeline(now_ms=clock(NOW - 1, NOW - 1, NOW - 1, NOW))
    [verdict] = moderate(pipeline, make_clip([b"1", b"2"], deadline_ms=NOW))
    assert decoded == [b"1"]
    assert verdict.coverage.frames.states == {"corrupt": (0,), "late": (1,)}


# --- Models that fail -----------------------------------------------------------------------------

ENCODERS = ("vision_encoder", "nsfw_encoder", "text_encoder")


@pytest.mark.parametrize("spoil", [gone, crossed], ids=["gone", "crossed"])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_quiet_clip_with_a_failed_encoder_is_reviewed(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip, name: str, spoil: Spoil
) -> None:
    """What an encoder did not answer is unscored, and unscored is not allowed."""
    leaves.spoil[name] = spoil
    alarms: list[CrossedReply] = []
    pipeline = make_pipeline(on_crossed=alarms.append)
    [verdict] = moderate(pipeline, make_clip([(0, 0, 0)], ["hi"]))
    cause = "crossed_reply" if spoil is crossed else "model_error"
    modality = "texts" if name == "text_encoder" else "frames"
    assert verdict.action == "review"
    assert verdict.coverage.failed == {name: cause}
    assert getattr(verdict.coverage, modality).states == {"unscored": (0,)}
    lost = (
        {"coverage.chat.model_error"}
        if name == "text_encoder"
        else {"coverage.frames.model_error", "sexual_explicit.needs.frames.model_error"}
    )
    assert codes(verdict) == {*lost, f"coverage.{name}.{cause}"}
    assert [alarm.model for alarm in alarms] == ([name] if spoil is crossed else [])


@pytest.mark.parametrize(
    ("failing", "label"), [(("text_encoder",), "sexual_explicit"), (ENCODERS[:2], "hate")]
)
def test_a_partial_block_still_blocks(
    make_pipeline: MakePipeline,
    leaves: Any,
    make_clip: MakeClip,
    failing: tuple[str, ...],
    label: str,
) -> None:
    """With one modality gone, the other's strong evidence decides."""
    leaves.spoil = dict.fromkeys(failing, gone)
    clip = make_clip([(255, 0, 0)], ["attack"])
    [verdict] = moderate(make_pipeline(), clip)
    assert (verdict.action, verdict.label) == ("block", label)
    assert verdict.coverage.degraded
    [item] = verdict.evidence
    assert item.label == label
    lost = {"visual"} if "nsfw_encoder" in failing else {"chat"}
    assert not lost & verdict.labels[0].per_modality.keys()


def test_all_encoders_gone_asks_no_classifier(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """Rows of zeros are never scored: the clip is reviewed, its scores are NaN."""
    leaves.spoil = dict.fromkeys(ENCODERS, gone)
    outcome = make_pipeline().moderate([make_clip([(255, 0, 0)], ["attack"])])[0]
    assert leaves.count("fusion_classifier") == 0
    assert outcome.verdict.action == "review"
    assert set(outcome.verdict.coverage.failed) == set(ENCODERS)
    assert "coverage.nothing_scored" in codes(outcome.verdict)
    assert np.isnan(outcome.scores).all()


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (gone, "model_error"),
        (crossed, "crossed_reply"),
        (fill("scores", np.nan), "not_a_score"),
        (fill("scores", 1.5), "not_a_score"),
        (fill("frame_scores", np.nan), "not_a_score"),
        (lambda _, answer: {**answer, "scores": answer["scores"][:, :3]}, "model_error"),
    ],
    ids=["gone", "crossed", "NaN", "over 1", "NaN frame", "too few labels"],
)
def test_without_fusion_nothing_counts_as_scored(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip, spoil: Spoil, cause: str
) -> None:
    """A classifier that fails leaves a review with NaN scores, never a 0 that reads as harmless."""
    leaves.spoil["fusion_classifier"] = spoil
    alarms: list[CrossedReply] = []
    pipeline = make_pipeline(on_crossed=alarms.append)
    outcome = pipeline.moderate([make_clip([(255, 0, 0)], ["attack"])])[0]
    verdict = outcome.verdict
    assert verdict.action == "review"
    assert verdict.coverage.failed == {"fusion_classifier": cause}
    assert verdict.coverage.frames.scored == verdict.coverage.texts.scored == 0
    assert verdict.coverage.frames.states == {"unscored": (0,)}
    assert np.isnan(outcome.scores).all()
    assert (verdict.labels, verdict.evidence) == ((), ())
    assert len(alarms) == (cause == "crossed_reply")


def test_nan_from_the_classifier_takes_its_own_clip_alone(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """One clip's NaN leaves its neighbours their scores."""

    def spoil(_: LeafCall, answer: Arrays) -> Arrays:
        answer["scores"][1, HATE] = np.nan
        return answer

    leaves.spoil["fusion_classifier"] = spoil
    batch = [make_clip([(0, 0, 0)]) for _ in range(3)]
    verdicts = moderate(make_pipeline(), *batch)
    assert [verdict.action for verdict in verdicts] == ["allow", "review", "allow"]
    assert [len(verdict.labels) for verdict in verdicts] == [14, 0, 14]


def test_a_classifier_that_fails_one_call_fails_that_call_alone(
    make_pipeline: MakePipeline, leaves: Any, make_clip: MakeClip
) -> None:
    """Of 20 clips in three calls, those of the second are reviewed."""
    answered: list[LeafCall] = []

    def spoil(call: LeafCall, answer: Arrays) -> Arrays | LeafFailed:
        answered.append(call)
        return LeafFailed(call.model.name, "gone") if len(answered) == 2 else answer

    leaves.spoil["fusion_classifier"] = spoil
    batch = [make_clip([(0, 0, 0)]) for _ in range(20)]
    actions = [verdict.action for verdict in moderate(make_pipeline(), *batch)]
    assert actions == ["allow"] * 8 + ["review"] * 8 + ["allow"] * 4

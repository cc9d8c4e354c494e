from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from livewarden_client.wire import MODELS, NSFW_ENCODER, TEXT_ENCODER, VISION_ENCODER
from livewarden_ensemble.clip import ClipWork, RawClip, read_clip
from livewarden_ensemble.encode import encode_clips
from livewarden_ensemble.errors import LeafFailed
from livewarden_ensemble.fuse import NO_KIND, VISION_INPUTS, Encoded
from livewarden_ensemble.leaf_call import Arrays, LeafCall
from livewarden_ensemble.tokenise import TokenBatch

LONG = 100  # views of one clip, over the batch limit of an encoder
MakeClip = Callable[..., RawClip]


def work_of(make_clip: MakeClip, paints: Sequence[int], words: Sequence[int]) -> ClipWork:
    """A clip with one view for each paint and one window for each word, of one text each."""
    kinds = ["title", "chat", "asr", "ocr"]
    texts = [(kinds[index % 4], "x") for index in range(len(words))]
    work = read_clip(make_clip([b"x"] * min(len(paints), 60), texts))
    for index, paint in enumerate(paints):
        work.show(index % 60, [np.full((224, 224, 3), paint, np.uint8)])
    work.window_texts = list(range(len(words)))
    return work


def tokens_of(*words: int) -> TokenBatch:
    ids = np.array(words, np.int32).reshape(-1, 1).repeat(16, axis=1)
    return TokenBatch(ids, np.ones_like(ids), tuple(range(len(words))), frozenset())


def vision(encoded: Encoded) -> list[int]:
    """The paint of each view, as the vision encoder read it."""
    embedding = encoded.vision["vision_embedding"]
    return np.rint(embedding[:, 0] * 255).astype(int).tolist()


def words_in(encoded: Encoded) -> list[int]:
    """What the text encoder made of each window."""
    return np.rint(encoded.text[:, 0] * 970).astype(int).tolist()


def test_each_encoder_is_asked_once_for_all_clips(make_clip: MakeClip, leaves: Any) -> None:
    """Three calls for three clips, handed over together so that they can run side by side."""
    works = [work_of(make_clip, [1, 2], [3]), work_of(make_clip, [4], [5, 6])]
    batches = []

    def ask(calls: Sequence[LeafCall]) -> list[Arrays]:
        batches.append([call.model for call in calls])
        return leaves(calls)

    encode_clips(works, tokens_of(3, 5, 6), ask)
    assert batches == [[VISION_ENCODER, NSFW_ENCODER, TEXT_ENCODER]]


def test_every_clip_gets_its_own_rows(make_clip: MakeClip, leaves: Any) -> None:
    """Clips of all shapes, empty ones among them, keep their rows apart and in order."""
    shapes = [([1, 2], [3]), ([], []), ([], [4, 5]), ([6], []), ([7] * LONG, [8] * 60)]
    works = [work_of(make_clip, paints, words) for paints, words in shapes]
    tokens = tokens_of(*(word for _, words in shapes for word in words))
    for (paints, words), encoded in zip(shapes, encode_clips(works, tokens, leaves), strict=True):
        assert vision(encoded) == paints
        assert words_in(encoded) == [word * 16 % 97 for word in words]
        assert encoded.seen == (True,) * len(paints)
        assert encoded.kinds == tuple(1 + index % 4 for index in range(len(words)))
        for tensor in VISION_INPUTS:
            assert encoded.vision[tensor.name].shape == (len(paints), *tensor.dims[1:])
    limits = {model.name: model.max_batch for model in MODELS}
    assert all(len(c.inputs["nonce"]) <= limits[c.model.name] for c in leaves.calls)
    assert leaves.count("vision_encoder") == leaves.count("nsfw_encoder") == 3 + LONG
    assert leaves.count("text_encoder") == 3 + 1


def test_nothing_to_encode_asks_nobody(make_clip: MakeClip, leaves: Any) -> None:
    """Clips without views and windows cost no call."""
    encoded = encode_clips([work_of(make_clip, [], [])], tokens_of(), leaves)
    assert leaves.calls == []
    assert encoded[0].is_blank
    assert encode_clips([], tokens_of(), leaves) == []


@pytest.mark.parametrize("failing", ["vision_encoder", "nsfw_encoder"])
def test_one_frame_encoder_gone_leaves_the_other_its_say(
    make_clip: MakeClip, leaves: Any, failing: str
) -> None:
    """The frames are unscored, yet what the other encoder saw goes on to fusion."""
    work = work_of(make_clip, [9], [3])
    leaves.spoil[failing] = lambda call, _: LeafFailed(call.model.name, "gone")
    [encoded] = encode_clips([work], tokens_of(3), leaves)
    assert work.frame_states == ["unscored"]
    assert work.text_states == ["ok"]
    assert work.failed == {failing: "model_error"}
    assert encoded.seen == (True,)
    assert vision(encoded) == ([0] if failing == "vision_encoder" else [9])


def test_views_that_no_encoder_saw_are_masked(make_clip: MakeClip, leaves: Any) -> None:
    """With both frame encoders gone, zeros must not be scored as if they were a picture."""
    work = work_of(make_clip, [9], [3])
    for name in ("vision_encoder", "nsfw_encoder"):
        leaves.spoil[name] = lambda call, _: LeafFailed(call.model.name, "gone")
    [encoded] = encode_clips([work], tokens_of(3), leaves)
    assert encoded.seen == (False,)
    assert not encoded.is_blank
    assert set(work.failed) == {"vision_encoder", "nsfw_encoder"}


def test_windows_that_the_encoder_did_not_read_are_masked(make_clip: MakeClip, leaves: Any) -> None:
    """A text without an answer is unscored and carries no kind into fusion."""
    work = work_of(make_clip, [9], [3, 4])
    leaves.spoil["text_encoder"] = lambda call, _: LeafFailed(call.model.name, "gone")
    [encoded] = encode_clips([work], tokens_of(3, 4), leaves)
    assert work.text_states == ["unscored", "unscored"]
    assert work.frame_states == ["ok"]
    assert encoded.kinds == (NO_KIND, NO_KIND)


def test_a_failed_chunk_hits_the_clips_in_it_alone(make_clip: MakeClip, leaves: Any) -> None:
    """Views 64 and up of the batch fail: the clip before them is whole, the one astride is not."""
    works = [work_of(make_clip, [n + 1] * 40, []) for n in range(3)]
    calls_seen = []

    def spoil(call: LeafCall, answer: Arrays) -> Arrays | LeafFailed:
        calls_seen.append(call)
        return answer if len(calls_seen) == 1 else LeafFailed(call.model.name, "gone")

    leaves.spoil["nsfw_encoder"] = spoil
    encode_clips(works, tokens_of(), leaves)
    whole, astride, lost = works
    assert set(whole.frame_states) == {"ok"}
    assert astride.frame_states == ["ok"] * 24 + ["unscored"] * 16
    assert set(lost.frame_states) == {"unscored"}
    assert [work.failed for work in works] == [{}, *[{"nsfw_encoder": "model_error"}] * 2]


def test_nan_in_one_clip_stays_there(make_clip: MakeClip, leaves: Any) -> None:
    """An encoder that stumbles over one picture has still seen the others."""
    works = [work_of(make_clip, [1], []), work_of(make_clip, [2], []), work_of(make_clip, [3], [])]

    def spoil(_: LeafCall, answer: Arrays) -> Arrays:
        answer["vision_embedding"][1, 7] = np.nan
        return answer

    leaves.spoil["vision_encoder"] = spoil
    encoded = encode_clips(works, tokens_of(), leaves)
    assert [work.frame_states for work in works] == [["ok"], ["unscored"], ["ok"]]
    assert works[1].failed == {"vision_encoder": "not_finite"}
    assert [vision(one) for one in encoded] == [[1], [0], [3]]
    assert all(np.isfinite(one.vision["vision_embedding"]).all() for one in encoded)

from __future__ import annotations

from pathlib import Path

import pytest

from livewarden_client.wire import LABELS
from livewarden_ensemble.policy import effective, load_policy
from livewarden_perf.stream_plot import (
    CHAT,
    StreamRun,
    draw_stream,
    forget_past,
    make_clips,
    read_thresholds,
)

POLICY = Path(__file__).parents[2] / "policies/default.yaml"


def test_without_memory_only_the_memory_is_gone(tmp_path: Path) -> None:
    """Thresholds are those of the policy; no rule looks at another clip."""
    plain = effective(load_policy(forget_past(POLICY, tmp_path)))
    whole = effective(load_policy(POLICY))
    assert [rule.enter for rule in plain.labels] == [rule.enter for rule in whole.labels]
    assert len(plain.labels) == len(LABELS)
    assert any(rule.remembers for rule in whole.labels)
    assert not any(rule.remembers for rule in plain.labels)


def test_every_line_of_the_chat_is_a_clip() -> None:
    """60 clips with a frame each, in order, of one stream."""
    clips = make_clips()
    assert [clip.clip_seq for clip in clips] == list(range(60)) == list(range(len(CHAT)))
    assert {clip.stream_id for clip in clips} == {"perf-stream"}
    assert len({bytes(clip.frames[0]) for clip in clips}) == 60


@pytest.mark.parametrize(("actions", "changes"), [("aaa", 0), ("aba", 2), ("abb", 1)])
def test_a_change_is_another_action_than_before(actions: str, changes: int) -> None:
    """The first action is no change."""
    assert StreamRun((0.0,) * 3, tuple(actions)).changes == changes


def test_the_picture_is_the_same_each_time(tmp_path: Path) -> None:
    """The same runs give the same bytes; others give other bytes."""
    calm, heated = (
        StreamRun((0.1, score), ("allow", action))
        for score, action in ((0.1, "allow"), (0.9, "restrict"))
    )
    thresholds = read_thresholds(POLICY)
    files = [tmp_path / name for name in ("a.svg", "b.svg", "c.svg")]
    for file, run in zip(files, (calm, calm, heated), strict=True):
        draw_stream(run, heated, thresholds, file)
    first, again, other = (file.read_bytes() for file in files)
    assert first == again != other

import json

import pytest

from livewarden_export.fusion.dataset import (
    SPLITS,
    Clip,
    DatasetInvalid,
    draw_split,
    load_dataset,
    write_dataset,
)

GOOD = {"id": "a", "labels": ["hate"], "texts": [{"kind": "chat", "text": "x"}]}


def _write(folder, *rows):
    (folder / "clips.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


def test_clips_survive_the_disk(tmp_path):
    """What is written is read back."""
    clip = Clip("a", "test", "g", ("hate",), ("violence",), (), (("asr", "so…"),), "s")
    write_dataset(tmp_path, [clip])
    assert load_dataset(tmp_path).clips == (clip,)


def test_groups_are_never_cut(tmp_path):
    """Without a split, the group decides, and all three splits occur."""
    rows = [GOOD | {"id": str(i), "group": f"stream-{i % 40}"} for i in range(120)]
    by_group = {}
    for clip in load_dataset(_write(tmp_path, *rows)).clips:
        by_group.setdefault(clip.group, set()).add(clip.split)
        assert clip.split == draw_split(clip.group)
    assert all(len(found) == 1 for found in by_group.values())
    assert set.union(*by_group.values()) == set(SPLITS)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["nosuch"]},
        {"frames": ["missing.jpg"]},
        {"frames": ["../clips.jsonl"]},
        {"texts": [{"kind": "shout", "text": "x"}]},
        {"split": "holdout"},
        {"label": ["hate"]},
    ],
)
def test_bad_clips_are_refused(tmp_path, change):
    """Unknown labels, fields, kinds and splits, and files outside the folder, name the line."""
    with pytest.raises(DatasetInvalid, match=r"clips\.jsonl:1"):
        load_dataset(_write(tmp_path, GOOD | change))

import random

from livewarden_export.fusion.dataset import SPLITS
from livewarden_export.fusion.reference import (
    PEOPLE,
    SWAPS,
    make_picture_clips,
    make_swap_clips,
    write_pictures,
)


def test_pictures_of_one_source_stay_in_one_split(tmp_path):
    """Crops of one photograph are never in two splits, and only codes count as a finding."""
    (tmp_path / "media").mkdir()
    written = write_pictures(tmp_path, random.Random(1))
    homes = {}
    for path, split in [*written["bare"], *written["code"]]:
        source = path.removeprefix("media/").rsplit(".", 1)[0].removesuffix("-code").rsplit("-", 1)
        assert homes.setdefault(source[0], split) == split
        assert (tmp_path / path).stat().st_size > 500
    assert set(homes.values()) == set(SPLITS)
    clips = list(make_picture_clips(written))
    assert {clip.labels for clip in clips if "-code" in clip.id} == {("scam_spam",)}
    assert {clip.labels for clip in clips if "-code" not in clip.id} == {()}


def test_swap_sets_share_labels_and_split():
    """All clips of a set stand in one split under one label, and no id comes twice."""
    clips = list(make_swap_clips(seed=20))
    assert len({clip.id for clip in clips}) == len(clips)
    sets = {}
    for clip in clips:
        sets.setdefault(clip.swap, set()).add((clip.split, clip.labels))
    assert all(len(kinds) == 1 for kinds in sets.values())
    assert sum("/" not in name for name in sets) == 2 * len(SWAPS)
    assert len(PEOPLE) >= 10

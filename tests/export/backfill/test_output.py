import json
import os
import random
import stat
from pathlib import Path

import pytest
from backfill_case import SECRET, open_client, write_clips

from livewarden_export.backfill import output as output_module
from livewarden_export.backfill.errors import BackfillFailed
from livewarden_export.backfill.output import Output, read_output
from livewarden_export.backfill.row import Row, parse_row
from livewarden_export.backfill.run import run_backfill
from livewarden_export.backfill.score import score_part
from livewarden_export.backfill.source import open_source, read_part

PART_CLIPS = 4


class PulledPlug(BaseException):
    """The process ends here, as by kill -9: no handler of the code under test sees it through."""


def score(parts):
    """Score parts one after the other, in this process."""
    with open_client() as client:
        for part in parts:
            yield part.number, score_part(read_part(part), client, 4, 1.0)


def run(folder, into, scorer=score, **options):
    """Run the backfill of `folder` into the folder `into`."""
    source = open_source(folder, PART_CLIPS)
    return run_backfill(source, Output(into, source, PART_CLIPS), scorer, **options)


def list_files(folder: Path):
    """The part files with their content."""
    return {path.name: path.read_text() for path in sorted((folder / "parts").glob("part-*"))}


def test_every_clip_has_one_row(clips, tmp_path):
    """In the order of the recording, and without a word of its texts."""
    summary = run(clips, tmp_path / "out")
    rows = list(read_output(tmp_path / "out"))
    assert [row.id for row in rows] == [f"clip {number}" for number in range(23)]
    assert summary.clips == summary.scored == 23
    assert not any(SECRET in text for text in list_files(tmp_path / "out").values())
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["clips"] == 23


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_parts_end_does_not_matter(clips, tmp_path, seed):
    """Also parts that come twice, as Ray may run one again: the files are the same."""
    run(clips, tmp_path / "one")

    def shuffled(parts):
        twice = [*parts, *random.Random(seed).choices(parts, k=3)]
        random.Random(seed).shuffle(twice)
        yield from score(twice)

    assert run(clips, tmp_path / "other", shuffled).scored == 23
    assert list_files(tmp_path / "one") == list_files(tmp_path / "other")


def test_a_crash_at_any_step_loses_and_doubles_nothing(tmp_path, monkeypatch):
    """The plug is pulled at each write, sync and rename in turn; the same run again completes."""
    folder = write_clips(tmp_path / "clips", 10)
    run(folder, tmp_path / "whole")
    real_fsync, real_replace = os.fsync, Path.replace
    left, step, crashes = [0], 0, 0

    def count(descriptor=None):
        left[0] -= 1
        if left[0] == 0:
            if descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                # What was written and not yet synced may be there in part.
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            raise PulledPlug

    def fsync(descriptor):
        count(descriptor)
        real_fsync(descriptor)

    def replace(self, target):
        count()
        result = real_replace(self, target)
        count()
        return result

    monkeypatch.setattr(output_module.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    while True:
        step += 1
        out = tmp_path / f"crashed-{step}"
        left[0] = step
        try:
            run(folder, out)
        except PulledPlug:
            crashes += 1
            left[0] = -1
            run(folder, out)
            assert list_files(out) == list_files(tmp_path / "whole")
        else:
            break
    assert crashes == 4 * 5  # manifest, three parts, summary: two syncs, before and after a rename


def test_a_run_goes_on_where_it_was(clips, tmp_path):
    """Only what is missing is scored; a run that is complete asks for nothing."""
    run(clips, tmp_path / "out")
    (tmp_path / "out" / "parts" / "part-000002.jsonl").unlink()
    heard = []
    summary = run(clips, tmp_path / "out", on_progress=lambda *counts: heard.append(counts))
    assert (summary.scored, summary.clips) == (PART_CLIPS, 23)
    assert heard == [(19, 23), (23, 23)]

    def refuse(_parts):
        raise AssertionError

    assert run(clips, tmp_path / "out", refuse).scored == 0


def test_failed_clips_are_asked_again_on_request(clips, tmp_path):
    """A row with an error counts as done, until --retry-errors."""
    (clips / "media" / "one.jpg").rename(clips / "gone")
    assert run(clips, tmp_path / "out").failed == 8
    (clips / "gone").rename(clips / "media" / "one.jpg")
    assert run(clips, tmp_path / "out").failed == 8
    assert run(clips, tmp_path / "out", retry_errors=True).failed == 0


def test_another_recording_is_refused(clips, tmp_path):
    """Also the same one with a clip more, and other parts: rows of two must not mix."""
    run(clips, tmp_path / "out")
    with (clips / "clips.jsonl").open("a") as file:
        file.write('{"id": "one more"}\n')
    with pytest.raises(BackfillFailed, match=r"manifest\.json: belongs to another recording"):
        run(clips, tmp_path / "out")


def test_two_runs_into_one_folder_are_refused(clips, tmp_path):
    """The second ends at once."""
    source = open_source(clips, PART_CLIPS)
    output = Output(tmp_path / "out", source, PART_CLIPS)
    with (
        output.open(),
        pytest.raises(BackfillFailed, match="another backfill is writing"),
        Output(tmp_path / "out", source, PART_CLIPS).open(),
    ):
        pass


def test_rows_go_in_and_come_out():
    """A row is one line of JSON; what is none names its place."""
    row = Row("ü", "block", "allow", label="hate", codes=("a", "b"), scores={"hate": 0.9})
    assert parse_row(row.to_line(), "x") == row
    for line in ("", "{}", "[]", '{"format": "other"}', row.to_line().replace('"action"', '"act"')):
        with pytest.raises(BackfillFailed, match="file:3: is no row"):
            parse_row(line, "file:3")


def test_an_id_that_is_no_unicode_is_written_and_read(clips, tmp_path):
    """JSON allows half of a pair as an id: its row stands like any other."""
    source = open_source(clips, PART_CLIPS)
    output = Output(tmp_path / "out", source, PART_CLIPS)
    row = Row("\ud800", "block", None)
    with output.open():
        output.write_part(0, [row])
    assert list(read_output(tmp_path / "out")) == [row]


def test_an_error_of_scoring_is_not_told_as_one_of_writing(clips, tmp_path):
    """A connection that breaks keeps its own name; a folder that cannot be written is told."""

    def lose(_parts):
        raise ConnectionResetError("lost")
        yield

    with pytest.raises(ConnectionResetError):
        run(clips, tmp_path / "out", lose)

    def remove(parts):
        (tmp_path / "out" / "parts").rename(tmp_path / "gone")
        yield from score(parts)

    with pytest.raises(BackfillFailed, match="cannot be written"):
        run(clips, tmp_path / "out", remove)

import dataclasses

import pytest

from livewarden_export.backfill.errors import BackfillFailed
from livewarden_export.backfill.row import Row
from livewarden_export.backfill.summary import sum_up

ROWS = [
    Row("a", "block", "allow", bundle="b1", policy="p"),
    Row("b", "allow", "allow", bundle="b1", policy="p", degraded=True),
    Row("c", "review", None, bundle="b2", policy="p"),
    Row("d", None, "block", error="Unavailable"),
]


def test_what_changed_from_what_to_what():
    """A clip without an action before or now is compared with nothing."""
    summary = sum_up(ROWS, 4, scored=4, seconds=2.0)
    assert summary.moves == {("allow", "block"): 1, ("allow", "allow"): 1}
    assert (summary.changed, summary.failed, summary.degraded) == (1, 1, 1)
    assert summary.errors == {"Unavailable": 1}
    assert len(summary.made_by) == 2
    assert summary.clips_per_second == 2.0
    assert summary.describe()["moves"][1] == {"before": "allow", "now": "block", "clips": 1}


def test_an_earlier_backfill_takes_the_place_of_the_recording():
    """Its actions count by clip id; a clip that it lacks is compared with nothing."""
    summary = sum_up(ROWS, 4, {"a": "block", "c": "allow"})
    assert summary.moves == {("block", "block"): 1, ("allow", "review"): 1}


def test_a_row_too_many_or_too_few_ends_the_run():
    """Exactly one row for each clip, or no summary."""
    with pytest.raises(BackfillFailed, match="two rows"):
        sum_up([*ROWS, ROWS[0]], 5)
    with pytest.raises(BackfillFailed, match="3 rows for 4 clips"):
        sum_up(ROWS[:3], 4)
    with pytest.raises(BackfillFailed, match="5 rows for 4 clips"):
        sum_up([*ROWS, dataclasses.replace(ROWS[0], id="e")], 4)

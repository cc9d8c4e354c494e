from dataclasses import replace

import pytest
from backfill_case import judge, open_client

from livewarden_client.errors import InvalidRequest, ServerError, Unavailable
from livewarden_client.verdict import ModalityCoverage
from livewarden_export.backfill.score import score_part
from livewarden_export.backfill.source import open_source, read_part


def read(folder):
    """All clips of a recording."""
    return [clip for part in open_source(folder, 100).parts for clip in read_part(part)]


@pytest.mark.parametrize("in_flight", [1, 5, 64])
def test_rows_are_in_the_order_of_the_clips(clips, in_flight):
    """However many are on their way, every clip has its own row, and the same one."""
    with open_client() as client:
        rows = score_part(read(clips), client, in_flight, 1.0)
    with open_client() as client:
        alone = [score_part([clip], client, 1, 1.0)[0] for clip in read(clips)]
    assert [row.id for row in rows] == [f"clip {n}" for n in range(23)]
    assert rows == alone
    assert {row.bundle for row in rows} == {"b1"}


def test_a_clip_that_fails_is_a_row_with_the_type(clips):
    """Media that is gone, and a server that fails: the others keep their verdicts."""
    (clips / "media" / "one.jpg").unlink()

    def answer(request):
        if request.texts[0].endswith(b" 4"):
            raise ServerError("it failed")
        return judge(request)

    with open_client(answer) as client:
        rows = score_part(read(clips), client, 4, 1.0)
    errors = {row.id: row.error for row in rows if row.error}
    # Every third clip names the picture; the format itself says that a frame must be there.
    gone = {f"clip {number}": "InvalidRequest" for number in range(0, 23, 3)}
    assert errors == gone | {"clip 4": "ServerError"}
    assert [row.id for row in rows] == [f"clip {n}" for n in range(23)]
    assert all((row.action is None) == (row.error is not None) for row in rows)


def test_what_passes_is_asked_again(clips):
    """A server that is away for a moment costs no clip; a refused clip is not asked again."""
    seen = []

    def answer(request):
        text = request.texts[0]
        seen.append(text)
        if text.endswith(b" 5"):
            raise InvalidRequest("no")
        # More often than the client itself asks.
        if seen.count(text) <= 3 and text.endswith(b" 7"):
            raise Unavailable("away")
        return judge(request)

    with open_client(answer) as client:
        rows = {row.id: row for row in score_part(read(clips), client, 4, 5.0)}
    assert rows["clip 7"].action is not None
    assert rows["clip 5"].error == "InvalidRequest"
    assert sum(text.endswith(b" 5") and not text.endswith(b"15") for text in seen) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"texts": ModalityCoverage(1, 1, 0, {"late": (0,)})},
        {"frames": ModalityCoverage(1, 1, 0, {"unscored": (0,)})},
        {"failed": {"text_encoder": "model_error"}},
    ],
)
def test_a_verdict_of_a_busy_server_is_none(clips, change):
    """What was not scored for want of time or of a leaf is asked again, and an error in the end."""
    seen = []

    def answer(request):
        text, verdict = request.texts[0], judge(request)
        seen.append(text)
        busy = text.endswith(b" 7") and seen.count(text) < 2
        if busy or text.endswith(b" 5"):
            return replace(verdict, coverage=replace(verdict.coverage, degraded=True, **change))
        return verdict

    with open_client(answer) as client:
        rows = {row.id: row for row in score_part(read(clips), client, 4, 5.0)}
    assert rows["clip 7"].error is None
    assert (rows["clip 5"].action, rows["clip 5"].error) == (None, "Overloaded")
    assert {row.id for row in rows.values() if row.error} == {"clip 5"}


def test_a_clip_that_is_broken_itself_keeps_its_verdict(clips):
    """A frame that cannot be decoded is the clip's own: asking again changes nothing."""
    seen = []

    def answer(request):
        seen.append(request.texts[0])
        verdict = judge(request)
        broken = ModalityCoverage(1, 0, 0, {"undecodable": (0,)})
        return replace(verdict, coverage=replace(verdict.coverage, degraded=True, frames=broken))

    with open_client(answer) as client:
        rows = score_part(read(clips), client, 4, 5.0)
    assert len(seen) == len(rows) == 23
    assert not any(row.error for row in rows)

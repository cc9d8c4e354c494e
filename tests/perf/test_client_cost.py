from __future__ import annotations

from click.testing import CliRunner

from livewarden_perf.cli import perf
from livewarden_perf.client_cost import MAX_EXTRA_MS, ClientCost, small_clip


def test_allowance_is_the_larger_of_the_two() -> None:
    """10 % of the server's median, or 0.2 ms where that is more."""
    slow = ClientCost(1, (20.0, 30.0), (21.0, 31.0), 1.0)
    quick = ClientCost(1, (0.5, 0.6), (0.6, 0.7), 0.1)
    assert (slow.allowed_ms, quick.allowed_ms) == (2.0, MAX_EXTRA_MS)


def test_clip_leaves_the_client_nowhere_to_hide() -> None:
    """The smallest clip there is: one text, no frame."""
    assert (small_clip().frame_count, len(small_clip().texts)) == (0, 1)


def test_nobody_there_is_one_line() -> None:
    """Without a server the command ends with 1 and says so."""
    told = CliRunner().invoke(perf, ["client", "--url", "127.0.0.1:1", "--seconds", "0.1"])
    assert told.exit_code == 1
    [line] = [line for line in told.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: 127.0.0.1:1 gives no verdict: no server answered")
    assert "StatusCode" not in told.stderr

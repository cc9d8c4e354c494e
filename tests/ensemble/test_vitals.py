from __future__ import annotations

import pytest

from livewarden_ensemble.progress import Doing, Work
from livewarden_ensemble.vitals import ENOUGH, Backoff, Beat, ProcessState, Pulse, Timing, Vitals

RUNNING, STOPPED, GONE = ProcessState.RUNNING, ProcessState.STOPPED, ProcessState.GONE


def test_running_processes_are_well():
    """Processes that run are no ailment, however often they are looked at."""
    vitals = Vitals()
    assert [vitals.look({"a": RUNNING, "b": RUNNING}) for _ in range(3)] == [None] * 3


def test_dead_process_is_an_ailment_at_once():
    """One look is enough for a dead process, and it is named."""
    assert Vitals().look({"stub a": RUNNING, "stub b": GONE}) == "stub b died"


def test_stop_must_last_two_looks():
    """A process stopped at one look only (a debugger's) is spared; at two it is not."""
    vitals = Vitals()
    assert vitals.look({"a": STOPPED, "b": RUNNING}) is None
    assert vitals.look({"a": RUNNING, "b": STOPPED}) is None
    assert vitals.look({"a": STOPPED, "b": STOPPED}) == "b is stopped"


def test_second_look_comes_before_a_pause_poisons_the_server():
    """Two looks fit well into the 2 s after which a resumed stub answers wrongly."""
    assert 2 * Timing().look_s < 1


def hang(vitals: Vitals, work: Work, passed_s: float = 1.0) -> list[str | None]:
    return [vitals.follow({"stub a": work}, passed_s) for _ in range(7)]


def test_work_without_a_step_is_a_hang():
    """Four seconds of work without a step are an ailment; the first look counts for nothing."""
    assert hang(Vitals(4.0), Work(Doing.WORKING, 5))[:5] == [
        None,
        None,
        None,
        None,
        "stub a has hung for 4 s",
    ]


@pytest.mark.parametrize("doing", [Doing.IDLE, Doing.WAITING])
def test_standstill_without_work_is_none(doing: Doing):
    """A stub that has nothing to do, or waits for others, does not hang."""
    assert hang(Vitals(4.0), Work(doing, 5)) == [None] * 7


def test_steps_and_other_stubs_keep_a_stub_alive():
    """Every step starts the time anew, for its own stub only."""
    vitals = Vitals(4.0)
    for step in range(20):
        assert vitals.follow({"a": Work(Doing.WORKING, step)}, 3.0) is None
    told = [
        vitals.follow({"a": Work(Doing.WORKING, step), "b": Work(Doing.WORKING, 1)}, 1.0)
        for step in range(20, 25)
    ]
    assert told == [None, None, None, None, "b has hung for 4 s"]


def test_crossed_reply_is_an_ailment_at_once():
    """One answer to another question condemns the server: more may lie in its queues."""
    assert "another question" in Vitals().follow({"a": Work(crossed=1)}, 0.1)


def test_hang_is_found_in_time_to_kill_within_five_seconds():
    """The standstill, and the looks at its beginning and end, leave half a second for the kill."""
    assert Timing().hung_s + 2 * Timing().look_s <= 4.5


@pytest.mark.parametrize("beat", list(ENOUGH))
def test_beats_add_up_to_an_ailment(beat: Beat):
    """Each kind of bad beat is an ailment exactly after as many in a row as the table says."""
    vitals = Vitals()
    told = [vitals.feel(Pulse(beat, "why")) for _ in range(ENOUGH[beat])]
    assert told[:-1] == [None] * (len(told) - 1)
    assert "why" in told[-1]


@pytest.mark.parametrize("beat", [beat for beat in ENOUGH if ENOUGH[beat] > 1])
def test_right_answer_forgets_bad_beats(beat: Beat):
    """A right answer between bad beats starts the count anew."""
    vitals = Vitals()
    for _ in range(3):
        for _ in range(ENOUGH[beat] - 1):
            assert vitals.feel(Pulse(beat)) is None
        assert vitals.feel(Pulse(Beat.ALIVE)) is None


def test_every_bad_beat_is_in_the_table():
    """No bad beat lacks its number."""
    assert set(ENOUGH) == set(Beat) - {Beat.ALIVE, Beat.BUSY}


def test_a_loaded_server_is_never_replaced():
    """However long the canary waits behind others who are answered, a restart would help nobody."""
    vitals = Vitals()
    assert [vitals.feel(Pulse(Beat.BUSY)) for _ in range(1000)] == [None] * 1000


def test_delays_double_up_to_the_longest():
    """0.5 s, doubled each time, never over 30 s."""
    backoff = Backoff(Timing())
    delays = [backoff.next_delay(now=0) for _ in range(9)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_what_heals_is_healed_soon_however_often():
    """After starts that worked the wait never passes 4 s, so that a tenth kill in a row heals."""
    backoff, delays = Backoff(Timing()), []
    for _ in range(10):
        backoff.note_ready(now=0)
        delays.append(backoff.next_delay(now=1))
    assert delays == [0.5, 1, 2] + [4] * 7


@pytest.mark.parametrize(("lived", "delay"), [(59, 1.0), (60, 0.5)])
def test_delays_reset_after_a_healthy_minute(lived: float, delay: float):
    """Only a server that stayed well for 60 s earns the first delay again."""
    backoff = Backoff(Timing())
    backoff.next_delay(now=0)
    backoff.note_ready(now=100)
    assert backoff.next_delay(now=100 + lived) == delay


def test_gives_up_after_failed_starts_in_a_row():
    """The fifth failed start in a row is the last; a start that worked begins the count anew."""
    backoff = Backoff(Timing())
    assert [backoff.note_failure() for _ in range(4)] == [True] * 4
    backoff.note_ready(now=0)
    assert [backoff.note_failure() for _ in range(5)] == [True, True, True, True, False]

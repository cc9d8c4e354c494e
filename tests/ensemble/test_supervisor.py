from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from livewarden_ensemble.errors import ServerFailed
from livewarden_ensemble.progress import Doing, Work
from livewarden_ensemble.supervisor import Notice, Phase, Supervisor
from livewarden_ensemble.vitals import Beat, ProcessState, Pulse, Timing

FAST = Timing(
    look_s=0.005,
    hung_s=0.05,
    canary_every_s=0.01,
    start_timeout_s=5,
    first_delay_s=0.01,
    healthy_s=0,
    starts=3,
)
ENDED = frozenset({Phase.STOPPED, Phase.FAILED})


class FakeProcess:
    """A server process that does what a test tells it."""

    def __init__(self, generation: int) -> None:
        self.pid = generation
        self.stub_pids = ()
        self.ended: str | None = None
        self.states = {"stub": ProcessState.RUNNING}
        self.work = Work()
        self.calls: list[str] = []

    def record_stubs(self) -> None:
        """Note the call."""
        self.calls.append("record_stubs")

    def look(self) -> dict[str, ProcessState]:
        """The states that the test has set."""
        return self.states

    def read_work(self) -> dict[str, Work]:
        """The work that the test has set."""
        return {"stub": self.work}

    def poll(self) -> str | None:
        """The end that the test has set."""
        return self.ended

    def explain(self) -> str:
        """One fixed reason."""
        return "model 'leaf': no weights"

    def drain(self) -> None:
        """Note the call."""
        self.calls.append("drain")

    def kill(self) -> None:
        """Note the call."""
        self.calls.append("kill")


class World:
    """A supervisor over fake processes; `beat` is what the canary says."""

    def __init__(self, timing: Timing = FAST) -> None:
        self.processes: list[FakeProcess] = []
        self.notices: list[Notice] = []
        self.beat = Beat.ALIVE
        self.prepare: Callable[[FakeProcess], None] = lambda _: None
        self.supervisor = Supervisor(
            self.begin,
            lambda url: Pulse(self.beat, f"asked {url}"),
            "h:1",
            timing,
            self.notices.append,
        )

    def begin(self, generation: int) -> FakeProcess:
        """Start a fake process."""
        process = FakeProcess(generation)
        self.processes.append(process)
        self.prepare(process)
        return process

    def wait(self, *phases: Phase) -> Phase:
        """The first of `phases` or of the final ones that comes."""
        phase = self.supervisor.wait(frozenset(phases) | ENDED, timeout=10)
        assert phase in {*phases, *ENDED}
        return phase

    def wait_for_processes(self, count: int) -> None:
        """Return once `count` processes have been started in all."""
        deadline = time.monotonic() + 10
        while len(self.processes) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def world():
    """A world that is stopped at the end."""
    world = World()
    yield world
    world.supervisor.stop()


def test_ready_comes_after_the_canary_only(world: World):
    """A running process is not ready; a right answer makes it so, and its stubs are on record."""
    world.beat = Beat.ABSENT
    world.supervisor.start()
    assert world.supervisor.wait(frozenset({Phase.READY}), timeout=0.2) is Phase.STARTING
    world.beat = Beat.ALIVE
    assert world.wait(Phase.READY) is Phase.READY
    assert world.processes[0].calls == ["record_stubs"]


def die(process: FakeProcess) -> None:
    process.ended = "tritonserver was killed by SIGSEGV"


def lose_stub(process: FakeProcess) -> None:
    process.states = {"stub": ProcessState.GONE}


def hang_stub(process: FakeProcess) -> None:
    process.work = Work(Doing.WORKING, 1)


def cross_stub(process: FakeProcess) -> None:
    process.work = Work(crossed=1)


def pause_stub(process: FakeProcess) -> None:
    process.states = {"stub": ProcessState.STOPPED}


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        (die, "SIGSEGV"),
        (lose_stub, "stub died"),
        (pause_stub, "is stopped"),
        (hang_stub, "stub has hung"),
        (cross_stub, "another question"),
    ],
)
def test_ailing_process_is_killed_and_replaced(world: World, harm, word: str):
    """The sick process is killed, never drained, and the next one becomes ready."""
    world.supervisor.start()
    world.wait(Phase.READY)
    harm(world.processes[0])
    world.wait_for_processes(2)
    assert world.wait(Phase.READY) is Phase.READY
    assert world.processes[0].calls == ["record_stubs", "kill"]
    assert world.supervisor.restarts == 1
    healing = [notice.detail for notice in world.notices if notice.phase is Phase.HEALING]
    assert len(healing) == 1
    assert word in healing[0]


@pytest.mark.parametrize("beat", [Beat.MISSED, Beat.SICK, Beat.ABSENT])
def test_canary_alone_leads_to_a_restart(world: World, beat: Beat):
    """A server whose processes all look well is replaced when the canary says so."""
    world.supervisor.start()
    world.wait(Phase.READY)
    world.prepare = lambda _: setattr(world, "beat", Beat.ALIVE)
    world.beat = beat
    world.wait_for_processes(2)
    assert world.wait(Phase.READY) is Phase.READY


def test_not_ready_before_the_kill(world: World):
    """Whoever asks while the sick process is being killed hears that it is not ready."""
    seen: list[Phase] = []
    world.prepare = lambda process: setattr(
        process, "kill", lambda: seen.append(world.supervisor.phase)
    )
    world.supervisor.start()
    world.wait(Phase.READY)
    die(world.processes[0])
    world.wait_for_processes(2)
    assert seen[0] is Phase.HEALING


def test_first_start_that_fails_is_final(world: World):
    """A server that never worked is not tried again: the error, with the reason, comes at once."""
    world.prepare = die
    world.supervisor.start()
    assert world.wait() is Phase.FAILED
    assert "no weights" in str(world.supervisor.error)
    assert len(world.processes) == 1
    assert "kill" in world.processes[0].calls


@pytest.mark.parametrize("beat", [Beat.SICK, Beat.MISSED])
def test_wrong_answers_at_the_start_are_final(world: World, beat: Beat):
    """A server that comes up and answers wrongly does not wait for the start's time limit."""
    world.beat = beat
    world.supervisor.start()
    assert world.wait() is Phase.FAILED
    assert "asked h:1" in str(world.supervisor.error)


@pytest.mark.parametrize("beat", [Beat.ABSENT, Beat.BUSY])
def test_slow_start_has_a_limit(beat: Beat):
    """Nothing there yet, or too busy, is waited for, but not for ever."""
    world = World(Timing(look_s=0.005, start_timeout_s=0.3))
    world.beat = beat
    world.supervisor.start()
    assert world.wait() is Phase.FAILED
    world.supervisor.stop()


def test_gives_up_healing_after_failed_starts(world: World):
    """After as many failed starts in a row as allowed it fails, and names count and last reason."""
    world.supervisor.start()
    world.wait(Phase.READY)
    world.prepare = die
    die(world.processes[0])
    assert world.wait() is Phase.FAILED
    assert len(world.processes) == 1 + FAST.starts
    assert str(world.supervisor.error).startswith("Gave up after 3 failed starts")
    assert all("kill" in process.calls for process in world.processes)


def test_stop_drains_a_ready_server(world: World):
    """A stop is told before the drain, and nothing is started afterwards."""
    world.supervisor.start()
    world.wait(Phase.READY)
    world.supervisor.stop()
    assert world.processes[0].calls[:2] == ["record_stubs", "drain"]
    assert [notice.phase for notice in world.notices] == [
        Phase.READY,
        Phase.STOPPING,
        Phase.STOPPED,
    ]
    assert len(world.processes) == 1


def test_stop_ends_a_start_and_a_pause():
    """A stop is heard while the server starts and while the next start is awaited."""
    world = World()
    world.beat = Beat.ABSENT
    world.supervisor.start()
    world.wait_for_processes(1)
    world.supervisor.stop()
    assert world.processes[0].calls == ["kill"]
    world = World(Timing(look_s=0.005, first_delay_s=600, longest_delay_s=600))
    world.supervisor.start()
    world.wait(Phase.READY)
    die(world.processes[0])
    world.wait(Phase.HEALING)
    world.supervisor.stop()
    assert world.supervisor.phase is Phase.STOPPED
    assert len(world.processes) == 1


def test_fault_of_our_own_is_not_silent(world: World):
    """An exception in the supervisor's parts ends in FAILED with its name; the server is gone."""
    world.prepare = lambda process: setattr(process, "look", lambda: 1 // 0)
    world.supervisor.start()
    assert world.wait() is Phase.FAILED
    assert isinstance(world.supervisor.error, ServerFailed)
    assert "ZeroDivisionError" in str(world.supervisor.error)
    assert "kill" in world.processes[0].calls


def test_hanging_canary_does_not_blind_the_watch():
    """While the canary waits for its answer, a dead stub is seen all the same."""
    hang, asked = threading.Event(), []
    processes: list[FakeProcess] = []

    def canary(url: str) -> Pulse:
        asked.append(url)
        if len(asked) == 2:
            hang.wait(10)
        return Pulse(Beat.ALIVE)

    def begin(generation: int) -> FakeProcess:
        hang.set() if generation else None
        processes.append(FakeProcess(generation))
        return processes[-1]

    supervisor = Supervisor(begin, canary, "h:1", FAST, lambda _: None)
    supervisor.start()
    supervisor.wait(frozenset({Phase.READY}), 10)
    while len(asked) < 2:
        time.sleep(0.005)
    lose_stub(processes[0])
    assert supervisor.wait(frozenset({Phase.HEALING}), 10) is Phase.HEALING
    assert supervisor.wait(frozenset({Phase.READY}), 10) is Phase.READY
    supervisor.stop()


def test_a_listener_that_breaks_does_not_end_the_server() -> None:
    """Notices that nobody can take leave a healthy server as it is."""

    def break_pipe(_notice: Notice) -> None:
        raise BrokenPipeError

    world = World()
    supervisor = Supervisor(
        world.begin, lambda _url: Pulse(Beat.ALIVE, ""), "h:1", FAST, break_pipe
    )
    supervisor.start()
    assert supervisor.wait(frozenset({Phase.READY}) | ENDED, 10) is Phase.READY
    supervisor.stop()
    assert (supervisor.phase, supervisor.error) == (Phase.STOPPED, None)

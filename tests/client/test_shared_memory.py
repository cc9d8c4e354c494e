from __future__ import annotations

import fcntl
import gc
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from livewarden_client import Clip
from livewarden_client import shared_memory as module
from livewarden_client.request import Request, build_request
from livewarden_client.shared_memory import HEADER, MIB, Placed, SharedFrames
from livewarden_client.shared_region import PREFIX, Region, sweep_regions

KEY = "k" * 16


def frames(count: int = 2, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, (count, 512, 512, 3), np.uint8)


def ask(pixels: Any = None) -> Request:
    return build_request(Clip(frames_rgb=frames() if pixels is None else pixels), 5)


def list_files() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"{PREFIX}{os.getpid()}_*")}


@pytest.fixture(autouse=True)
def _no_leak() -> Iterator[None]:
    """No test leaves a region behind."""
    yield
    gc.collect()
    assert list_files() == set()


@dataclass
class Regions(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that maps regions as Triton does, and forgets them when it is told to restart."""

    known: dict[str, mmap.mmap] = field(default_factory=dict)
    refuse: grpc.StatusCode | None = None
    asked: list[str] = field(default_factory=list)
    hold: threading.Event | None = None
    address: str = ""

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Map the region, or refuse."""
        self.asked.append(f"register {request.name}")
        assert {(HEADER, KEY), ("authorization", "t")} <= {*context.invocation_metadata()}
        if self.refuse is not None:
            context.abort(self.refuse, "This protocol is restricted")
        if request.name in self.known:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "already in manager")
        with Path("/dev/shm", request.key.lstrip("/")).open("r+b") as file:
            self.known[request.name] = mmap.mmap(file.fileno(), request.byte_size)
        if self.hold is not None:
            self.hold.wait(10)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Forget the region; unknown ones are fine."""
        self.asked.append(f"unregister {request.name}")
        self.known.pop(request.name, None)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def SystemSharedMemoryStatus(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        """List the regions."""
        self.asked.append("status")
        response = service_pb2.SystemSharedMemoryStatusResponse()
        for name in self.known:
            response.regions[name].name = name
        return response

    def read(self, placed: Placed) -> Any:
        """Read what an inference would."""
        content = self.known[placed.region][: placed.byte_size]
        return np.frombuffer(content, np.uint8).reshape(placed.shape)


@pytest.fixture
def server() -> Regions:
    return Regions()


@pytest.fixture
def stub(server: Regions) -> Iterator[Any]:
    running = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(server, running)
    server.address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    with grpc.insecure_channel(server.address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)
    running.stop(grace=None).wait()


@pytest.fixture
def shared(stub: Any) -> Iterator[SharedFrames]:
    shared = SharedFrames(stub, KEY, headers=[("authorization", "t")])
    yield shared
    shared.close()


def until(true: Callable[[], Any]) -> Any:
    """Wait for what other threads do; the test's own time limit ends a wait for nothing."""
    while not (got := true()):
        time.sleep(0.002)
    return got


def place(shared: SharedFrames, request: Request) -> Placed:
    return until(lambda: shared.place(request))


def test_server_sees_the_pixels_of_each_request(server: Regions, shared: SharedFrames) -> None:
    """What is placed is what the server reads, whatever the array's strides are."""
    base = frames(4)
    for pixels in (base, base[::2], base[..., ::-1], base.transpose(0, 2, 1, 3), base[:, :400]):
        placed = place(shared, ask(pixels))
        assert placed.shape == pixels.shape
        assert np.array_equal(server.read(placed), pixels)
        shared.release(placed)


def test_first_request_does_not_wait(server: Regions, shared: SharedFrames) -> None:
    """Frames go inline while the region is being registered, and only one is at a time."""
    server.hold = threading.Event()
    assert [shared.place(ask()) for _ in range(5)] == [None] * 5
    until(lambda: server.asked)
    assert len(list_files()) == 1
    server.hold.set()
    shared.release(place(shared, ask()))
    assert len([call for call in server.asked if call.startswith("register")]) == 1


def test_region_is_used_again_after_its_release(server: Regions, shared: SharedFrames) -> None:
    """A region is registered once and serves any number of requests, one after the other."""
    names = set()
    for _ in range(20):
        placed = place(shared, ask())
        names.add(placed.region)
        shared.release(placed)
    assert len(names) == 1 == len(server.known)


def test_regions_in_use_are_not_touched(server: Regions, shared: SharedFrames) -> None:
    """Requests on the wire at the same time have different regions."""
    requests = [ask(frames(seed=seed)) for seed in range(4)]
    placed = [place(shared, request) for request in requests]
    assert len({one.region for one in placed}) == 4
    for one, request in zip(placed, requests, strict=True):
        assert np.array_equal(server.read(one), request.frames_rgb)
        shared.release(one)


def test_limit_holds_and_small_regions_make_way(server: Regions, stub: Any) -> None:
    """At the limit, frames go inline while all is in use; an unused region is replaced."""
    shared = SharedFrames(stub, KEY, headers=[("authorization", "t")], limit=4 * MIB)
    small = [place(shared, ask(frames(2))) for _ in range(2)]
    assert shared.place(ask(frames(2))) is None
    for one in small:
        shared.release(one)
    large = place(shared, ask(frames(4)))
    assert large.byte_size == 3 * MIB
    assert sum(Path("/dev/shm", name).stat().st_size for name in list_files()) <= 4 * MIB
    shared.release(large)
    assert shared.place(ask(frames(6))) is None
    shared.close()
    until(lambda: not server.known)


@pytest.mark.parametrize("pixels", [None, np.zeros((1, 8, 8, 3), np.uint8)])
def test_what_is_small_goes_inline(server: Regions, shared: SharedFrames, pixels: Any) -> None:
    """Without frames, or with few pixels, the server is not even asked."""
    clip = Clip() if pixels is None else Clip(frames_rgb=pixels)
    assert shared.place(build_request(clip, 5)) is None
    assert not shared._registering
    assert server.asked == []


@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED]
)
def test_refusal_means_inline_and_a_pause(
    server: Regions, shared: SharedFrames, monkeypatch: pytest.MonkeyPatch, status: grpc.StatusCode
) -> None:
    """A server that refuses, or cannot open the region, is asked again only after the pause."""
    server.refuse = status
    assert shared.place(ask()) is None
    until(lambda: server.asked and not shared._registering)
    assert [shared.place(ask()) for _ in range(5)] == [None] * 5
    assert len(server.asked) == 1
    assert list_files() == set()
    server.refuse = None
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.0)
    shared._pause()
    shared.release(place(shared, ask()))


def test_server_that_is_gone_means_inline() -> None:
    """Nobody at the address: frames go inline and nothing is left in /dev/shm."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        shared = SharedFrames(service_pb2_grpc.GRPCInferenceServiceStub(channel), KEY)
        assert shared.place(ask()) is None
        until(lambda: not shared._registering)
        assert list_files() == set()
    assert shared.place(ask()) is None
    shared.close()


def test_closed_channel_means_inline() -> None:
    """A channel that was closed first is no error here."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        shared = SharedFrames(service_pb2_grpc.GRPCInferenceServiceStub(channel), KEY)
    assert shared.place(ask()) is None
    shared.close()


def test_no_room_means_inline(monkeypatch: pytest.MonkeyPatch, shared: SharedFrames) -> None:
    """A full /dev/shm is found when the region is made, not by a signal at the first write."""

    def fail(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    assert shared.place(ask()) is None
    assert list_files() == set()


def test_restarted_server_is_told_again(server: Regions, shared: SharedFrames) -> None:
    """The status of a forgotten region means: send inline; then the region is registered anew."""
    placed = place(shared, ask())
    shared.release(placed)
    server.known.clear()
    placed = place(shared, ask())
    assert shared.is_lost("NOT_FOUND", f"Unable to find shared memory region: '{placed.region}'")
    assert shared.place(ask()) is None
    shared.release(placed)
    again = place(shared, ask())
    assert again.region in server.known
    shared.release(again)


@pytest.mark.parametrize(
    ("status", "detail"),
    [("NOT_FOUND", "model 'moderation' is not found"), ("UNAVAILABLE", "shared memory region")],
)
def test_other_failures_are_no_loss(shared: SharedFrames, status: str, detail: str) -> None:
    """Only the one answer that says so makes the transport send a request twice."""
    assert not shared.is_lost(status, detail)


def test_close_leaves_nothing_behind(server: Regions, stub: Any) -> None:
    """Closing unregisters and unlinks; a region that is still in use goes with its release."""
    shared = SharedFrames(stub, KEY, headers=[("authorization", "t")])
    free, held = (place(shared, ask(frames(seed=seed))) for seed in (1, 2))
    shared.release(free)
    shared.close()
    shared.close()
    assert list_files() == set()
    until(lambda: set(server.known) == {held.region})  # unregistered behind the caller's back
    assert np.array_equal(server.read(held), frames(seed=2))
    shared.release(held)
    until(lambda: not server.known)
    assert shared.place(ask()) is None


def test_close_while_registering(server: Regions, stub: Any) -> None:
    """A region whose registration ends after the close is unregistered again."""
    server.hold = threading.Event()
    shared = SharedFrames(stub, KEY, headers=[("authorization", "t")])
    shared.place(ask())
    until(lambda: server.known)
    shared.close()
    assert list_files() == set()
    server.hold.set()
    until(lambda: not server.known)


def test_forgotten_object_leaves_no_file(stub: Any) -> None:
    """Without close(), the end of the object is the end of its files."""
    shared = SharedFrames(stub, KEY, headers=[("authorization", "t")])
    shared.release(place(shared, ask()))
    assert list_files()
    del shared
    # Its last call to the server holds it until it ends.
    until(lambda: gc.collect() >= 0 and not list_files())


LEAVER = """
import sys, time
import grpc, numpy as np
from tritonclient.grpc import service_pb2_grpc
from livewarden_client import Clip
from livewarden_client.request import build_request
from livewarden_client.shared_memory import SharedFrames
stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv[1]))
shared = SharedFrames(stub, sys.argv[2], headers=[("authorization", "t")])
request = build_request(Clip(frames_rgb=np.zeros((2, 512, 512, 3), np.uint8)), 5)
while not (placed := shared.place(request)):
    time.sleep(0.002)
if sys.argv[3] == "free":
    shared.release(placed)
print(placed.region)
"""


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("state", ["free", "busy"])
def test_caller_that_just_ends_leaves_no_file(server: Regions, state: str) -> None:
    """The end of the process is enough, whether or not a call is still on the wire."""
    ended = subprocess.run(
        [sys.executable, "-c", LEAVER, server.address, KEY, state],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert ended.stderr == ""
    assert set(server.known) == {ended.stdout.strip()}
    assert not Path("/dev/shm", ended.stdout.strip()).exists()


def test_memory_comes_back_although_the_server_maps_it() -> None:
    """Removing a region frees its pages at once; what maps it reads zeros, and does not die."""
    region = Region.create(4 * MIB)
    region.write(np.full(4 * MIB, 7, np.uint8))
    with Path("/dev/shm", region.name).open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4 * MIB)
        assert os.fstat(file.fileno()).st_blocks * 512 >= 4 * MIB
        region.remove()
        assert os.fstat(file.fileno()).st_blocks == 0
    assert mapped[:4] == bytes(4)
    region.remove()


CALLER = """
import os, signal, sys
from livewarden_client.shared_region import Region
region = Region.create(1 << 20)
print(region.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL) if sys.argv[1] == "kill" else sys.stdin.read()
"""


def test_killed_callers_region_goes_with_the_next_start(stub: Any) -> None:
    """A caller that died by SIGKILL leaves a file; whoever starts next removes it."""
    ended = subprocess.run(
        [sys.executable, "-c", CALLER, "kill"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    left = Path("/dev/shm", ended.stdout.strip())
    assert left.exists()
    SharedFrames(stub, KEY, headers=[("authorization", "t")]).close()
    assert not left.exists()


def test_living_callers_region_stays() -> None:
    """The lock of the owner, not its process id, keeps a region from the sweep."""
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as caller:
        assert caller.stdout is not None
        name = caller.stdout.readline().strip()
        sweep_regions()
        assert Path("/dev/shm", name).exists()
    sweep_regions()
    assert not Path("/dev/shm", name).exists()


def test_sweep_between_making_and_locking_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that another's sweep takes in its first moment is made anew."""
    lock, sweeps = fcntl.flock, []

    def interrupt(handle: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not sweeps:
            sweeps.append(handle)
            sweep_regions()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", interrupt)
    region = Region.create(MIB)
    assert sweeps
    assert list_files() == {region.name}
    region.remove()


def test_server_forgets_the_regions_of_the_dead(server: Regions, shared: SharedFrames) -> None:
    """Registered names of ours without a file are unregistered; foreign names are left alone."""
    dead = f"{PREFIX}1_dead"
    server.known |= {dead: mmap.mmap(-1, 1), "another": mmap.mmap(-1, 1)}
    placed = place(shared, ask())
    until(lambda: dead not in server.known)
    assert set(server.known) == {placed.region, "another"}
    shared.release(placed)


def test_forked_child_leaves_all_of_it_alone(server: Regions, shared: SharedFrames) -> None:
    """A child neither uses nor removes the regions of its parent."""
    shared.release(place(shared, ask()))
    owner, shared._owner = shared._owner, -1  # what a child sees: its own id is another one
    assert shared.place(ask()) is None
    shared.close()
    shared._owner = owner
    assert len(list_files()) == 1
    assert len(server.known) == 1


def test_many_threads_never_share_a_region(server: Regions, shared: SharedFrames) -> None:
    """With 8 threads, every placed request is read back as it was."""

    def once(seed: int) -> bool:
        request = ask(np.full((2, 512, 512, 3), seed, np.uint8))
        placed = shared.place(request)
        if placed is None:
            return True
        good = bool((server.read(placed) == seed).all())
        shared.release(placed)
        return good

    shared.release(place(shared, ask()))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(once, range(200)))

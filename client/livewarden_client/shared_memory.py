"""Decoded frames handed to a server of this machine through system shared memory.

A clip of eight 720x1280 frames is 22 MB of pixels. Inline, they are copied into the message, out
of it and through a socket; here they are copied once, and the message only names where they are.
The files are our own, not `tritonclient.utils.shared_memory`: that counts its handles in a global
without a lock, cannot say that there is no room, and knows nothing of owners that were killed.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
from tritonclient.grpc import service_pb2

from livewarden_client.shared_region import Region, is_gone, sweep_regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livewarden_client.request import Request

MIB: Final = 1024 * 1024
DEFAULT_LIMIT: Final = 256 * MIB
# Less than this is as fast inline.
MIN_BYTES: Final = MIB
# Seconds after a refusal until the server is asked again.
RETRY_PAUSE: Final = 30.0
CALL_TIMEOUT: Final = 5.0
CLOSE_TIMEOUT: Final = 1.0
HEADER: Final = "triton-grpc-protocol-livewarden-shared-memory"


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the frames of one request are: `byte_size` bytes from the start of `region`."""

    shape: tuple[int, ...]
    region: str
    byte_size: int

    def describe(self, tensor: Any) -> None:
        """Say so in `tensor`, a ModelInferRequest.InferInputTensor; it has no raw content then."""
        tensor.parameters["shared_memory_region"].string_param = self.region
        tensor.parameters["shared_memory_byte_size"].int64_param = self.byte_size


@dataclass(slots=True)
class _Slot:
    """A region, whether the server knows it, and whether a call on the wire uses it."""

    region: Region
    known: bool = False
    busy: bool = False


class SharedFrames:
    """A ring of shared regions, at most `limit` bytes, that one server knows.

    `stub` is the GRPCInferenceServiceStub of that server, `key` what it was started with. Regions
    are registered in the background: until one is there, and wherever none can be had (the server
    refuses, was restarted, is on another machine; all regions are in use), `place` gives None and
    the frames go inline. `headers` go with every call, like a token that a gateway wants. Safe to
    use from several threads. A forked child uses nothing of it.
    """

    def __init__(
        self,
        stub: Any,
        key: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        self._stub = stub
        self._headers = ((HEADER, key), *headers)
        self._limit = limit
        # Reentrant, because gRPC runs the callback of a call that has ended at once.
        self._lock = threading.RLock()
        self._slots: dict[str, _Slot] = {}
        self._registering = False
        self._paused_until = 0.0
        self._closed = False
        self._owner = os.getpid()
        self._at_exit = weakref.finalize(self, _remove_files, self._slots, self._owner)
        sweep_regions()

    def place(self, request: Request) -> Placed | None:
        """Copy the decoded frames of `request` to a free region; None where they go inline.

        The region stays in use until `release`.
        """
        pixels = request.frames_rgb
        if pixels is None or pixels.nbytes < MIN_BYTES or os.getpid() != self._owner:
            return None
        with self._lock:
            slot = self._take(pixels.nbytes)
            if slot is None:
                self._provide(pixels.nbytes)
                return None
        slot.region.write(pixels)
        return Placed(pixels.shape, slot.region.name, pixels.nbytes)

    def release(self, placed: Placed) -> None:
        """Give the region back: the call that used it has ended."""
        with self._lock:
            slot = self._slots[placed.region]
            slot.busy = False
            if self._closed:
                self._drop(slot)

    def is_lost(self, status: str, detail: str) -> bool:
        """Tell whether a call failed because its server forgot the region: it was restarted.

        `status` is the name of a grpc.StatusCode. Nothing was scored; send it again, inline.
        """
        if status != "NOT_FOUND" or "shared memory region" not in detail:
            return False
        with self._lock:
            for slot in self._slots.values():
                slot.known = False
            self._paused_until = 0.0
        return True

    def close(self) -> None:
        """Have the server forget the regions and remove them, before the channel is closed.

        Those that calls on the wire still use lose their name now and the rest in `release`.
        """
        if os.getpid() != self._owner:
            return
        with self._lock:
            first, self._closed = not self._closed, True
            calls = [self._drop(slot) for slot in list(self._slots.values()) if not slot.busy]
            for slot in self._slots.values():
                slot.region.unlink()
        if first:
            give_up = time.monotonic() + CLOSE_TIMEOUT
            for call in filter(None, calls):
                _wait(call, give_up - time.monotonic())

    def _take(self, byte_size: int) -> _Slot | None:
        """Take the smallest free region that holds `byte_size`."""
        fitting = [
            slot
            for slot in self._slots.values()
            if slot.known and not slot.busy and slot.region.byte_size >= byte_size
        ]
        slot = min(fitting, key=lambda slot: slot.region.byte_size, default=None)
        if slot is not None:
            slot.busy = True
        return slot

    def _provide(self, byte_size: int) -> None:
        """Begin to register a region for frames of `byte_size`, if that can be."""
        if self._closed or self._registering or time.monotonic() < self._paused_until:
            return
        idle = [slot for slot in self._slots.values() if not slot.busy]
        slot = next((s for s in idle if not s.known and s.region.byte_size >= byte_size), None)
        if slot is None:
            wanted = -(-byte_size // MIB) * MIB
            if not self._make_room(wanted, idle):
                return
            try:
                slot = _Slot(Region.create(wanted))
            except OSError:  # no room in /dev/shm, or no such folder
                self._pause()
                return
            self._slots[slot.region.name] = slot
        self._register(slot)

    def _make_room(self, wanted: int, idle: list[_Slot]) -> bool:
        """Drop as many of `idle` as a region of `wanted` bytes needs; tell whether it fits now."""
        free = self._limit - sum(slot.region.byte_size for slot in self._slots.values())
        if free + sum(slot.region.byte_size for slot in idle) < wanted:
            return False
        for slot in idle:
            if free >= wanted:
                break
            free += slot.region.byte_size
            self._drop(slot)
        return True

    def _register(self, slot: _Slot) -> None:
        name = slot.region.name
        message = service_pb2.SystemSharedMemoryRegisterRequest(
            name=name, key=f"/{name}", byte_size=slot.region.byte_size
        )
        call = self._start(self._stub.SystemSharedMemoryRegister, message)
        if call is None:
            self._drop(slot)
            return
        self._registering = True
        call.add_done_callback(partial(self._settle, slot))

    def _settle(self, slot: _Slot, call: Any) -> None:
        good = call.code() in {grpc.StatusCode.OK, grpc.StatusCode.ALREADY_EXISTS}
        with self._lock:
            self._registering = False
            if not good:
                self._pause()
                self._drop(slot)
            slot.known = good
        if good:
            # Among the stale is this very region, where it was closed in the meantime.
            self._ask_for_stale()

    def _ask_for_stale(self) -> None:
        """Have the server forget what killed callers have registered.

        It refuses while their last requests still run; then the next registration asks again. Of
        such a region nothing is left but the name: the sweep has given its memory back.
        """
        message = service_pb2.SystemSharedMemoryStatusRequest()
        call = self._start(self._stub.SystemSharedMemoryStatus, message)
        if call is not None:
            call.add_done_callback(self._unregister_stale)

    def _unregister_stale(self, call: Any) -> None:
        if call.code() is grpc.StatusCode.OK:
            for name in call.result().regions:
                # The server opens what lies here: a name without a file has no owner.
                if is_gone(name):
                    self._unregister(name)

    def _drop(self, slot: _Slot) -> Any | None:
        """Forget a region that is not in use; the call that tells the server so, if it must."""
        self._slots.pop(slot.region.name, None)
        call = self._unregister(slot.region.name) if slot.known else None
        slot.region.remove()
        return call

    def _unregister(self, name: str) -> Any | None:
        message = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        call = self._start(self._stub.SystemSharedMemoryUnregister, message)
        if call is not None:
            # A call without a callback is cancelled when nobody holds its future any more.
            call.add_done_callback(_ignore)
        return call

    def _start(self, method: Any, message: Any) -> Any | None:
        try:
            return method.future(message, timeout=CALL_TIMEOUT, metadata=self._headers)
        except ValueError:  # the channel is closed
            return None

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + RETRY_PAUSE


def _ignore(_: Any) -> None:
    """Leave a call to itself."""


def _wait(call: Any, timeout: float) -> None:
    try:
        call.result(max(0.0, timeout))
    except (grpc.RpcError, grpc.FutureTimeoutError, grpc.FutureCancelledError):
        return  # a server that is gone has forgotten


def _remove_files(slots: dict[str, _Slot], owner: int) -> None:
    """Remove what is left when a caller ends, or drops its client, without closing."""
    if os.getpid() == owner:
        for slot in slots.values():
            if slot.busy:
                slot.region.unlink()
            else:
                slot.region.remove()

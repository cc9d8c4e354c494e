"""A TCP proxy that does harm on request: it stands between a client and a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

_CHUNK = 16 * 1024
_SETTLE_S = 0.02


@dataclass
class Faults:
    """What the proxy does to bytes that pass; change it at any time, all connections follow.

    `latency_s` holds each chunk back, `bytes_per_s` slows both ways, `black_hole` swallows all.
    `cut_after` ends a connection once that many bytes went to the server; one connection only.
    """

    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    black_hole: bool = False
    cut_after: int | None = None


@dataclass
class Proxy:
    """Passes connections on a free port of the loopback to `target`, "HOST:PORT"."""

    target: str
    faults: Faults = field(default_factory=Faults)
    accepted: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen(0))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """Take no more connections, as a host does where nothing listens; reset the others."""
        self._run(self._unlisten())
        self.reset()

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._run(self._listen(int(self.address.rpartition(":")[2])))

    def reset(self) -> None:
        """End all connections with a TCP reset."""
        self._run(self._reset())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset(self) -> None:
        for writer in list(self._writers):
            _abort(writer)

    async def _stop(self) -> None:
        await self._unlisten()
        # Connections that were accepted just now reach `_pass` in the loop's next rounds.
        await asyncio.sleep(_SETTLE_S)
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(_SETTLE_S)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        ends = {writer}
        try:
            host, _, port = self.target.rpartition(":")
            up_reader, up_writer = await asyncio.open_connection(host, int(port))
            ends.add(up_writer)
            self._writers |= ends
            ways = (self._pump(reader, up_writer, up=True), self._pump(up_reader, writer, up=False))
            await asyncio.gather(*ways)
        except (OSError, asyncio.CancelledError):
            # Cancelled at the end of a test; asyncio would log a connection that ends so.
            _abort(writer)
        finally:
            for end in ends:
                end.transport.abort()
            self._writers -= ends
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                faults = self.faults
                if faults.latency_s:
                    await asyncio.sleep(faults.latency_s)
                if faults.bytes_per_s:
                    await asyncio.sleep(len(chunk) / faults.bytes_per_s)
                while self.faults.black_hole:  # noqa: ASYNC110 - a test flips it from its thread
                    await asyncio.sleep(0.05)
                if up and faults.cut_after is not None:
                    faults.cut_after -= len(chunk)
                    if faults.cut_after <= 0:
                        faults.cut_after = None
                        await self._reset()
                        return
                writer.write(chunk)
                await writer.drain()
        writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        # Lingering for no time makes close() send RST instead of FIN.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

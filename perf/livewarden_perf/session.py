"""One server under measurement: started here or running already, probed before it counts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from livewarden_ensemble.server import Server
from livewarden_ensemble.supervisor import Notice, Phase
from livewarden_ensemble.vitals import Timing
from livewarden_perf.clip_mix import ClipMix, ClipStock
from livewarden_perf.machine import describe_machine, describe_served
from livewarden_perf.open_loop import measure_overhead, run_open_loop, saturate
from livewarden_perf.schedule import draw_schedule
from livewarden_perf.served import TIMEOUT_S, ServedTarget, probe
from livewarden_perf.standard_clip import standard_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from livewarden_perf.open_loop import Overhead
    from livewarden_perf.samples import Floats, Samples
    from livewarden_perf.served import Answer

STANDARD: Final = ClipMix({"standard": 1.0})
DISTINCT: Final = 32
_WARM_UP_CALLERS: Final = 8
_WARM_UP_S: Final = 2.0


@dataclass(slots=True)
class Session:
    """A server that answers in full, the clips for it, and the generator's own cost.

    `pid` is tritonserver's, None where it is not known. `bundle` asks for another than the live
    one.
    """

    url: str
    machine: Mapping[str, str]
    overhead: Overhead
    announce: Callable[[str], None]
    distinct: int = DISTINCT
    pid: int | None = None
    bundle: str = ""
    _stocks: dict[str, ClipStock] = field(default_factory=dict)

    def get_stock(self, mix: ClipMix = STANDARD) -> ClipStock:
        """Get the clips of `mix`, made once."""
        key = str(mix)
        if key not in self._stocks:
            self.announce(f"Making {self.distinct} clips of each shape: {key}")
            self._stocks[key] = ClipStock(mix, self.distinct)
        return self._stocks[key]

    def load(
        self,
        due: Floats,
        seconds: float,
        *,
        stock: ClipStock | None = None,
        streams: int = 0,
        timeout_s: float = TIMEOUT_S,
        on_answer: Callable[[Answer], None] = lambda _answer: None,
    ) -> Samples:
        """Send clips when they are due."""
        with self._open_target(stock, streams, timeout_s, on_answer) as target:
            return run_open_loop(
                target, due, streams=streams, seconds=seconds, drain_s=timeout_s + _WARM_UP_S
            )

    def load_rate(
        self, rate: float, seconds: float, *, kind: str = "poisson", stock: ClipStock | None = None
    ) -> Samples:
        """Send independent clips at `rate` for `seconds`."""
        self.announce(f"Loading at {rate:.2f} clips/s for {seconds:g} s")
        return self.load(draw_schedule(kind, rate, seconds), seconds, stock=stock)

    def saturate(self, callers: int, seconds: float, *, stock: ClipStock | None = None) -> Samples:
        """Keep `callers` clips on their way for `seconds`."""
        self.announce(f"{callers} callers for {seconds:g} s")
        with self._open_target(stock, 0, TIMEOUT_S, lambda _answer: None) as target:
            return saturate(target, callers, seconds)

    def warm_up(self, seconds: float = _WARM_UP_S) -> None:
        """Let caches fill and every batch shape be compiled."""
        self.announce("Warming up")
        stock = self.get_stock()
        with self._open_target(stock, 0, TIMEOUT_S, lambda _answer: None) as target:
            saturate(target, _WARM_UP_CALLERS, seconds)

    @contextmanager
    def _open_target(
        self,
        stock: ClipStock | None,
        streams: int,
        timeout_s: float,
        on_answer: Callable[[Answer], None],
    ) -> Iterator[ServedTarget]:
        target = ServedTarget(
            self.url,
            stock or self.get_stock(),
            streams=streams,
            timeout_s=timeout_s,
            bundle=self.bundle,
            on_answer=on_answer,
        )
        try:
            yield target
        finally:
            target.close()


@contextmanager
def open_session(
    url: str | None,
    repository: Path,
    policy: Path | None,
    announce: Callable[[str], None],
    *,
    distinct: int = DISTINCT,
    bundle: str = "",
    canary_every_s: float = 1.0,
) -> Iterator[Session]:
    """Open a session on the server at `url`, or on one started on `repository` for as long.

    `canary_every_s` is how often a server that is started here sends itself a clip.
    Raises MeasurementInvalid where it does not score a standard clip in full, and ServerFailed.
    """
    machine, overhead = describe_machine(), measure_overhead()
    with _open_server(url, repository, policy, announce, canary_every_s) as (address, pid):
        answer = probe(address, standard_clip(0), bundle)
        machine |= describe_served(address, answer)
        session = Session(address, machine, overhead, announce, distinct, pid, bundle)
        session.warm_up()
        yield session


@contextmanager
def _open_server(
    url: str | None,
    repository: Path,
    policy: Path | None,
    announce: Callable[[str], None],
    canary_every_s: float,
) -> Iterator[tuple[str, int | None]]:
    if url is not None:
        yield url, None
        return
    announce("Starting the server")

    def tell(notice: Notice) -> None:
        # Figures of a server that was replaced meanwhile are those of its absence.
        if notice.phase is Phase.HEALING:
            announce(f"Warning: the server is being replaced: {notice.detail}")

    with Server(
        repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        policy=policy,
        # The load repeats its clips, which a server that remembers would not compute again.
        cache_mib=0,
        timing=Timing(canary_every_s=canary_every_s),
        tell=tell,
    ) as server:
        yield server.grpc_url, server.pid

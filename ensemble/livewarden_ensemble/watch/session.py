"""The session: a recording through a server of its own, once for each side that needs one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from livewarden_client.client import Client
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.server import Server
from livewarden_ensemble.watch.again import decide_again, read_stream, searches_content
from livewarden_ensemble.watch.cut import STREAM_ID, cut_recording
from livewarden_ensemble.watch.moment import Moment
from livewarden_ensemble.watch.run import watch_windows
from livewarden_ensemble.watch.stage import stage_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from livewarden_client.clip import Text

# The first clip may find the server's caches cold; a recording has time.
_TIMEOUT: Final = 30.0
_READY_SECONDS: Final = 120.0
_AUDIT: Final = "LIVEWARDEN_AUDIT"
_RECORDS: Final = "LIVEWARDEN_RECORDS"

Way = Literal["sent", "decided again"]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A video with its texts by window, and how it is cut; `place` are the stream's own fields.

    `place` maps `region`, `surface`, `audience` and `room` to their values. `began_ms` is the Unix
    time of second 0: rules with a date look at it, and both sides of a comparison share it.
    """

    video: Path
    texts: Mapping[int, Sequence[Text]]
    every_ms: int
    frames: int
    place: Mapping[str, str]
    began_ms: int

    def watch(self, url: str) -> Iterator[Moment]:
        """Send it to the server at `url` as one stream; a failed call is the client's review."""
        windows = cut_recording(
            self.video,
            self.texts,
            every_ms=self.every_ms,
            frames=self.frames,
            began_ms=self.began_ms,
        )
        with Client(url, timeout=_TIMEOUT) as client:
            stream = client.open_stream(
                STREAM_ID,
                region=self.place.get("region", ""),
                surface=self.place.get("surface", ""),
                audience=self.place.get("audience", ""),
                room=self.place.get("room", ""),
            )
            yield from watch_windows(stream, windows)


@dataclass(frozen=True, slots=True)
class Judge:
    """What judges a rehearsal: a policy file, and a bundle's folder unless it is the live one."""

    policy: Path
    bundle: Path | None = None


Show = Callable[[Iterable[Moment]], tuple[Moment, ...]]


def watch_sides(
    rehearsal: Rehearsal, repository: Path, judges: Sequence[Judge], show: Sequence[Show]
) -> list[tuple[tuple[Moment, ...], Way]]:
    """Watch `recording` under each of `judges`, and say of each side how it came about.

    `show` are as many, and see each side's moments as they come. A judge with the bundle of the
    first one and lists of neither is not asked anew: its verdicts follow from the scores. Raises
    ServerFailed, PolicyInvalid, BundleInvalid and InvalidRequest.
    """
    sides: list[tuple[tuple[Moment, ...], Way]] = []
    # All of them before anything is started, lest the second side fail after a long first one.
    policies = [load_policy(judge.policy) for judge in judges]
    with tempfile.TemporaryDirectory(prefix="livewarden-watch-") as scratch:
        folder = Path(scratch)
        served = [
            _stage(judge, repository, folder / f"repository-{number}")
            for number, judge in enumerate(judges)
        ]
        by_scores = not any(map(searches_content, policies))
        for number, (judge, see) in enumerate(zip(judges, show, strict=True)):
            if sides and by_scores and judge.bundle == judges[0].bundle:
                recorded = read_stream(folder / "records-0")
                again = decide_again(sides[0][0], recorded, policies[number])
                sides.append((see(again), "decided again"))
                continue
            with serve(served[number], judge.policy, folder / f"records-{number}") as server:
                sides.append((see(rehearsal.watch(server.grpc_url)), "sent"))
    return sides


def _stage(judge: Judge, repository: Path, stage: Path) -> Path:
    """The repository that serves the judge's bundle."""
    if judge.bundle is None:
        return repository
    stage.mkdir()
    stage_bundle(judge.bundle, repository, stage)
    return stage


@contextmanager
def serve(repository: Path, policy: Path, records: Path) -> Iterator[Server]:
    """Serve `repository` under `policy` on free ports of the loopback; records go to `records`."""
    # A rehearsal has no place in the operator's audit log or among the records of real streams.
    with _environment({_AUDIT: None, _RECORDS: str(records)}):
        server = Server(repository, grpc_port=0, http_port=0, metrics_port=0, policy=policy)
        server.start()
        try:
            server.wait_ready(_READY_SECONDS)
            yield server
        finally:
            server.close()


def tell_time() -> int:
    """The Unix time in ms."""
    return round(time.time() * 1000)


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables of this process, or take them out, for as long as the block runs."""
    before = {name: os.environ.get(name) for name in values}

    def put(name: str, value: str | None) -> None:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    try:
        for name, value in values.items():
            put(name, value)
        yield
    finally:
        for name, value in before.items():
            put(name, value)

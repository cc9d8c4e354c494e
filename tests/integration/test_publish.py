"""Publish and roll back on a real server under load; what a killed publish leaves."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from bundle_variant import make_repository, make_variant
from link import link_or_copy

from livewarden_client import Client, Clip, Text
from livewarden_client.wire import FUSION_CLASSIFIER, LEAVES, MODERATION
from livewarden_ensemble.bundle import load_bundle, read_pointer
from livewarden_ensemble.canary import draw_frame
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.errors import LivewardenError, ServerFailed
from livewarden_ensemble.integrity import check_repository, find_orphans
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.server import Server
from livewarden_export.bundle import (
    LEAVES_FOLDER,
    MANIFEST,
    OPENVINO_FOLDER,
    SBOM,
    Bundle,
    read_bundle,
    seal_bundle,
    stage_bundle,
)
from livewarden_export.publish import put_live, roll_back, share_streams
from livewarden_export.repository import find_pointer
from livewarden_export.status import describe_service

# ruff: noqa: T201 - the figures are what these tests are for
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
TEXT = "you are worthless, nobody wants you here"
CYCLES = 20


@pytest.fixture(scope="module")
def bundles(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """The live bundle and two like it, whose fusion heads score texts lower and lower."""
    live = load_bundle(repository / MODERATION.name)
    first = read_bundle(live.folder)
    folder = tmp_path_factory.mktemp("bundles")
    return [first, *(make_variant(first, folder, shift) for shift in (1.0, 2.0))]


def make_unusable(bundle: Bundle, bundles: Path) -> Bundle:
    """A bundle with every hash right, one leaf of which no runtime can load."""
    graph = f"{LEAVES_FOLDER}/{FUSION_CLASSIFIER.name}/{OPENVINO_FOLDER}/model.xml"
    with stage_bundle(bundles) as staged:
        for path in bundle.folder.rglob("*"):
            name = path.relative_to(bundle.folder).as_posix()
            if path.is_file() and name not in {MANIFEST, SBOM, graph}:
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, staged / name)
        (staged / graph).write_text("<net/>")
        facts = {k: v for k, v in bundle.manifest.items() if k not in {"files", "digest"}}
        return seal_bundle(staged, facts)


@pytest.fixture(scope="module")
def golden(
    bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """The scores of the load's clip by each bundle, in this process, one thread."""
    scores = {}
    for bundle in bundles:
        repository = make_repository(tmp_path_factory.mktemp("golden"))
        put_live(bundle, repository)
        pipeline = Pipeline(
            load_bundle(repository / MODERATION.name),
            load_policy(ROOT / "policies/default.yaml"),
            LocalLeaves(repository, threads=1),
            server="local",
        )
        context = json.dumps({"texts": [{"kind": "chat"}]}).encode()
        [outcome] = pipeline.moderate([RawClip(context, [draw_frame()], [TEXT.encode()])])
        scores[bundle.id] = outcome.scores
    return scores


@pytest.fixture
def own_repository(tmp_path: Path, bundles: list[Bundle]) -> Path:
    """A repository that serves the first bundle."""
    repository = make_repository(tmp_path)
    put_live(bundles[0], repository)
    return repository


def serve(repository: Path, **settings) -> Server:
    return Server(
        repository,
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        policy=ROOT / "policies/default.yaml",
        **settings,
    )


class Load:
    """Threads that ask one clip after the other, each of a stream of its own."""

    def __init__(self, url: str, threads: int = 4) -> None:
        self.answers: list[tuple[float, float, str, np.ndarray]] = []
        self.errors: list[str] = []
        self.sent = 0
        self._url = url
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(index,)) for index in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        with Client(self._url, timeout=60, on_failure="raise") as client:
            for number in itertools.count():
                if self._stop.is_set():
                    break
                clip = Clip([draw_frame()], [Text("chat", TEXT)], stream_id=f"{index}-{number}")
                self.sent += 1
                start = time.monotonic()
                try:
                    verdict = client.moderate(clip)
                except Exception as error:  # noqa: BLE001 - any of them is a lost clip
                    self.errors.append(f"{type(error).__name__}: {error}")
                    continue
                scores = np.array([label.score for label in verdict.labels])
                self.answers.append((start, time.monotonic(), verdict.provenance.bundle, scores))


def test_20_publishes_and_rollbacks_under_load_lose_nothing(
    own_repository: Path, bundles: list[Bundle], golden: dict[str, np.ndarray]
) -> None:
    """Every clip gets one verdict, wholly by one bundle; real loads happen beside what serves."""
    first, second, third = bundles
    took: dict[str, list[float]] = {"publish and load": [], "publish again": [], "rollback": []}
    flips: list[tuple[float, float]] = []
    with serve(own_repository) as server, Load(server.grpc_url) as load:
        time.sleep(3)
        quiet_until = time.monotonic()
        loaded = None
        for cycle in range(CYCLES):
            target = third if cycle == CYCLES // 2 else second
            start = time.monotonic()
            put_live(target, own_repository)
            kind = "publish again" if loaded == target else "publish and load"
            took[kind].append(time.monotonic() - start)
            loaded = target
            time.sleep(0.3)
            start = time.monotonic()
            assert roll_back(own_repository).bundle == first.id
            took["rollback"].append(time.monotonic() - start)
            flips.append((start, time.monotonic()))
            time.sleep(0.3)
            assert server.phase == "ready"
        restarts = server.restarts
    latencies = np.array([end - start for start, end, _, _ in load.answers])
    quiet = np.array([b - a for a, b, _, _ in load.answers if b < quiet_until])
    ends = np.sort([end for _, end, _, _ in load.answers])
    near = [
        end - start
        for start, end, _, _ in load.answers
        if any(start < after + 0.25 and end > before for before, after in flips)
    ]
    for kind, values in took.items():
        print(f"{kind}: {len(values)}x, median {np.median(values):.3f} s, max {max(values):.3f} s")
    print(f"clips {load.sent}, by bundle {Counter(bundle for _, _, bundle, _ in load.answers)}")
    print(
        f"latency before: p50 {np.median(quiet):.3f} max {quiet.max():.3f} s; "
        f"all the while: p50 {np.median(latencies):.3f} p99 {np.quantile(latencies, 0.99):.3f} "
        f"max {latencies.max():.3f} s; around rollbacks: max {max(near):.3f} s; "
        f"longest time without any verdict {np.diff(ends).max():.3f} s"
    )
    assert load.errors == []
    assert len(load.answers) == load.sent
    assert {bundle for _, _, bundle, _ in load.answers} == set(golden)
    for _, _, bundle, scores in load.answers:
        np.testing.assert_allclose(scores, golden[bundle], atol=5e-3)
    assert restarts == 0


def ask(url: str, stream: str) -> str:
    """The bundle that answers a clip of `stream`."""
    with Client(url, timeout=60, on_failure="raise") as client:
        clip = Clip([draw_frame()], [Text("chat", TEXT)], stream_id=stream)
        return client.moderate(clip).provenance.bundle


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_canary_shadow_and_refusals_on_one_server(
    own_repository: Path, bundles: list[Bundle], tmp_path: Path
) -> None:
    """A canary answers its streams only; a shadow answers nobody and is counted."""
    first, second, _ = bundles
    with serve(own_repository) as server:
        share_streams(second, own_repository, "canary", 50, print)
        streams = [f"stream-{n}" for n in range(24)]
        answered = {stream: ask(server.grpc_url, stream) for stream in streams}
        assert set(answered.values()) == {first.id, second.id}
        assert answered == {stream: ask(server.grpc_url, stream) for stream in streams}

        share_streams(second, own_repository, "canary", 0, print)
        assert {ask(server.grpc_url, stream) for stream in streams} == {first.id}
        # The canary's stubs end in good order, and nobody takes that for a death.
        wait_until(lambda: len(server.stub_pids) == 2 + len(LEAVES))

        share_streams(second, own_repository, "shadow", 100, print)
        assert {ask(server.grpc_url, stream) for stream in streams} == {first.id}

        def compared() -> float:
            [shown] = describe_service(own_repository)["servers"]
            return sum(row["compared"] + row["dropped"] for row in shown["shadows"])

        # Triton refreshes what its metrics endpoint shows every two seconds.
        wait_until(lambda: compared() >= len(streams))
        [shown] = describe_service(own_repository)["servers"]
        [row] = shown["shadows"]
        print(row, shown["clips"])
        assert row["bundle"] == second.id
        assert row["failed"] == 0
        assert row["mean_difference"] > 0.01
        by_live = sum(c["clips"] for c in shown["clips"] if c["role"] == "live")
        assert by_live >= 2 * len(streams)

        broken = tmp_path / second.id
        shutil.copytree(second.folder, broken)
        (broken / "tokenizer.json").write_text("{}")
        with pytest.raises(LivewardenError, match=r"tokenizer\.json"):
            put_live(read_bundle(broken), own_repository)
        assert ask(server.grpc_url, "s") == first.id

        before = find_pointer(own_repository)
        with pytest.raises(ServerFailed, match="could not load fusion_classifier"):
            put_live(make_unusable(first, tmp_path), own_repository)
        assert find_pointer(own_repository) == before
        assert find_orphans(own_repository) == []
        assert ask(server.grpc_url, "s") == first.id
        assert server.restarts == 0


def test_publish_killed_beside_a_server_leaves_it_whole(
    own_repository: Path, bundles: list[Bundle]
) -> None:
    """SIGKILL while staging, loading, trying: one whole bundle answers; the next one cleans up."""
    first, second, _ = bundles
    dice = random.Random(7)
    with serve(own_repository) as server:
        for moment in (0.5, *(dice.uniform(1, 8) for _ in range(3))):
            kill_after(moment, own_repository, second)
            assert ask(server.grpc_url, "s") == find_pointer(own_repository).bundle
        put_live(second, own_repository)
        assert ask(server.grpc_url, "s") == second.id
        assert find_orphans(own_repository) == []
        assert server.restarts == 0
        put_live(first, own_repository)
        kill_after(2.0, own_repository, bundles[2])
    check_repository(own_repository)
    assert find_orphans(own_repository) == []
    with serve(own_repository) as server:
        assert ask(server.grpc_url, "s") == read_pointer(own_repository / "moderation").bundle


def kill_after(seconds: float, repository: Path, bundle: Bundle) -> None:
    """Publish in a process of its own, and kill that with SIGKILL."""
    script = (
        "import sys; from pathlib import Path\n"
        "from livewarden_export.bundle import read_bundle\n"
        "from livewarden_export.publish import put_live\n"
        "b = read_bundle(Path(sys.argv[1])); print('go', flush=True)\n"
        "put_live(b, Path(sys.argv[2]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(bundle.folder), str(repository)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)


def test_server_refuses_what_was_changed_or_not_signed(own_repository: Path, keys: Path) -> None:
    """Nothing is loaded; the error names the file, or how to sign."""
    with (
        pytest.raises(ServerFailed, match=r"signature\.json: is missing.*bundle sign"),
        serve(own_repository, require_signature=keys / "release.pub"),
    ):
        pass
    weights = own_repository / "text_encoder/1/model.bin"
    weights.unlink()  # the link alone
    weights.write_bytes(b"other")
    with (
        pytest.raises(ServerFailed, match=r"text_encoder/1/model\.bin: was changed"),
        serve(own_repository),
    ):
        pass

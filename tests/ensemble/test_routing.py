from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from livewarden_client.wire import LEAVES
from livewarden_ensemble.bundle import POINTER, Pointer, Release, Share
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.errors import BundleInvalid
from livewarden_ensemble.routing import Router, choose_bundle, derive_server_key, falls_in


def release(bundle: str) -> Release:
    return Release(bundle, f"../{bundle}", {leaf.name: "1" for leaf in LEAVES})


def point(**others) -> Pointer:
    live = release("aa")
    return Pointer(live.bundle, live.path, live.versions, **others)


def context(**fields) -> bytes:
    return json.dumps(fields).encode()


KEY = derive_server_key("secret")


def ask(bundle: str, key: str = KEY) -> dict[str, str]:
    return {"bundle": bundle, "server_key": key}


ALL = point(
    previous=release("bb"), canary=Share(release("cc"), 100), shadow=Share(release("dd"), 100)
)


@pytest.mark.parametrize(
    ("pointer", "raw", "expected"),
    [
        (point(), context(stream_id="s"), ("aa", "live", None)),
        (ALL, context(stream_id="s"), ("cc", "canary", "dd")),
        (ALL, context(), ("aa", "live", None)),
        (ALL, context(stream_id="s", options=ask("bb")), ("bb", "previous", None)),
        (ALL, context(stream_id="s", options=ask("ee")), ("aa", "live", None)),
        (ALL, context(stream_id="s", options={"bundle": "bb"}), ("cc", "canary", "dd")),
        (ALL, context(options=ask("bb", "5bad")), ("aa", "live", None)),
        (ALL, context(options=ask("bb", "")), ("aa", "live", None)),
        (ALL, context(stream_id="s", options={"canary": True}), ("aa", "live", None)),
        (ALL, b"{", ("aa", "live", None)),
        (ALL, context(stream_id=5), ("aa", "live", None)),
        (point(candidate=release("bb")), context(stream_id="s"), ("aa", "live", None)),
        (point(previous=release("bb")), context(stream_id="s"), ("aa", "live", None)),
    ],
)
def test_who_answers(pointer: Pointer, raw: bytes, expected: tuple[str, str, str | None]):
    """The routing as a table: callers meet live and canary, others by name and key."""
    assert choose_bundle(pointer, raw, KEY) == expected


def test_without_a_key_nobody_names_a_bundle():
    """A server that was given no key takes none, an empty one least of all."""
    for key in ("", KEY):
        assert choose_bundle(ALL, context(options=ask("bb", key)), "") == ("aa", "live", None)


def test_key_is_of_one_server_alone():
    """The key follows from the admin secret, and does not give it away."""
    assert derive_server_key("s") == derive_server_key("s") != derive_server_key("t")
    assert len(derive_server_key("s")) == 32


def test_a_share_is_that_part_of_the_streams_and_stays():
    """5 percent is 5 percent of many streams, each always on the same side."""
    share = Share(release("cc"), 5)
    streams = [f"stream-{n}" for n in range(20_000)]
    inside = [stream for stream in streams if falls_in(share, stream, "canary")]
    assert len(inside) == pytest.approx(1000, rel=0.15)
    assert all(falls_in(share, stream, "canary") for stream in inside)
    # A wider share holds the narrower one; another bundle draws others.
    assert all(falls_in(Share(release("cc"), 6), stream, "canary") for stream in inside)
    other = sum(falls_in(Share(release("dd"), 5), stream, "canary") for stream in inside)
    assert other < len(inside) / 2


class FakePipeline:
    """Answers with its bundle and the context."""

    def __init__(self, bundle) -> None:
        self.bundle = bundle.digest

    def moderate(self, clips):
        """One pair per clip."""
        return [(self.bundle, clip.context) for clip in clips]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of `moderation`, and three bundles."""
    for name in ("aa", "bb", "cc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "calibration.json").write_text('{"id":"c","supported":{}}')
        (tmp_path / name / "tokenizer.json").write_text("{}")
    (tmp_path / "moderation").mkdir()
    return tmp_path / "moderation"


def write(folder: Path, pointer: Pointer) -> None:
    staged = folder / "new"
    staged.write_bytes(msgspec.json.encode(pointer))
    staged.replace(folder / POINTER)


def test_each_clip_comes_back_in_its_place_from_its_bundle(folder: Path):
    """A batch that a canary splits is put together again in order."""
    write(folder, point(canary=Share(release("cc"), 50)))
    router = Router(folder, FakePipeline, pytest.fail)
    clips = [RawClip(context(stream_id=f"s{n}", clip_seq=n)) for n in range(40)]
    answers = router.moderate(clips)
    for clip, answer in zip(clips, answers, strict=True):
        assert answer.outcome == (answer.bundle, clip.context)
        assert (answer.bundle, answer.role) in {("aa", "live"), ("cc", "canary")}
    assert set(Counter(answer.bundle for answer in answers)) == {"aa", "cc"}


def test_the_next_batch_after_a_switch_is_by_the_new_bundle(folder: Path):
    """The pointer is looked at before each batch, and pipelines it does not name are let go."""
    write(folder, point())
    made = []
    router = Router(folder, lambda b: made.append(b.digest) or FakePipeline(b), pytest.fail)
    assert router.moderate([RawClip(b"{}")])[0].bundle == "aa"
    other = release("bb")
    write(folder, Pointer(other.bundle, other.path, other.versions, previous=release("aa")))
    assert router.moderate([RawClip(b"{}")])[0].bundle == "bb"
    write(folder, point(previous=release("bb")))
    assert router.moderate([RawClip(b"{}")])[0].bundle == "aa"
    assert made == ["aa", "bb"]


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"bundle":"zz","path":"../zz","versions":{}}', None])
def test_a_pointer_that_cannot_be_used_changes_nothing(folder: Path, raw: bytes | None):
    """The bundles before it go on answering, and the log hears of it once."""
    write(folder, point())
    told: list[str] = []
    router = Router(folder, FakePipeline, told.append)
    (folder / POINTER).unlink()
    if raw is not None:
        (folder / POINTER).write_bytes(raw)
    for _ in range(3):
        assert router.moderate([RawClip(b"{}")])[0].bundle == "aa"
    assert len(told) == 1


def test_without_a_first_pointer_there_is_no_router(folder: Path):
    """A start without a bundle fails, and names the file."""
    with pytest.raises(BundleInvalid, match=POINTER):
        Router(folder, FakePipeline, pytest.fail)

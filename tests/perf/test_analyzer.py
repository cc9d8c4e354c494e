import hashlib
import zipfile

import pytest

from livewarden_perf import analyzer as module
from livewarden_perf.analyzer import find_analyzer, unpack_wheel
from livewarden_perf.errors import AnalyzerMissing

STARTS = "#!/bin/sh\necho 'Perf Analyzer Version 9.8.7 (commit unknown)' >&2\n"
BROKEN = "#!/bin/sh\necho 'version GLIBC_2.38 not found' >&2\nexit 1\n"


def place(file, script):
    """Write an executable script."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(script)
    file.chmod(0o755)
    return file


def place_cached(cache, script):
    """Place a binary where an installation would have put it."""
    return place(cache / "perf_analyzer-2.51.0/bin/perf_analyzer", script)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    """No test downloads, and none sees this machine's own perf_analyzer."""

    def refuse(folder):
        raise AnalyzerMissing(f"asked to download into {folder.parent.name}")

    monkeypatch.setattr(module, "_download", refuse)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))


def make_wheel(folder):
    """Make a wheel laid out as tritonclient's."""
    wheel = folder / "tritonclient.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tritonclient-2.51.0.data/data/bin/perf_analyzer", STARTS)
    return wheel


def test_the_one_on_the_path_comes_first(tmp_path):
    """A user's own perf_analyzer is used as it is."""
    own = place(tmp_path / "path/perf_analyzer", STARTS)
    place_cached(tmp_path / "cache", STARTS)
    found = find_analyzer(tmp_path / "cache")
    assert (found.binary, found.version, found.libraries) == (own, "9.8.7", None)


@pytest.mark.parametrize("script", [BROKEN, STARTS + "exit 1\n", "no program"])
def test_one_that_does_not_start_is_passed_over(tmp_path, script):
    """The PyPI package on an older glibc must not hide the one that works."""
    place(tmp_path / "path/perf_analyzer", script)
    cached = place_cached(tmp_path / "cache", STARTS)
    found = find_analyzer(tmp_path / "cache")
    assert found.binary == cached
    assert found.libraries == cached.parents[1] / "lib"


def test_a_cached_one_is_not_installed_again(tmp_path):
    """The second run needs no network and announces nothing."""
    place_cached(tmp_path / "cache", STARTS)
    said = []
    find_analyzer(tmp_path / "cache", said.append)
    assert said == []


def test_a_cached_one_that_broke_says_why_and_what_to_do(tmp_path):
    """The binary's own complaint is in the message."""
    place_cached(tmp_path / "cache", BROKEN)
    with pytest.raises(AnalyzerMissing, match=r"GLIBC_2\.38 not found\. Delete .*2\.51\.0"):
        find_analyzer(tmp_path / "cache")


def test_a_failed_installation_leaves_nothing_behind(tmp_path):
    """Half an installation would be taken for a whole one the next time."""
    said = []
    with pytest.raises(AnalyzerMissing, match="asked to download into cache"):
        find_analyzer(tmp_path / "cache", said.append)
    assert len(said) == 1
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_installation_holds_binary_and_libraries(tmp_path, monkeypatch):
    """Both libraries that the binary lacks lie under the names that it loads."""
    wheel = make_wheel(tmp_path)
    unpack = module.unpack_wheel
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "_download", lambda _folder: wheel)
    monkeypatch.setattr(module, "unpack_wheel", lambda file, tree: unpack(file, tree, digest))
    found = find_analyzer(tmp_path / "cache")
    assert found.version == "9.8.7"
    assert {file.name for file in found.libraries.iterdir()} == {"libb64.so.0d", "libcudart.so.12"}
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["perf_analyzer-2.51.0"]


def test_another_wheel_than_the_pinned_one_is_refused(tmp_path):
    """What an index hands out is unpacked only if it is the file that was looked at."""
    with pytest.raises(AnalyzerMissing, match=r"has the sha256 [0-9a-f]{64}, not c485bb01"):
        unpack_wheel(make_wheel(tmp_path), tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_the_cache_folder_follows_xdg(tmp_path, monkeypatch):
    """XDG_CACHE_HOME moves it; without it, it lies in ~/.cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module._find_cache() == tmp_path / "livewarden"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module._find_cache() == tmp_path / ".cache/livewarden"

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from livewarden_ensemble import policy_watcher
from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.policy import Policy, load_policy
from livewarden_ensemble.policy_watcher import PolicyWatcher

TEXT = """\
policy: {{id: a, version: "{version}", taxonomy: t1.0}}
defaults: {{thresholds: {{review: {review}}}}}
labels: {{}}
blocklists: {{words: {{label: hate, file: words.txt}}}}
"""


class Told:
    """What a watcher tells."""

    def __init__(self) -> None:
        self.policies: list[Policy] = []
        self.errors: list[PolicyInvalid] = []
        self.mended = 0

    def mend(self) -> None:
        """Count."""
        self.mended += 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "words.txt").write_text("bad\n")
    path = tmp_path / "policy.yaml"
    write(path, "1")
    return path


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watcher(path: Path, told: Told) -> PolicyWatcher:
    return PolicyWatcher(
        path,
        interval=0.02,
        on_reloaded=told.policies.append,
        on_refused=told.errors.append,
        on_mended=told.mend,
    )


def write(path: Path, version: str, review: str = "0.5") -> None:
    """Replace the file as editors and deployments do: at once."""
    draft = path.with_suffix(".new")
    draft.write_text(TEXT.format(version=version, review=review))
    draft.replace(path)


def test_nothing_changed(watcher: PolicyWatcher, told: Told, path: Path) -> None:
    """Looking again, or at a file that was only touched, is no reload."""
    assert not watcher.check()
    os.utime(path)
    assert not watcher.check()
    assert (watcher.reloads, told.policies) == (0, [])


def test_a_changed_file_is_taken_over(watcher: PolicyWatcher, told: Told, path: Path) -> None:
    """The new policy decides, and is told once."""
    write(path, "2")
    assert watcher.check()
    assert (watcher.policy.version, watcher.reloads) == ("2", 1)
    assert told.policies == [watcher.policy]
    assert not watcher.check()


def test_a_change_of_the_same_size_in_the_same_instant(
    watcher: PolicyWatcher, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is as long and as old as before is still read while it is fresh."""
    # As on a file system whose clock ticks slower than files are written.
    stat = path.stat()
    monkeypatch.setattr(Path, "stat", lambda _self: stat)
    watcher.check()
    path.write_text(TEXT.format(version="9", review="0.5"))
    assert watcher.check()
    assert watcher.policy.version == "9"


def test_a_list_beside_it_is_part_of_it(watcher: PolicyWatcher, path: Path) -> None:
    """A changed file of phrases makes a new policy, with another digest."""
    before = watcher.policy.digest
    path.with_name("words.txt").write_text("bad\nworse\n")
    assert watcher.check()
    assert watcher.policy.digest != before
    assert len(watcher.policy.matcher.lists["words"].phrases) == 2


def test_a_bad_file_is_refused_once_and_the_good_one_stays(
    watcher: PolicyWatcher, told: Told, path: Path
) -> None:
    """The refusal names line and column; mending the file ends it."""
    good = watcher.policy
    write(path, "2", review="7")
    for _ in range(3):
        assert not watcher.check()
    assert watcher.policy is good
    assert (watcher.refusals, watcher.is_stale, len(told.errors)) == (1, True, 1)
    assert "policy.yaml:2:25: defaults.thresholds.review: " in str(told.errors[0])
    write(path, "2", review="8")
    watcher.check()
    assert watcher.refusals == 1  # the same fault at the same place
    write(path, "3")
    assert watcher.check()
    assert (watcher.policy.version, watcher.is_stale) == ("3", False)


def test_going_back_to_the_good_file_ends_the_refusal(
    watcher: PolicyWatcher, told: Told, path: Path
) -> None:
    """The file that decides already is no reload, and nothing is stale any more."""
    text = path.read_text()
    path.write_text("nonsense")
    watcher.check()
    path.write_text(text)
    assert not watcher.check()
    assert (watcher.is_stale, watcher.reloads, told.policies) == (False, 0, [])
    assert (told.mended, len(told.errors)) == (1, 1)
    assert not watcher.check()
    assert told.mended == 1


def test_a_file_that_was_missing_comes_later(watcher: PolicyWatcher, path: Path) -> None:
    """A policy that names a list which is deployed after it is tried again."""
    path.write_text(TEXT.format(version="2", review="0.5").replace("words.txt", "later.txt"))
    assert not watcher.check()
    path.with_name("later.txt").write_text("late\n")
    assert watcher.check()
    assert watcher.policy.matcher.lists["words"].phrases == ["late"]


def test_a_removed_file_is_a_refusal(watcher: PolicyWatcher, path: Path) -> None:
    """The policy in memory outlives its file."""
    path.unlink()
    assert not watcher.check()
    assert (watcher.is_stale, watcher.policy.version) == (True, "1")


def test_the_thread_picks_changes_up(watcher: PolicyWatcher, path: Path) -> None:
    """Started, it looks by itself; stopped, it no longer does."""
    watcher.start()
    write(path, "2")
    deadline = time.monotonic() + 20
    while watcher.policy.version != "2" and time.monotonic() < deadline:
        time.sleep(0.01)
    watcher.stop()
    assert watcher.policy.version == "2"
    write(path, "3")
    assert not watcher._thread.is_alive()
    assert watcher.policy.version == "2"


def test_a_bad_file_at_the_start_is_an_error(path: Path) -> None:
    """There is no last good policy yet: the server does not start."""
    path.write_text("nonsense")
    with pytest.raises(PolicyInvalid):
        PolicyWatcher(path)


def load_and_then(change: Callable[[], object]) -> Callable[[Path], Policy]:
    """A `load_policy` after which, the first time, the files change at once."""
    changes = [change]

    def load(path: Path) -> Policy:
        policy = load_policy(path)
        if changes:
            changes.pop()()
        return policy

    return load


def test_a_change_right_after_the_first_reading_is_seen(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was read decides, and the one that replaced it is a change."""
    load = load_and_then(lambda: write(path, "2"))
    monkeypatch.setattr(policy_watcher, "load_policy", load)
    watcher = PolicyWatcher(path)
    assert watcher.policy.version == "1"
    assert watcher.check()
    assert watcher.policy.version == "2"
    assert not watcher.check()


def test_a_list_that_is_new_and_changes_while_it_is_read_is_seen(
    watcher: PolicyWatcher, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a new policy brings is compared with what was read of it; old ones are let go."""
    other = path.with_name("other.txt")
    other.write_text("first\n")
    path.write_text(path.read_text().replace("words.txt", "other.txt"))
    load = load_and_then(lambda: other.write_text("second\n"))
    monkeypatch.setattr(policy_watcher, "load_policy", load)
    assert watcher.check()
    assert watcher.policy.matcher.lists["words"].phrases == ["first"]
    assert watcher.check()
    assert watcher.policy.matcher.lists["words"].phrases == ["second"]
    monkeypatch.setattr(policy_watcher, "load_policy", lambda _: pytest.fail("nothing changed"))
    assert not watcher.check()


def test_an_error_of_our_own_is_a_refusal_and_no_end(
    watcher: PolicyWatcher, told: Told, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a policy makes the reader do, the thread goes on, and says that it is stale."""

    def break_down(_path: Path) -> Policy:
        raise MemoryError("words of the file")

    monkeypatch.setattr(policy_watcher, "load_policy", break_down)
    watcher.start()
    write(path, "2")
    deadline = time.monotonic() + 20
    while not told.errors and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watcher.is_stale
    assert [str(error) for error in told.errors] == [f"{path}: cannot be taken over: MemoryError"]
    monkeypatch.undo()
    while watcher.policy.version != "2" and time.monotonic() < deadline:
        time.sleep(0.01)
    watcher.stop()
    assert (watcher.policy.version, watcher.is_stale, told.mended) == ("2", False, 1)

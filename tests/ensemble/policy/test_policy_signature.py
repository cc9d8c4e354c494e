from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from livewarden_ensemble.cli_policy import policy as command
from livewarden_ensemble.errors import PolicyInvalid
from livewarden_ensemble.policy import load_policy
from livewarden_ensemble.policy_watcher import PolicyWatcher
from livewarden_ensemble.signature import (
    locate_signature,
    sign_policy,
    verify_policy_signature,
)

TEXT = """\
policy: {id: live, version: "1", taxonomy: t1.0}
defaults: {thresholds: {review: 0.5}}
labels: {}
blocklists: {words: {label: hate, file: lists/words.txt}}
hash_banks: {known: {label: violence, file: known.pdq}}
shadow: [{file: next.yaml}]
# end
"""
NEXT = """\
policy: {id: next, version: "1", taxonomy: t1.0}
defaults: {thresholds: {review: 0.4}}
labels: {}
blocklists: {words: {label: hate, file: lists/words.txt}}
# end
"""
FILES = ("live.yaml", "next.yaml", "lists/words.txt", "known.pdq")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A policy with a list, a bank and a shadow policy, without a signature."""
    (tmp_path / "lists").mkdir()
    for name, text in zip(
        FILES, (TEXT, NEXT, "# end\nbad\n", f"# end\n{'0f' * 32}\n"), strict=True
    ):
        (tmp_path / name).write_text(text)
    return tmp_path / "live.yaml"


@pytest.fixture
def signed(path: Path, keys: Path) -> Path:
    sign_policy(load_policy(path), keys / "release.key")
    return path


def verify(path: Path, key: Path) -> None:
    verify_policy_signature(load_policy(path), key)


def flip_bit(path: Path) -> None:
    """Change one bit of the comment that every file of the policy has: "end" becomes "dnd"."""
    path.write_bytes(path.read_bytes().replace(b"# end", b"# dnd"))


def test_unsigned_policy_is_refused(path: Path, keys: Path) -> None:
    """The error names the file that is missing, and the command that makes it."""
    with pytest.raises(
        PolicyInvalid, match=r"live\.yaml\.signature\.json: is missing.*policy sign"
    ):
        verify(path, keys / "release.pub")


def test_signed_policy_passes(signed: Path, keys: Path) -> None:
    """Signed by the key it passes; other files in the folder may come and go."""
    (signed.parent / "other.yaml").write_text("not ours")
    verify(signed, keys / "release.pub")


def test_another_key_is_refused(signed: Path, keys: Path) -> None:
    """Whoever has another key cannot have a policy decide."""
    with pytest.raises(PolicyInvalid, match="is no signature of this policy by"):
        verify(signed, keys / "other.pub")


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit_is_refused(signed: Path, keys: Path, name: str) -> None:
    """In the policy, or in any file that it names; the error says in which."""
    flip_bit(signed.parent / name)
    with pytest.raises(PolicyInvalid, match=re.escape(f"({name}: changed since it was signed)")):
        verify(signed, keys / "release.pub")


def test_a_file_more_is_refused(signed: Path, keys: Path) -> None:
    """A policy that names a file which was not signed with it is not the signed one."""
    (signed.parent / "more.txt").write_text("more\n")
    signed.write_text(signed.read_text().replace("lists/words.txt", "more.txt"))
    with pytest.raises(PolicyInvalid, match="is no signature of this policy"):
        verify(signed, keys / "release.pub")


def test_what_was_loaded_is_what_is_verified(signed: Path, keys: Path) -> None:
    """A file that was another one while it was read, and is the signed one again, is refused."""
    words = signed.parent / "lists/words.txt"
    good = words.read_bytes()
    words.write_bytes(b"harmless\n")
    loaded = load_policy(signed)
    words.write_bytes(good)
    with pytest.raises(PolicyInvalid, match=r"words\.txt changed while it was read"):
        verify_policy_signature(loaded, keys / "release.pub")


def test_a_signed_policy_may_be_moved_and_linked(signed: Path, keys: Path, tmp_path: Path) -> None:
    """The signature is of names below the folder: elsewhere, and behind links, it still holds."""
    home = shutil.copytree(signed.parent, tmp_path / "moved" / "..data")
    for file in (*FILES, locate_signature(signed).name):
        link = tmp_path / "moved" / file
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(home / file)
    verify(tmp_path / "moved" / "live.yaml", keys / "release.pub")


def test_a_signed_policy_under_another_name_is_refused(signed: Path, keys: Path) -> None:
    """A policy that was signed for one place does not decide in another one's."""
    other = signed.with_name("kids.yaml")
    shutil.copy(signed, other)
    shutil.copy(locate_signature(signed), locate_signature(other))
    with pytest.raises(PolicyInvalid, match="is no signature of this policy"):
        verify(other, keys / "release.pub")


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"dsseEnvelope": {}}'])
def test_a_broken_signature_is_refused(signed: Path, keys: Path, content: str) -> None:
    """Whatever stands in the signature's file, the answer is one clear error."""
    locate_signature(signed).write_text(content)
    with pytest.raises(PolicyInvalid, match="is no signature"):
        verify(signed, keys / "release.pub")


def test_an_unusable_key_is_named(path: Path, keys: Path) -> None:
    """A public key cannot sign, and nothing is left of the try."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(PolicyInvalid, match=r"release\.pub: cannot sign"):
        sign_policy(load_policy(path), keys / "release.pub")
    assert sorted(path.parent.rglob("*")) == before


def test_a_watcher_refuses_what_is_not_signed(signed: Path, keys: Path) -> None:
    """Changed, unsigned and signed by another key: each is refused, and the good one decides on."""
    errors: list[PolicyInvalid] = []
    watcher = PolicyWatcher(signed, public_key=keys / "release.pub", on_refused=errors.append)
    good = watcher.policy
    signed.write_text(TEXT.replace('version: "1"', 'version: "2"'))
    assert not watcher.check()
    locate_signature(signed).unlink()
    assert not watcher.check()
    sign_policy(load_policy(signed), keys / "other.key")
    assert not watcher.check()
    assert watcher.policy is good
    assert (watcher.refusals, watcher.is_stale) == (3, True)
    wanted = ("live.yaml: changed since it was signed", "is missing", "is no signature")
    for error, words in zip(errors, wanted, strict=True):
        assert words in str(error)
    sign_policy(load_policy(signed), keys / "release.key")
    assert watcher.check()
    assert (watcher.policy.version, watcher.is_stale) == ("2", False)


def test_a_watcher_sees_that_the_signature_is_gone(signed: Path, keys: Path) -> None:
    """The next start would be refused: that is told while the good policy still decides."""
    watcher = PolicyWatcher(signed, public_key=keys / "release.pub")
    locate_signature(signed).unlink()
    assert not watcher.check()
    assert (watcher.refusals, watcher.is_stale) == (1, True)


def test_a_watcher_does_not_begin_with_an_unsigned_policy(path: Path, keys: Path) -> None:
    """There is no last good policy at the start."""
    with pytest.raises(PolicyInvalid, match="is missing"):
        PolicyWatcher(path, public_key=keys / "release.pub")


def test_commands_sign_and_check(path: Path, keys: Path) -> None:
    """`policy sign` makes what `policy check --public-key` asks for; errors are one line."""
    check = ["check", str(path), "--public-key", str(keys / "release.pub")]
    refused = CliRunner().invoke(command, check)
    assert (refused.exit_code, "signature.json: is missing" in refused.output) == (1, True)
    done = CliRunner().invoke(command, ["sign", str(path), "--key", str(keys / "release.key")])
    assert (done.exit_code, done.output) == (0, f"{locate_signature(path)}\n")
    assert CliRunner().invoke(command, check).exit_code == 0
    wrong = CliRunner().invoke(command, ["sign", str(path), "--key", str(keys / "release.pub")])
    assert (wrong.exit_code, wrong.output.count("\n")) == (1, 1)

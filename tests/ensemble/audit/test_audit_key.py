from __future__ import annotations

from pathlib import Path

import pytest

from livewarden_ensemble.audit_key import derive_key, load_keys, read_audit_keys
from livewarden_ensemble.errors import AuditInvalid

SECRET = "0f" * 32


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "audit.keys"
    path.write_text(text)
    return path


def test_first_key_writes_and_all_check(tmp_path: Path) -> None:
    """The first key of the file is the current one; comments and blank lines are left out."""
    keys = load_keys(
        write(tmp_path, f"# since May\nk2:{SECRET} # new\n\nk1:{'ab' * 40},k0:{SECRET}")
    )
    assert keys.current == derive_key("k2", bytes.fromhex(SECRET))
    assert list(keys.all) == ["k2", "k1", "k0"]


def test_keys_come_from_file_or_environment(tmp_path: Path) -> None:
    """A file goes before a value; without either there are no keys."""
    path = write(tmp_path, f"k1:{SECRET}")
    value = {"LIVEWARDEN_AUDIT_KEYS": f"k2:{SECRET}"}
    assert read_audit_keys({}) is None
    found = read_audit_keys(value)
    assert found is not None
    assert found.current.id == "k2"
    found = read_audit_keys(value | {"LIVEWARDEN_AUDIT_KEYS_FILE": str(path)})
    assert found is not None
    assert found.current.id == "k1"


def test_derived_keys_differ(tmp_path: Path) -> None:
    """The key of the chain, the key of the contents and the secret are three."""
    key = load_keys(write(tmp_path, f"k1:{SECRET}")).current
    assert len({key.chain, key.content, bytes.fromhex(SECRET)}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"),
        ("# nothing\n", "holds no key"),
        (f"{SECRET}\n", "line 1: is not `id:hex`"),
        (f"k1:{SECRET}\nk2:{SECRET[:-1]}\n", "line 2: is not `id:hex`"),
        (f"k1:{SECRET}\nk1:{SECRET}\n", "line 2: the id 'k1' stands here twice"),
        (f"k 1:{SECRET}\n", "line 1: is not `id:hex`"),
        (f"k1 {SECRET}\n", "line 1: is not `id:hex`"),
        (f"k1:{SECRET[:-2]}\n", "has 31 bytes; at least 32"),
    ],
)
def test_bad_key_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A key file that cannot be used says which line is wrong, and shows no key."""
    with pytest.raises(AuditInvalid) as caught:
        load_keys(write(tmp_path, text))
    assert said in str(caught.value)
    assert SECRET[:-2] not in str(caught.value)


def test_unreadable_key_file_is_refused(tmp_path: Path) -> None:
    """A missing file and a binary one are refused with the file's name."""
    path = tmp_path / "audit.keys"
    with pytest.raises(AuditInvalid, match=r"audit\.keys: cannot be read: No such file"):
        load_keys(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AuditInvalid, match="is not UTF-8"):
        load_keys(path)


def test_no_key_shows_in_a_repr(tmp_path: Path) -> None:
    """A repr, which reaches logs, holds ids and no key."""
    keys = load_keys(write(tmp_path, f"k1:{SECRET}"))
    assert repr(keys) == "AuditKeys(k1)"
    assert repr(keys.current) == "AuditKey('k1')"

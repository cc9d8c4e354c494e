from __future__ import annotations

import pytest

from livewarden_ensemble.secret_key import KeyInvalid, read_keys

HEX = "ab" * 16


@pytest.mark.parametrize(
    "text",
    [
        f"a:{HEX},b:{HEX}",
        f"a:{HEX} b:{HEX}",
        f"# mine\na:{HEX} # new\n\nb:{HEX} # old\n",
        f" a:{HEX.upper()} ,\t b:{HEX} ,",
    ],
)
def test_keys_come_in_order(text: str):
    """Commas, blanks, lines and comments: the same two keys, the first one first."""
    keys = read_keys(text, max_id=4, min_bytes=16)
    assert list(keys.items()) == [("a", bytes.fromhex(HEX)), ("b", bytes.fromhex(HEX))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no key"),
        ("# a:00", "holds no key"),
        (f"\n{HEX}", "line 2: is not `id:hex`"),
        (f"a:{HEX}0", "line 1: is not"),
        (f":{HEX}", "line 1: is not"),
        (f"abcde:{HEX}", "line 1: is not"),
        (f"a:{HEX[2:]}", "'a' has 15 bytes; at least 16"),
        (f"a:{HEX}\na:{HEX}", "line 2: the id 'a' stands here twice"),
    ],
)
def test_other_keys_are_refused_by_line(text: str, problem: str):
    """The message says what is wrong and where, and repeats no secret."""
    with pytest.raises(KeyInvalid, match=problem) as caught:
        read_keys(text, max_id=4, min_bytes=16)
    assert HEX[2:] not in str(caught.value)

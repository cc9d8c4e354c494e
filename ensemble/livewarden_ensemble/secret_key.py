"""Keys as operators write them: `id:hex`, with lines, blanks or commas between them.

The first is the one to write with, the others are still accepted; `#` starts a comment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEY: Final = re.compile(r"(?P<id>[A-Za-z0-9_.-]+):(?P<secret>(?:[0-9a-fA-F]{2})+)")


class KeyInvalid(Exception):
    """A key cannot be used; the message repeats no secret."""


def read_keys(text: str, *, max_id: int, min_bytes: int) -> dict[str, bytes]:
    """Read the keys in `text`: id -> secret, in order.

    Raises KeyInvalid, which names the line, for anything else than `id:hex`, an id of more than
    `max_id` characters or that stands twice, a secret under `min_bytes`, and for no key at all.
    """
    keys: dict[str, bytes] = {}
    for number, entry in _list_entries(text):
        found = _KEY.fullmatch(entry)
        if found is None or len(found["id"]) > max_id:
            raise KeyInvalid(
                f"line {number}: is not `id:hex` (an id of 1 to {max_id} letters, and hexadecimal "
                'digits); make a key with `echo "k1:$(openssl rand -hex 32)"`'
            )
        name, secret = found["id"], bytes.fromhex(found["secret"])
        if len(secret) < min_bytes:
            raise KeyInvalid(
                f"line {number}: the key {name!r} has {len(secret)} bytes; at least {min_bytes} "
                "are needed"
            )
        if name in keys:
            raise KeyInvalid(f"line {number}: the id {name!r} stands here twice")
        keys[name] = secret
    if not keys:
        raise KeyInvalid("holds no key; write one as `id:hex`")
    return keys


def _list_entries(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for entry in line.partition("#")[0].replace(",", " ").split():
            yield number, entry

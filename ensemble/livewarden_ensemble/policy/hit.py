"""Hits: what matched a blocklist or a hash bank. They hold places and names, never the content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class ListHit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the blocklist `name`, found in `texts[text]`.

    `span` is a range of characters [from, to) of the text as it was sent; of the normalised text
    where `normalised` is true. `entry` is the entry's index in its list. `allowed_by` names the
    allow-phrases that the match lies in.
    """

    name: str
    text: int
    entry: int
    span: tuple[int, int]
    normalised: bool = False
    allowed_by: str | None = None


class HashHit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One frame near an entry of the hash bank `name`.

    `distance` counts the bits that differ of 256, `quality` is PDQ's, 0 to 100. `pick` in [0, 1)
    depends on bank and hash alone: a bank enabled at a ratio acts on picks below it.
    """

    name: str
    frame: int
    entry: int
    distance: int
    quality: int
    pick: float


class Hits(msgspec.Struct, frozen=True, omit_defaults=True):
    """All hits of one clip; `shadows` holds those of each shadow policy, by its reference."""

    lists: tuple[ListHit, ...] = ()
    hashes: tuple[HashHit, ...] = ()
    shadows: Mapping[str, Hits] = {}


NO_HITS: Final = Hits()

"""What was probably meant: one hint for every unknown name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN: Final = 24


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which of `known` is nearest to `name`, or else what there is."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(options[:_SHOWN]) + (", ..." if len(options) > _SHOWN else "")
    return f"there are: {shown or 'none'}"

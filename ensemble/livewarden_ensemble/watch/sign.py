"""Signs: actions and times as reports and terminals show them, readable without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from livewarden_client.wire import Action

SIGNS: Final[Mapping[Action, str]] = {"allow": "○", "review": "?", "restrict": "!", "block": "×"}


def format_clock(ms: int) -> str:
    """Format a time in the stream, as `0:14`, `1:02:03` or, off a whole second, `0:14.50`."""
    seconds, rest = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    clock = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{clock}.{rest // 10:02}" if rest else clock

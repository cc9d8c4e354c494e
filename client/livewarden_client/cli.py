"""The command `livewarden`: starts the sub-commands, or says what to install for them."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the base install has no click, and gets one line instead."""
    try:
        from livewarden_client.cli_group import root
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write(
            "Error: the command line is not installed. Run: pip install 'livewarden[cli]'\n"
        )
        sys.exit(2)
    root()

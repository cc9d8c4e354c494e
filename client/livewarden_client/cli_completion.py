"""The command `livewarden completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

_SHELLS: Final = ("bash", "fish", "zsh")
_PROGRAM: Final = "livewarden"
_VARIABLE: Final = "_LIVEWARDEN_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Example:
      livewarden completion bash > ~/.local/share/bash-completion/completions/livewarden
      livewarden completion zsh > "${fpath[1]}/_livewarden"
      livewarden completion fish > ~/.config/fish/completions/livewarden.fish
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, _PROGRAM, _VARIABLE).source())

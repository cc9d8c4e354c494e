"""The root command: sub-commands by name, each loaded only when it is used."""

from __future__ import annotations

from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

ENTRY_POINTS: Final = "livewarden.commands"

EXTRAS: Final[Mapping[str, str]] = {
    "livewarden_client": "cli",
    "livewarden_ensemble": "server",
    "livewarden_export": "export",
    "livewarden_perf": "perf",
}


class LazyGroup(click.Group):
    """A group whose commands are entry points; one that cannot be imported says what it lacks.

    A file or disk that says no is one line and exit code 1, whichever command meets it.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """List the names of all installed sub-commands."""
        return sorted(_find_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Load the sub-command `cmd_name`; None where there is no such command."""
        entry = _find_commands().get(cmd_name)
        return None if entry is None else _load_command(entry)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `| head` has seen enough; click ends quietly
            raise
        except OSError as error:
            if error.filename is None:
                raise  # no file's: a fault of ours, to be seen whole
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def _find_commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _load_command(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        return _MissingCommand(entry, error.name or "")
    if not isinstance(command, click.Command):
        raise TypeError(f"entry point {entry.value!r} is a {type(command).__name__}, no command")
    return command


class _NotInstalled(click.ClickException):
    """A sub-command of an extra that is not there."""

    exit_code = 2


class _MissingCommand(click.Command):
    """Stands where a sub-command would, and says how to install what it needs."""

    def __init__(self, entry: EntryPoint, module: str) -> None:
        extra = EXTRAS[entry.module.partition(".")[0]]
        install = f"pip install 'livewarden[{extra}]'"
        super().__init__(entry.name, short_help=f"(not installed: {install})")
        self._message = f"{entry.name!r} needs the module {module!r}. Run: {install}"

    def make_context(self, *_args: object, **_kwargs: object) -> click.Context:
        raise _NotInstalled(self._message)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("livewarden"), prog_name="livewarden")
def root() -> None:
    """Moderate livestreams: serve the models, ask for verdicts, build and measure.

    \b
    Example:
      livewarden serve
      livewarden moderate --frames a.jpg b.png --text "chat:hello" --region DE
    """  # noqa: D301 - the \b is click's mark for "do not wrap"

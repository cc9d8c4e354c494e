"""The command `livewarden serve`."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from livewarden_ensemble.server import Server
    from livewarden_ensemble.supervisor import Notice

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="model_repository",
    show_default=True,
    help="Directory of the models.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True, help="0: any free one.")
@click.option("--http-port", type=_PORT, default=8000, show_default=True, help="0: any free one.")
@click.option(
    "--metrics-port", type=_PORT, default=8002, show_default=True, help="0: any free one."
)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Policy file; the models' default where absent.",
)
@click.option(
    "--require-signature",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PUBKEY",
    help="Serve only bundles signed by this key (PEM); others are refused by name.",
)
@click.option(
    "--shared-memory",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEYFILE",
    help="Take decoded frames in shared memory from callers who send the key in this file.",
)
@click.option("--model-config-name", help="Target: use configs/NAME.pbtxt of each model.")
@click.option(
    "--tritonserver",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="LIVEWARDEN_TRITONSERVER",
    show_envvar=True,
    help="Another tritonserver than the one in nvidia-pytriton.",
)
@click.option(
    "--log-level",
    type=click.Choice(["error", "warning", "info"]),
    default="warning",
    show_default=True,
    help="What tritonserver logs.",
)
@click.option(
    "--log-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep tritonserver's log here; it is cut at 4 MiB, one older file is kept.",
)
def serve(**options: object) -> None:
    """Serve clips until stopped, healing what breaks.

    Starts tritonserver on the model repository and says ready only once a clip has gone through
    every stage. Ctrl-C or SIGTERM finishes the requests in flight and stops; a second one stops
    at once.

    \b
    Example:
      livewarden serve --repository model_repository
      livewarden serve --host 0.0.0.0 --grpc-port 9001 --policy policies/default.yaml
      livewarden serve --require-signature keys/release.pub
      livewarden serve --shared-memory /run/livewarden/frames.key
      livewarden serve --model-config-name tensorrt \\
          --tritonserver /opt/tritonserver/bin/tritonserver
    """  # noqa: D301 - the \b is click's mark for "do not wrap"
    # Here and not above, so that --help answers at once.
    from rich.console import Console

    from livewarden_ensemble.errors import ServerFailed
    from livewarden_ensemble.server import Server

    console = Console(stderr=True)
    stop = threading.Event()
    # Installed before anything is started: a signal at any moment finds it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _request_stop(stop))
    with console.status("Starting tritonserver, loading the models") as status:
        try:
            server = Server(tell=lambda notice: _show(console, status, server, notice), **options)  # type: ignore[arg-type] # click has checked the options
            server.start()
            try:
                while not stop.is_set() and not server.wait_ended(timeout=0.2):
                    pass
            finally:
                server.close()
        except ServerFailed as error:
            raise click.ClickException(str(error)) from None


def _request_stop(stop: threading.Event) -> None:
    if stop.is_set():
        os._exit(1)  # the keeper sees us gone and ends everything at once
    stop.set()


def _show(console: Console, status: Status, server: Server, notice: Notice) -> None:
    """Tell people of a change."""
    match notice.phase:
        case "ready":
            status.update(f"Serving · restarts: {server.restarts}")
            console.print(_describe(server), highlight=False, soft_wrap=True)
        case "healing":
            status.update("Healing")
            console.print(f"Not ready: {notice.detail}", markup=False, soft_wrap=True)
        case "stopping":
            status.update("Finishing the requests in flight")
            console.print("Stopping: finishing the requests in flight")
        case "stopped":
            console.print("Stopped")
        case _:  # a failure ends the command with its own message
            pass


def _describe(server: Server) -> str:
    return (
        f"Ready\n  gRPC     {server.grpc_url}\n  HTTP     {server.http_url}\n"
        f"  metrics  {server.metrics_url}\n"
        f"Try: livewarden moderate --url {server.grpc_url} --frames FRAME.jpg --text chat:hello\n"
        f"     curl {server.http_url}/v2/models/moderation"
    )
